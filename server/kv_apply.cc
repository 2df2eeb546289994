#include "server/kv_apply.h"

#include <google/protobuf/arena.h>

#include <chrono>
#include <utility>
#include <vector>

#include "api/errors.h"
#include "base/check.h"
#include "base/status.h"
#include "server/kv_source.h"
#include "server/put_request.h"
#include "server/range_reader.h"
#include "server/request_validator.h"
#include "server/txn_eval.h"
#include "server/wire.h"

namespace cairn::server {

namespace {

using api::Error;
using etcdserverpb::DeleteRangeRequest;
using etcdserverpb::DeleteRangeResponse;
using etcdserverpb::PutResponse;
using etcdserverpb::RangeRequest;
using etcdserverpb::RequestOp;
using etcdserverpb::TxnRequest;
using mvcc::KeyValueView;

// The apply thread never waits for memory.
constexpr std::chrono::milliseconds kNoWait{0};

// The first block of a transaction's arena: most transactions fit, and nothing is allocated for
// them.
constexpr size_t kTxnArenaBytes = 8192;

absl::Status Malformed(CommandKind kind) {
  return base::Error(absl::StatusCode::kDataLoss, "a command of kind {} holds no such request",
                     static_cast<int>(kind));
}

// Why there is no answer to what was applied all the same.
absl::Status NoRoomForResponse(bool is_too_large) {
  if (is_too_large) {
    return base::Error(absl::StatusCode::kResourceExhausted,
                       "cairn: the request was applied, but its response is larger than {} MiB",
                       kApplyResponseBytesMax >> 20);
  }
  return base::Error(absl::StatusCode::kResourceExhausted,
                     "cairn: the request was applied, but there is no memory for its response: {} "
                     "MiB for it and those that have not been sent",
                     kApplyResponseBudgetBytes >> 20);
}

Node::Outcome Refusal(absl::Status status) { return {std::move(status), {}, Revision()}; }
Node::Outcome Refusal(Error error) { return Refusal(api::ToStatus(error)); }

// The value or lease that a put keeps of what is there. `exists` is false if nothing is.
struct Kept {
  bool exists = false;
  std::string value;
  LeaseId lease;
};

absl::StatusOr<Kept> ReadKept(const mvcc::WriteTxn& txn, const PutRequestView& put) {
  Kept kept;
  const auto found = [&](const KeyValueView& kv) {
    kept = {.exists = true, .value = std::string(kv.value), .lease = kv.lease};
    return false;
  };
  const auto values = put.ignore_value ? mvcc::Values::kFetch : mvcc::Values::kSkip;
  CAIRN_RETURN_IF_ERROR(txn.Get(put.key, mvcc::kCurrent, found, values).status());
  return kept;
}

// What a command's answers may still take; answers beyond it are not built.
struct ResponseRoom {
  size_t left_bytes = kApplyResponseBytesMax;
  bool spent = false;
  // Of one answer alone, not of the memory that all share.
  bool is_too_large = false;

