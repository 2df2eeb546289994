#include "server/lease_service.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "api/errors.h"
#include "base/status.h"
#include "server/command.h"
#include "server/leader_loss.h"
#include "server/lease_apply.h"
#include "server/lease_manager.h"
#include "server/response_buffer.h"
#include "server/rpc/proto.h"
#include "server/wire.h"

namespace cairn::server {

namespace {

using api::Error;
using api::ToStatus;
using etcdserverpb::LeaseGrantRequest;
using etcdserverpb::LeaseKeepAliveRequest;
using etcdserverpb::LeaseKeepAliveResponse;
using etcdserverpb::LeaseLeasesRequest;
using etcdserverpb::LeaseLeasesResponse;
using etcdserverpb::LeaseRevokeRequest;
using etcdserverpb::LeaseStatus;
using etcdserverpb::LeaseTimeToLiveRequest;
using etcdserverpb::LeaseTimeToLiveResponse;
using rpc::StreamCall;
using rpc::UnaryCall;

constexpr std::string_view kServiceName = "etcdserverpb.Lease";

uint64_t FirstId(MemberId member) {
  const auto now_ms = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                                std::chrono::system_clock::now().time_since_epoch())
                                                .count());
  constexpr uint64_t kFiveBytes = (uint64_t{1} << 40) - 1;
  return (member.value() << 48) | ((now_ms & kFiveBytes) << 8);
}

uint64_t OnWire(int64_t number) { return static_cast<uint64_t>(number); }

// One keepalive stream: a message in, its answer out, then the next, as etcd does. It owns itself:
// exactly one callback is pending at any time (of a read, of a renewal, or of room in the queue),
// so plain pointers in them are safe and cost no allocation. It goes when it has finished the call.
class KeepAliveStream {
 public:
  static void Start(const ServiceContext& context, std::shared_ptr<StreamCall> call) {
    (new KeepAliveStream(context, std::move(call)))->ReadNext();
  }

 private:
  KeepAliveStream(const ServiceContext& context, std::shared_ptr<StreamCall> call)
      : context_(context), call_(std::move(call)) {}

  // A callback that runs at once may end this stream, so the call is held here.
  void ReadNext() {
    const std::shared_ptr<StreamCall> call = call_;
    call->Read([this](rpc::ReadResult result, std::string_view message) {
      if (result == rpc::ReadResult::kMessage) return Renew(message);
      Finish(result == rpc::ReadResult::kEnd ? absl::OkStatus()
                                             : ToStatus(Error::kRequestCanceled));
    });
  }

  void Renew(std::string_view message) {
    LeaseKeepAliveRequest request;
    if (absl::Status status = rpc::Parse(message, request); !status.ok()) {
      return Finish(std::move(status));
    }
    id_ = LeaseId(request.id());
    // Before the renewal, so that nobody sees one at a revision after the revocation.
    revision_ = context_.store.published().revision;
    LeaseManager& leases = context_.node.leases();
    if (const std::optional<int64_t> ttl_s = leases.Renew(id_)) return Answer(*ttl_s);
    leases.RenewLater(id_, [this](absl::StatusOr<int64_t> ttl_s) {
      if (!ttl_s.ok()) return Finish(std::move(ttl_s).status());
      Answer(*ttl_s);
    });
  }

  void Answer(int64_t ttl_s) {
    char bytes[kHeaderFieldBytesMax + 2 * (1 + base::kVarintBytesMax)];
    char* end = StoreHeaderField(bytes, context_.Header(revision_));
    end = wire::StoreNumberField(end, LeaseKeepAliveResponse::kIDFieldNumber, OnWire(id_.value()));
    end = wire::StoreNumberField(end, LeaseKeepAliveResponse::kTTLFieldNumber, OnWire(ttl_s));
    const auto size_bytes = static_cast<size_t>(end - bytes);
    if (call_->Write(rpc::SliceList(rpc::Slice::CopyOf({bytes, size_bytes})))) return ReadNext();
    const std::shared_ptr<StreamCall> call = call_;
    call->OnWritable([this] { ReadNext(); });
  }

