#include "server/peer/lease_calls.h"

#include <memory>
#include <string>
#include <utility>

#include "api/errors.h"
#include "api/peer.pb.h"
#include "base/status.h"
#include "server/rpc/proto.h"

namespace cairn::server {

namespace {

using rpc::UnaryCall;

constexpr std::string_view kServiceName = "cairn.peer.Peer";

absl::Status NotTheLeader() {
  return base::MakeStatus(absl::StatusCode::kUnavailable, "this member does not lead");
}

void Renew(LeaseManager& leases, std::unique_ptr<UnaryCall> call,
           const peer::RenewLeaseRequest& request) {
  if (!leases.is_primary()) return call->Finish(NotTheLeader());
  leases.RenewLater(LeaseId(request.lease_id()),
                    [call = std::move(call)](absl::StatusOr<int64_t> ttl_s) {
                      if (!ttl_s.ok()) return call->Finish(ttl_s.status());
                      peer::RenewLeaseResponse response;
                      response.set_ttl_s(*ttl_s);
                      call->Finish(rpc::SliceList(rpc::Encode(response)));
                    });
}

// Says what this leader knows now, which must be after it was found to lead still.
void TellRemaining(LeaseManager& leases, UnaryCall& call, LeaseId id) {
  std::optional<lease::LeaseView> view = leases.Find(id);
  if (view.has_value() && view->facts.is_ending()) view.reset();
  const bool is_known = !view.has_value() || view->remaining_ms.has_value();
  if (!leases.is_primary() || !is_known) return call.Finish(NotTheLeader());
  peer::FindLeaseResponse response;
  response.set_is_found(view.has_value());
  if (view.has_value()) response.set_remaining_ms(*view->remaining_ms);
  call.Finish(rpc::SliceList(rpc::Encode(response)));
}

void Find(Node& node, std::unique_ptr<UnaryCall> call, const peer::FindLeaseRequest& request) {
  LeaseManager& leases = node.leases();
  const LeaseId id(request.lease_id());
  if (!leases.is_primary()) return call->Finish(NotTheLeader());
  const bool is_known = leases.Find(id).has_value();
  if (is_known && leases.is_confirmed()) return TellRemaining(leases, *call, id);
  // Another member may have answered a grant that is not applied here yet, or lead by now and have
  // ended this lease.
  const rpc::UnaryCall* const caller = call.get();
  node.ReadBarrier(caller, [&leases, id, call = std::move(call)](const absl::Status& status) {
    if (!status.ok()) return call->Finish(NotTheLeader());
    TellRemaining(leases, *call, id);
  });
}

}  // namespace

void RenewLeaseOn(Node& node, MemberId leader, LeaseId id,
                  std::function<void(absl::StatusOr<int64_t> ttl_s)> done) {
  peer::RenewLeaseRequest request;
  request.set_lease_id(id.value());
  node.CallPeer(leader, "RenewLease", request.SerializeAsString(),
                [done = std::move(done)](absl::StatusOr<std::string> answer) {
                  if (!answer.ok()) return done(answer.status());
                  peer::RenewLeaseResponse response;
                  if (absl::Status parsed = rpc::Parse(*answer, response); !parsed.ok()) {
                    return done(std::move(parsed));
                  }
                  done(response.ttl_s());
                });
}

void FindLeaseOn(Node& node, MemberId leader, LeaseId id,
                 std::function<void(absl::StatusOr<std::optional<int64_t>> remaining_ms)> done) {
  peer::FindLeaseRequest request;
  request.set_lease_id(id.value());
  node.CallPeer(
      leader, "FindLease", request.SerializeAsString(),
      [done = std::move(done)](absl::StatusOr<std::string> answer) {
        if (!answer.ok()) return done(answer.status());
        peer::FindLeaseResponse response;
        if (absl::Status parsed = rpc::Parse(*answer, response); !parsed.ok()) {
          return done(std::move(parsed));
        }
        done(response.is_found() ? std::optional<int64_t>(response.remaining_ms()) : std::nullopt);
      });
}

void RegisterLeaseCalls(Node& node, rpc::ServiceTable& table) {
  table.AddUnary(kServiceName, "RenewLease",
                 rpc::TypedUnary<peer::RenewLeaseRequest>(
                     [&node](std::unique_ptr<UnaryCall> call, peer::RenewLeaseRequest request) {
                       Renew(node.leases(), std::move(call), request);
                     }));
  table.AddUnary(kServiceName, "FindLease",
                 rpc::TypedUnary<peer::FindLeaseRequest>(
                     [&node](std::unique_ptr<UnaryCall> call, peer::FindLeaseRequest request) {
                       Find(node, std::move(call), request);
                     }));
}

}  // namespace cairn::server