  // What `out` holds is part of the answer, if it was not refused.
  void Take(const ResponseBuffer& out) {
    const bool fits = out.size_bytes() <= left_bytes && !out.is_too_large();
    is_too_large = is_too_large || !fits;
    spent = spent || !fits || out.is_refused();
    left_bytes -= std::min(left_bytes, out.size_bytes());
  }
};

// Puts in an open transaction; the body of a PutResponse is added to `out`. The key exists if the
// request wants to keep anything of it.
absl::Status Put(mvcc::WriteTxn& txn, const PutRequestView& put, Answer answer, ResponseRoom& room,
                 ResponseBuffer& out) {
  std::string_view value = put.value;
  LeaseId lease(put.lease);
  Kept kept;
  if (put.ignore_value || put.ignore_lease) {
    CAIRN_ASSIGN_OR_RETURN(kept, ReadKept(txn, put));
    if (put.ignore_value) value = kept.value;
    if (put.ignore_lease) lease = kept.lease;
  }
  const bool shows_previous = put.prev_kv && answer == Answer::kBuild && !room.spent;
  CAIRN_ASSIGN_OR_RETURN(
      mvcc::PutResult result,
      txn.Put(put.key, value, lease, shows_previous ? mvcc::Values::kFetch : mvcc::Values::kSkip));
  if (shows_previous && result.existed) {
    AppendKeyValue(out, PutResponse::kPrevKvFieldNumber, result.previous);
    room.Take(out);
  }
  return absl::OkStatus();
}

// Deletes in an open transaction; the body of a DeleteRangeResponse is `counted`, then what is in
// `out`.
absl::Status DeleteRange(mvcc::WriteTxn& txn, const DeleteRangeRequest& request, Answer answer,
                         ResponseRoom& room, std::string& counted, ResponseBuffer& out) {
  const RequestRange range = RangeOf(request.key(), request.range_end());
  const bool shows_previous = request.prev_kv() && answer == Answer::kBuild && !room.spent;
  const auto values = shows_previous ? mvcc::Values::kFetch : mvcc::Values::kSkip;
  const auto deleted = [&](const KeyValueView& kv) {
    return shows_previous && !out.is_refused() &&
           AppendKeyValue(out, DeleteRangeResponse::kPrevKvsFieldNumber, kv);
  };
  int64_t count = 0;
  if (range.is_single_key) {
    CAIRN_ASSIGN_OR_RETURN(count, txn.Delete(request.key(), deleted, values));
  } else {
    CAIRN_ASSIGN_OR_RETURN(count, txn.DeleteRange(range.keys, deleted, values));
  }
  wire::AppendNumberField(counted, DeleteRangeResponse::kDeletedFieldNumber,
                          static_cast<uint64_t>(count));
  room.Take(out);
  return absl::OkStatus();
}

// One transaction on its way: the checks of the branches taken, then their operations in order.
class TxnRun {
 public:
  TxnRun(const KvApplier::LeaseExists& lease_exists, mvcc::Published before, TxnPath path,
         Answer answer, ResponseBudget& budget, mvcc::WriteTxn& txn)
      : lease_exists_(lease_exists),
        before_(before),
        path_(std::move(path)),
        answer_(answer),
        budget_(budget),
        txn_(txn) {}

  // What the state refuses; nothing is written yet. The inner status is the refusal, the outer one
  // the backend's.
  absl::StatusOr<absl::Status> Check(const TxnRequest& request) {
    next_txn_ = 0;
    return CheckTxn(request);
  }

  absl::Status Execute(const TxnRequest& request) {
    next_txn_ = 0;
    return ExecuteTxn(request);
  }

  // Writes the TxnResponse without header.
  void Encode(const TxnRequest& request, ResponseBuffer& out) {
    if (!room_.spent && !EncodeTxnResponse(request, path_, results_, out)) {
      room_.spent = true;
      room_.is_too_large = out.is_too_large();
    }
  }
  const ResponseRoom& room() const { return room_; }