  void Finish(absl::Status status) {
    call_->Finish(std::move(status));
    delete this;
  }

  const ServiceContext& context_;
  const std::shared_ptr<StreamCall> call_;
  LeaseId id_;
  Revision revision_;
};

}  // namespace

LeaseService::LeaseService(const ServiceContext& context)
    : context_(context), next_id_(FirstId(context.node.member_id())) {}

void LeaseService::Register(rpc::ServiceTable& table) {
  const auto unary = [&](std::string_view method,
                         void (LeaseService::*handler)(std::unique_ptr<UnaryCall>)) {
    table.AddUnary(kServiceName, method, [this, handler](std::unique_ptr<UnaryCall> call) {
      (this->*handler)(std::move(call));
    });
  };
  unary("LeaseGrant", &LeaseService::Grant);
  unary("LeaseRevoke", &LeaseService::Revoke);
  unary("LeaseTimeToLive", &LeaseService::TimeToLive);
  unary("LeaseLeases", &LeaseService::Leases);
  table.AddStream(kServiceName, "LeaseKeepAlive",
                  [this](std::shared_ptr<StreamCall> call) { KeepAlive(std::move(call)); });
}

LeaseId LeaseService::PickId() {
  constexpr uint64_t kNoSign = ~(uint64_t{1} << 63);
  while (true) {
    const LeaseId id(static_cast<int64_t>(next_id_.fetch_add(1) & kNoSign));
    if (id != LeaseId(0) && !context_.node.leases().Find(id).has_value()) return id;
  }
}

void LeaseService::Grant(std::unique_ptr<UnaryCall> call) {
  LeaseGrantRequest request;
  absl::Status status = rpc::Parse(call->request(), request);
  if (status.ok()) status = Admit(context_, *call, OnLearner::kRefuse);
  if (status.ok()) status = CheckGrowth(context_, kLeaseCostBytes);
  if (status.ok() && request.ttl() > lease::kTtlSecondsMax)
    status = ToStatus(Error::kLeaseTtlTooLarge);
  if (!status.ok()) {
    call->Finish(std::move(status));
    return;
  }
  LeaseGrantRequest granted;
  granted.set_ttl(std::max(request.ttl(), context_.limits.lease_ttl_min_s));
  granted.set_id(request.id() == 0 ? PickId().value() : request.id());
  ProposeAndAnswer(context_, CommandKind::kLeaseGrant, granted.SerializeAsString(),
                   std::move(call));
}

void LeaseService::Revoke(std::unique_ptr<UnaryCall> call) {
  LeaseRevokeRequest request;
  absl::Status status = rpc::Parse(call->request(), request);
  if (status.ok()) status = Admit(context_, *call, OnLearner::kRefuse);
  if (status.ok()) status = CheckGrowth(context_, 0);
  if (!status.ok()) {
    call->Finish(std::move(status));
    return;
  }
  const LeaseId id(request.id());
  context_.node.Propose(
      CommandKind::kLeaseRevoke, request.SerializeAsString(),
      [this, id, call = std::move(call)](Node::Outcome outcome) mutable {
        if (!outcome.status.ok()) return call->Finish(std::move(outcome.status));
        const std::optional<lease::LeaseView> view = context_.node.leases().Find(id);
        if (view.has_value() && view->facts.is_ending()) {
          return AnswerAtEnd({id, view->facts.granted}, std::move(call));
        }
        call->Finish(WithHeader(context_.Header(outcome.revision), outcome.response));
      });
}

// One entry deletes so many keys at most (lease_apply.h). The rest is the leader's to propose, for
// one alone: pieces of two would only stand in the way of everybody's writes.
void LeaseService::AnswerAtEnd(const lease::LeaseName& name, std::unique_ptr<UnaryCall> call) {
  context_.node.leases().AwaitEnd(
      name, [this, call = std::move(call)](absl::StatusOr<int64_t> gone) mutable {
        if (!gone.ok()) return call->Finish(std::move(gone).status());
        call->Finish(WithHeader(context_.HeaderNow(), ""));
      });
}

