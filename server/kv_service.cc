#include "server/kv_service.h"

#include <absl/status/status.h>
#include <google/protobuf/arena.h>

#include <string>
#include <utility>

#include "api/errors.h"
#include "base/status.h"
#include "server/command.h"
#include "server/kv_source.h"
#include "server/put_request.h"
#include "server/range_reader.h"
#include "server/range_stream.h"
#include "server/request_validator.h"
#include "server/rpc/proto.h"
#include "server/txn_eval.h"

namespace cairn::server {

namespace {

using api::Error;
using api::ToStatus;
using etcdserverpb::CompactionRequest;
using etcdserverpb::DeleteRangeRequest;
using etcdserverpb::RangeRequest;
using etcdserverpb::TxnRequest;
using rpc::UnaryCall;

constexpr std::string_view kServiceName = "etcdserverpb.KV";

// An RPC thread never waits for memory.
constexpr std::chrono::milliseconds kNoWait{0};

// What a command's header adds to a request: format, kind, four numbers and an empty user name
// (command.h).
constexpr size_t kCommandOverheadBytes = 3 + 4 * 8 + 1;

// A range on its way from the transport to where it is read.
struct PendingRange {
  std::unique_ptr<UnaryCall> call;
  RangeRequest request;
};

// Reads however large the range is: on a thread of the read pool.
void AnswerRange(const ServiceContext& context, PendingRange pending) {
  if (pending.call->cancelled()) {
    pending.call->Finish(ToStatus(Error::kRequestCanceled));
    return;
  }
  const auto is_abandoned = [&] { return IsAbandoned(context, *pending.call); };
  ResponseBuffer out(context.budget, kResponseBudgetWait);
  const absl::StatusOr<mvcc::ReadPoint> point =
      ReadRange(StoreSource(context.store, is_abandoned), pending.request, out);
  if (!point.ok()) {
    pending.call->Finish(ReadError(*pending.call, point.status()));
    return;
  }
  pending.call->Finish(out.FinishWithHeader(context.Header(point->current)));
}

// Reads on this thread if that is quick, else in the pool.
void AnswerRangeNow(const ServiceContext& context, PendingRange pending) {
  ResponseBuffer out(context.budget, kNoWait);
  const absl::StatusOr<std::optional<mvcc::ReadPoint>> point =
      TryReadRange(StoreSource(context.store), pending.request, kSmallRead, out);
  if (!point.ok() && point.status().code() != absl::StatusCode::kUnavailable) {
    pending.call->Finish(point.status());
    return;
  }
  if (point.ok() && *point) {
    pending.call->Finish(out.FinishWithHeader(context.Header((*point)->current)));
    return;
  }
  // The call goes along only when the pool takes it; otherwise it is refused here.
  auto shared = std::make_shared<PendingRange>(std::move(pending));
  if (!context.node.RunInReadPool(
          [&context, shared] { AnswerRange(context, std::move(*shared)); })) {
    shared->call->Finish(ToStatus(Error::kTooManyRequests));
  }
}

}  // namespace

void KvService::Register(rpc::ServiceTable& table) {
  const auto unary = [&](std::string_view method,
                         void (KvService::*handler)(std::unique_ptr<UnaryCall>)) {
    table.AddUnary(kServiceName, method, [this, handler](std::unique_ptr<UnaryCall> call) {
      (this->*handler)(std::move(call));
    });
  };
  unary("Range", &KvService::Range);
  unary("Put", &KvService::Put);
  unary("DeleteRange", &KvService::DeleteRange);
  unary("Txn", &KvService::Txn);
  unary("Compact", &KvService::Compact);
  table.AddServerStream(kServiceName, "RangeStream",
                        rpc::TypedServerStream<RangeRequest>(
                            [this](std::shared_ptr<rpc::StreamCall> call, RangeRequest request) {
                              RangeStream(std::move(call), std::move(request));
                            }));
}

void KvService::Range(std::unique_ptr<UnaryCall> call) {
  PendingRange pending{.call = std::move(call), .request = {}};
  RangeRequest& request = pending.request;
  absl::Status status = rpc::Parse(pending.call->request(), request);
  if (status.ok()) {
    status = Admit(context_, *pending.call,
                   request.serializable() ? OnLearner::kServe : OnLearner::kRefuse);
  }
  if (status.ok()) status = ValidateRange(request);
  if (!status.ok()) {
    pending.call->Finish(std::move(status));
    return;
  }
  if (request.serializable() || context_.node.CanReadNow()) {
    AnswerRangeNow(context_, std::move(pending));
    return;
  }
  const UnaryCall* const caller = pending.call.get();
  context_.node.ReadBarrier(caller,
                            [this, pending = std::move(pending)](absl::Status read) mutable {
                              if (read.ok() && pending.call->cancelled()) {
                                read = ToStatus(Error::kRequestCanceled);
                              }
                              if (!read.ok()) {
                                pending.call->Finish(std::move(read));
                                return;
                              }
                              AnswerRangeNow(context_, std::move(pending));
                            });
}

void KvService::RangeStream(std::shared_ptr<rpc::StreamCall> call, RangeRequest request) {
  absl::Status status =
      Admit(context_, *call, request.serializable() ? OnLearner::kServe : OnLearner::kRefuse);
  if (status.ok()) status = ValidateRange(request);
  if (status.ok()) status = RangeStreamReader::Check(request);
  if (!status.ok()) {
    call->Finish(std::move(status));
    return;
  }
  const bool read_now = request.serializable() || context_.node.CanReadNow();
  auto sender = std::make_shared<RangeStreamSender>(context_, call, std::move(request));
  if (read_now) {
    RangeStreamSender::Schedule(std::move(sender));
    return;
  }
  context_.node.ReadBarrier(call.get(), [call, sender](absl::Status read) mutable {
    if (!read.ok()) {
      call->Finish(std::move(read));
      return;
    }
    RangeStreamSender::Schedule(std::move(sender));
  });
}

absl::Status KvService::CheckRoom(size_t body_bytes, int64_t cost_bytes) const {
  CAIRN_RETURN_IF_ERROR(CheckGrowth(context_, cost_bytes));
  if (body_bytes + kCommandOverheadBytes > context_.limits.request_bytes_max) {
    return ToStatus(Error::kRequestTooLarge);
  }
  return absl::OkStatus();
}

void KvService::Propose(CommandKind kind, std::unique_ptr<UnaryCall> call) {
  const std::string_view body = call->request();
  ProposeAndAnswer(context_, kind, body, std::move(call));
}

void KvService::Put(std::unique_ptr<UnaryCall> call) {
  PutRequestView request;
  absl::Status status;
  if (!DecodePutRequest(call->request(), request)) {
    status = rpc::UndecodableRequest(call->request(), "etcdserverpb.PutRequest");
  }
  if (status.ok()) status = Admit(context_, *call, OnLearner::kRefuse);
  if (status.ok()) status = ValidatePut(request);
  if (status.ok()) {
    status = CheckRoom(call->request().size(), PutCostBytes(request.key, request.value));
  }
  if (!status.ok()) {
    call->Finish(std::move(status));
    return;
  }
  Propose(CommandKind::kPut, std::move(call));
}

void KvService::DeleteRange(std::unique_ptr<UnaryCall> call) {
  DeleteRangeRequest request;
  absl::Status status = rpc::Parse(call->request(), request);
  if (status.ok()) status = Admit(context_, *call, OnLearner::kRefuse);
  if (status.ok()) status = ValidateDeleteRange(request);
  if (status.ok()) status = CheckRoom(call->request().size(), 0);
  if (!status.ok()) {
    call->Finish(std::move(status));
    return;
  }
  Propose(CommandKind::kDeleteRange, std::move(call));
}

void KvService::Txn(std::unique_ptr<UnaryCall> call) {
  TxnRequest request;
  absl::Status status = ParseTxn(call->request(), request);
  if (status.ok()) status = Admit(context_, *call, OnLearner::kRefuse);
  if (status.ok()) status = ValidateTxn(request, context_.limits.txn_ops_max);
  if (status.ok() && IsReadOnly(request)) {
    ReadTxn(std::move(call), std::move(request));
    return;
  }
  if (status.ok()) status = CheckRoom(call->request().size(), TxnCostBytes(request));
  if (!status.ok()) {
    call->Finish(std::move(status));
    return;
  }
  Propose(CommandKind::kTxn, std::move(call));
}

void KvService::ReadTxn(std::unique_ptr<UnaryCall> call, TxnRequest request) {
  struct Pending {
    std::unique_ptr<UnaryCall> call;
    TxnRequest request;
  };
  auto pending = std::make_shared<Pending>(Pending{std::move(call), std::move(request)});
  const auto answer = [this, pending](std::chrono::milliseconds wait) {
    UnaryCall& caller = *pending->call;
    if (caller.cancelled()) {
      caller.Finish(ToStatus(Error::kRequestCanceled));
      return true;
    }
    ResponseBuffer out(context_.budget, wait);
    const absl::StatusOr<Revision> revision =
        EvaluateReadTxn(context_.store, pending->request, out,
                        [this, &caller] { return IsAbandoned(context_, caller); });
    // What is small here may still hold large values: where there is no room now, it can wait.
    if (wait == kNoWait && revision.status().code() == absl::StatusCode::kUnavailable) return false;
    if (revision.ok()) {
      caller.Finish(out.FinishWithHeader(context_.Header(*revision)));
    } else {
      caller.Finish(ReadError(caller, revision.status()));
    }
    return true;
  };
  const auto answer_where_it_fits = [this, pending, answer] {
    if (IsSmallReadTxn(pending->request) && answer(kNoWait)) return;
    if (!context_.node.RunInReadPool([answer] { answer(kResponseBudgetWait); })) {
      pending->call->Finish(ToStatus(Error::kTooManyRequests));
    }
  };
  if (IsSerializable(pending->request) || context_.node.CanReadNow()) {
    return answer_where_it_fits();
  }
  context_.node.ReadBarrier(pending->call.get(),
                            [pending, answer_where_it_fits](absl::Status read) {
                              if (!read.ok()) return pending->call->Finish(std::move(read));
                              answer_where_it_fits();
                            });
}

void KvService::Compact(std::unique_ptr<UnaryCall> call) {
  CompactionRequest request;
  absl::Status status = rpc::Parse(call->request(), request);
  if (status.ok()) status = Admit(context_, *call, OnLearner::kRefuse);
  // It would wait for a removal that has to wait for room.
  if (status.ok() && request.physical()) status = CheckGrowth(context_, 0);
  if (!status.ok()) {
    call->Finish(std::move(status));
    return;
  }
  if (!request.physical()) {
    Propose(CommandKind::kCompact, std::move(call));
    return;
  }
  const std::string_view body = call->request();
  context_.node.Propose(CommandKind::kCompact, body,
                        [this, call = std::move(call)](Node::Outcome outcome) mutable {
                          const bool already = api::FindError(outcome.status) == Error::kCompacted;
                          if (!outcome.status.ok() && !already) {
                            call->Finish(std::move(outcome.status));
                            return;
                          }
                          // Also the request that comes too late waits for the removal that is
                          // under way.
                          context_.node.WaitCompacted(
                              context_.store.published().watermark,
                              [this, call = std::move(call),
                               outcome = std::move(outcome)](absl::Status waited) mutable {
                                if (!outcome.status.ok()) waited = std::move(outcome.status);
                                if (!waited.ok()) {
                                  call->Finish(std::move(waited));
                                  return;
                                }
                                call->Finish(WithHeader(context_.HeaderNow(), outcome.response));
                              });
                        });
}

}  // namespace cairn::server