 private:
  absl::StatusOr<absl::Status> CheckTxn(const TxnRequest& request) {
    for (const RequestOp& op : BranchOf(request, path_[next_txn_++])) {
      absl::StatusOr<absl::Status> refusal = absl::OkStatus();
      if (op.request_case() == RequestOp::kRequestRange) {
        refusal = CheckTxnRange(op.request_range(), before_);
      } else if (op.request_case() == RequestOp::kRequestPut) {
        refusal = CheckPut(ViewOf(op.request_put()));
      } else if (op.request_case() == RequestOp::kRequestTxn) {
        refusal = CheckTxn(op.request_txn());
      }
      if (!refusal.ok() || !refusal->ok()) return refusal;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<absl::Status> CheckPut(const PutRequestView& put) const {
    if (put.lease != 0 && !lease_exists_(LeaseId(put.lease))) {
      return api::ToStatus(Error::kLeaseNotFound);
    }
    if (put.ignore_value || put.ignore_lease) {
      bool exists = false;
      const auto found = [&exists](const KeyValueView&) {
        exists = true;
        return false;
      };
      CAIRN_RETURN_IF_ERROR(txn_.Get(put.key, mvcc::kCurrent, found, mvcc::Values::kSkip).status());
      if (!exists) return api::ToStatus(Error::kKeyNotFound);
    }
    return absl::OkStatus();
  }

  absl::Status ExecuteTxn(const TxnRequest& request) {
    for (const RequestOp& op : BranchOf(request, path_[next_txn_++])) {
      if (op.request_case() == RequestOp::kRequestTxn) {
        CAIRN_RETURN_IF_ERROR(ExecuteTxn(op.request_txn()));
      } else {
        OpResult result;
        CAIRN_RETURN_IF_ERROR(ExecuteOp(op, result));
        result.header_revision = txn_.revision();
        if (answer_ == Answer::kBuild) results_.push_back(std::move(result));
      }
    }
    return absl::OkStatus();
  }

  absl::Status ExecuteOp(const RequestOp& op, OpResult& result) {
    ResponseBuffer out(budget_, kNoWait);
    absl::Status status;
    switch (op.request_case()) {
      case RequestOp::kRequestPut:
        status = Put(txn_, ViewOf(op.request_put()), answer_, room_, out);
        break;
      case RequestOp::kRequestDeleteRange:
        status = DeleteRange(txn_, op.request_delete_range(), answer_, room_, result.small, out);
        break;
      case RequestOp::kRequestRange:
        status = Range(op.request_range(), out);
        break;
      default:
        return Malformed(CommandKind::kTxn);
    }
    if (!room_.spent) result.large = out.Finish();
    return status;
  }

  absl::Status Range(const RangeRequest& request, ResponseBuffer& out) {
    if (answer_ == Answer::kDiscard || room_.spent) return absl::OkStatus();
    const absl::Status status = ReadRange(TxnSource(txn_), request, out).status();
    room_.Take(out);
    // The revision was checked, so only memory can be short here, or the backend broken.
    return out.is_refused() ? absl::OkStatus() : status;
  }

  const KvApplier::LeaseExists& lease_exists_;
  const mvcc::Published before_;
  const TxnPath path_;
  const Answer answer_;
  ResponseBudget& budget_;
  mvcc::WriteTxn& txn_;
  size_t next_txn_ = 0;
  std::vector<OpResult> results_;
  ResponseRoom room_;
};

}  // namespace

KvApplier::KvApplier(LeaseExists lease_exists)
    : lease_exists_(std::move(lease_exists)), budget_(kApplyResponseBudgetBytes) {}

bool KvApplier::Handles(CommandKind kind) {
  return kind == CommandKind::kPut || kind == CommandKind::kDeleteRange ||
         kind == CommandKind::kTxn || kind == CommandKind::kCompact;
}

absl::StatusOr<Node::Outcome> KvApplier::Apply(CommandKind kind, std::string_view body,
                                               Answer answer, mvcc::Batch& batch) {
  absl::StatusOr<Node::Outcome> outcome = Dispatch(kind, body, answer, batch);
  // The transaction has gone with all that it had changed.
  if (mvcc::IsTxnTooLarge(outcome.status())) return Refusal(Error::kTooMuchAtOnce);
  return outcome;
}

absl::StatusOr<Node::Outcome> KvApplier::Dispatch(CommandKind kind, std::string_view body,
                                                  Answer answer, mvcc::Batch& batch) {
  switch (kind) {
    case CommandKind::kPut:
      return ApplyPut(body, answer, batch);
    case CommandKind::kDeleteRange:
      return ApplyDeleteRange(body, answer, batch);
    case CommandKind::kTxn:
      return ApplyTxn(body, answer, batch);
    case CommandKind::kCompact:
      return ApplyCompact(body, batch);
    default:
      break;
  }
  CAIRN_CHECK(Handles(kind));
  return Malformed(kind);
}

absl::StatusOr<Node::Outcome> KvApplier::ApplyPut(std::string_view body, Answer answer,
                                                  mvcc::Batch& batch) {
  PutRequestView put;
  if (!DecodePutRequest(body, put)) return Malformed(CommandKind::kPut);
  if (put.lease != 0 && !lease_exists_(LeaseId(put.lease))) return Refusal(Error::kLeaseNotFound);
  mvcc::WriteTxn txn = batch.BeginTxn();
  if (put.ignore_value || put.ignore_lease) {
    CAIRN_ASSIGN_OR_RETURN(Kept kept, ReadKept(txn, put));
    if (!kept.exists) return Refusal(Error::kKeyNotFound);
  }
  ResponseRoom room;
  ResponseBuffer out(budget_, kNoWait);
  CAIRN_RETURN_IF_ERROR(Put(txn, put, answer, room, out));
  Node::Outcome outcome;
  outcome.revision = txn.revision();
  txn.Commit();
  if (room.spent) return Refusal(NoRoomForResponse(room.is_too_large));
  if (out.size_bytes() > 0) outcome.rest = out.Finish();
  return outcome;
}

absl::StatusOr<Node::Outcome> KvApplier::ApplyDeleteRange(std::string_view body, Answer answer,
                                                          mvcc::Batch& batch) {
  DeleteRangeRequest request;
  if (!request.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    return Malformed(CommandKind::kDeleteRange);
  }
  mvcc::WriteTxn txn = batch.BeginTxn();
  Node::Outcome outcome;
  ResponseRoom room;
  ResponseBuffer out(budget_, kNoWait);
  CAIRN_RETURN_IF_ERROR(DeleteRange(txn, request, answer, room, outcome.response, out));
  outcome.revision = txn.revision();
  txn.Commit();
  if (room.spent) return Refusal(NoRoomForResponse(room.is_too_large));
  if (out.size_bytes() > 0) outcome.rest = out.Finish();
  return outcome;
}

absl::StatusOr<Node::Outcome> KvApplier::ApplyTxn(std::string_view body, Answer answer,
                                                  mvcc::Batch& batch) {
  alignas(8) char block[kTxnArenaBytes];
  google::protobuf::ArenaOptions options;
  options.initial_block = block;
  options.initial_block_size = sizeof block;
  google::protobuf::Arena arena(options);
  auto& request = *google::protobuf::Arena::CreateMessage<TxnRequest>(&arena);
  if (!ParseTxn(body, request).ok()) return Malformed(CommandKind::kTxn);

  const mvcc::Published before = batch.current();
  mvcc::WriteTxn txn = batch.BeginTxn();
  CAIRN_ASSIGN_OR_RETURN(TxnPath path, DecidePath(TxnSource(txn), request));
  TxnRun run(lease_exists_, before, std::move(path), answer, budget_, txn);
  CAIRN_ASSIGN_OR_RETURN(absl::Status refusal, run.Check(request));
  if (!refusal.ok()) return Refusal(std::move(refusal));
  CAIRN_RETURN_IF_ERROR(run.Execute(request));

  Node::Outcome outcome;
  outcome.revision = txn.revision();
  txn.Commit();
  if (answer == Answer::kDiscard) return outcome;
  ResponseBuffer out(budget_, kNoWait);
  run.Encode(request, out);
  if (run.room().spent) return Refusal(NoRoomForResponse(run.room().is_too_large));
  outcome.rest = out.Finish();
  return outcome;
}

absl::StatusOr<Node::Outcome> KvApplier::ApplyCompact(std::string_view body, mvcc::Batch& batch) {
  etcdserverpb::CompactionRequest request;
  if (!request.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    return Malformed(CommandKind::kCompact);
  }
  if (absl::Status status = batch.SetCompactWatermark(Revision(request.revision())); !status.ok()) {
    absl::Status translated = TranslateReadError(status);
    if (translated.code() == absl::StatusCode::kOutOfRange) return Refusal(std::move(translated));
    return translated;
  }
  Node::Outcome outcome;
  outcome.revision = batch.current().revision;
  return outcome;
}

}  // namespace cairn::server