void LeaseService::KeepAlive(std::shared_ptr<StreamCall> call) {
  if (absl::Status status = Admit(context_, *call, OnLearner::kRefuse); !status.ok()) {
    call->Finish(std::move(status));
    return;
  }
  context_.node.leader_loss().Add(call);
  KeepAliveStream::Start(context_, std::move(call));
}

void LeaseService::TimeToLive(std::unique_ptr<UnaryCall> call) {
  LeaseTimeToLiveRequest request;
  absl::Status status = rpc::Parse(call->request(), request);
  if (status.ok()) status = Admit(context_, *call, OnLearner::kRefuse);
  if (!status.ok()) {
    call->Finish(std::move(status));
    return;
  }
  if (context_.node.CanReadNow()) return FindTimeToLive(std::move(call), request);
  const UnaryCall* const caller = call.get();
  context_.node.ReadBarrier(caller,
                            [this, call = std::move(call), request](absl::Status read) mutable {
                              if (!read.ok()) return call->Finish(std::move(read));
                              FindTimeToLive(std::move(call), request);
                            });
}

void LeaseService::FindTimeToLive(std::unique_ptr<UnaryCall> call,
                                  const LeaseTimeToLiveRequest& request) {
  const LeaseId id(request.id());
  std::optional<lease::LeaseView> view = context_.node.leases().Find(id);
  if (view.has_value() && view->facts.is_ending()) view.reset();
  if (!view.has_value() || view->remaining_ms.has_value()) {
    return AnswerTimeToLive(std::move(call), request, view);
  }
  context_.node.FindLeaseOnLeader(
      id, [this, call = std::move(call), request,
           view](absl::StatusOr<std::optional<int64_t>> remaining_ms) mutable {
        if (!remaining_ms.ok()) return call->Finish(std::move(remaining_ms).status());
        if (remaining_ms->has_value()) {
          view->remaining_ms = **remaining_ms;
        } else {
          view.reset();
        }
        AnswerTimeToLive(std::move(call), request, view);
      });
}

void LeaseService::AnswerTimeToLive(std::unique_ptr<UnaryCall> call,
                                    const LeaseTimeToLiveRequest& request,
                                    const std::optional<lease::LeaseView>& view) {
  const LeaseId id(request.id());
  std::string body;
  wire::AppendNumberField(body, LeaseTimeToLiveResponse::kIDFieldNumber, OnWire(id.value()));
  if (!view.has_value()) {
    wire::AppendNumberField(body, LeaseTimeToLiveResponse::kTTLFieldNumber, OnWire(-1));
    call->Finish(WithHeader(context_.HeaderNow(), body));
    return;
  }
  const int64_t remaining_s = *view->remaining_ms / lease::kMillisecondsPerSecond;
  wire::AppendNumberField(body, LeaseTimeToLiveResponse::kTTLFieldNumber, OnWire(remaining_s));
  wire::AppendNumberField(body, LeaseTimeToLiveResponse::kGrantedTTLFieldNumber,
                          OnWire(view->facts.ttl_s));
  if (!request.keys() || view->facts.key_count == 0) {
    call->Finish(WithHeader(context_.HeaderNow(), body));
    return;
  }
  // The call goes along only when it is taken; otherwise it is refused here.
  auto shared = std::make_shared<std::unique_ptr<UnaryCall>>(std::move(call));
  const auto answer = [this, shared, id, body] {
    if (IsAbandoned(context_, **shared)) {
      return (*shared)->Finish(ReadError(**shared, absl::CancelledError()));
    }
    AnswerWithKeys(**shared, id, body);
  };
  if (!context_.node.RunInReadPool(answer)) (*shared)->Finish(ToStatus(Error::kTooManyRequests));
}

