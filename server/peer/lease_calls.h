// What members ask the leader about leases, and how it answers (api/peer.proto).
//
// The asking side calls through Node::CallPeer, on any thread, and never blocks; the answering side
// is registered in the table of the peer port.
#ifndef CAIRN_SERVER_PEER_LEASE_CALLS_H_
#define CAIRN_SERVER_PEER_LEASE_CALLS_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <optional>

#include "base/ids.h"
#include "server/lease_manager.h"
#include "server/node.h"
#include "server/rpc/service_table.h"

namespace cairn::server {

// Asks `leader` to renew a lease: its whole time to live, 0 if there is none such; UNAVAILABLE when
// it could not be asked or does not lead.
void RenewLeaseOn(Node& node, MemberId leader, LeaseId id,
                  std::function<void(absl::StatusOr<int64_t> ttl_s)> done);

// Asks `leader` how long a lease has: milliseconds, negative when it is due; none if there is none
// such.
void FindLeaseOn(Node& node, MemberId leader, LeaseId id,
                 std::function<void(absl::StatusOr<std::optional<int64_t>> remaining_ms)> done);

// Answers both from the leases of `node`, which outlives every call. Only behind a barrier does it
// say that there is no such lease, and, while its lead is not confirmed, what remains of one.
void RegisterLeaseCalls(Node& node, rpc::ServiceTable& table);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_PEER_LEASE_CALLS_H_