// The count of the keys says little about what there is to walk: keys that the lease held once have
// left their marks. Nor may the walk end at the count: that is of another moment, and what came
// since would stand in for what it left out.
void LeaseService::AnswerWithKeys(UnaryCall& call, LeaseId id, std::string_view body) {
  const ResponseHeader header = context_.HeaderNow();
  ResponseBuffer out(context_.budget, kResponseBudgetWait);
  bool has_room = out.Append(body);
  const std::string prefix = LeaseKeysPrefix(id);
  constexpr size_t kStep = 256;
  size_t rows = 0;
  bool is_abandoned = false;
  const absl::Status scanned =
      context_.store.ScanMeta(prefix, [&](std::string_view row, std::string_view) {
        if (++rows % kStep == 0 && IsAbandoned(context_, call)) {
          is_abandoned = true;
          return false;
        }
        const std::string_view key = row.substr(prefix.size());
        std::string start;
        wire::AppendFieldStart(start, LeaseTimeToLiveResponse::kKeysFieldNumber, key.size());
        has_room = has_room && out.Append(start) && out.Append(key);
        return has_room;
      });
  if (is_abandoned) return call.Finish(ReadError(call, absl::CancelledError()));
  if (!scanned.ok() || !has_room) return call.Finish(scanned.ok() ? out.refusal() : scanned);
  call.Finish(out.FinishWithHeader(header));
}

void LeaseService::Leases(std::unique_ptr<UnaryCall> call) {
  LeaseLeasesRequest request;
  absl::Status status = rpc::Parse(call->request(), request);
  if (status.ok()) status = Admit(context_, *call, OnLearner::kRefuse);
  if (!status.ok()) {
    call->Finish(std::move(status));
    return;
  }
  auto shared = std::make_shared<std::unique_ptr<UnaryCall>>(std::move(call));
  const auto answer = [this, shared] { AnswerLeases(**shared); };
  if (!context_.node.RunInReadPool(answer)) (*shared)->Finish(ToStatus(Error::kTooManyRequests));
}

// Which leases there are is one moment of the state; when each ends is looked up in steps, as of
// one time. One that has ended meanwhile is left out, so nobody sees it after its revocation was
// answered.
void LeaseService::AnswerLeases(UnaryCall& call) {
  std::vector<LeaseId> ids;
  constexpr LeaseId kFirst(std::numeric_limits<int64_t>::min());
  constexpr size_t kStep = 4096;
  bool is_abandoned = IsAbandoned(context_, call);
  const absl::Status scanned =
      ScanLeases(context_.store, kFirst, [&](LeaseId id, const lease::LeaseFacts&) {
        ids.push_back(id);
        if (ids.size() % kStep == 0) is_abandoned = IsAbandoned(context_, call);
        return !is_abandoned;
      });
  if (!scanned.ok()) return call.Finish(scanned);
  if (is_abandoned) return call.Finish(ReadError(call, absl::CancelledError()));
  const LeaseManager& leases = context_.node.leases();
  const lease::Milliseconds now_ms = leases.Now();
  // The one that is due first stands first; by id where nobody knows.
  std::vector<std::pair<std::optional<lease::Milliseconds>, LeaseId>> due;
  due.reserve(ids.size());
  for (std::span<const LeaseId> rest = ids; !rest.empty();) {
    const std::span<const LeaseId> step = rest.first(std::min(rest.size(), kStep));
    rest = rest.subspan(step.size());
    for (const lease::LeaseView& view : leases.FindAll(step, now_ms)) {
      if (!view.facts.is_ending()) due.emplace_back(view.remaining_ms, view.id);
    }
  }
  std::sort(due.begin(), due.end());
  ResponseBuffer out(context_.budget, kResponseBudgetWait);
  bool has_room = true;
  for (const auto& [remaining_ms, lease] : due) {
    const uint64_t id = OnWire(lease.value());
    std::string item;
    wire::AppendFieldStart(item, LeaseLeasesResponse::kLeasesFieldNumber,
                           wire::NumberFieldBytes(id));
    wire::AppendNumberField(item, LeaseStatus::kIDFieldNumber, id);
    has_room = has_room && out.Append(item);
  }
  if (!has_room) return call.Finish(out.refusal());
  call.Finish(out.FinishWithHeader(context_.HeaderNow()));
}

}  // namespace cairn::server
