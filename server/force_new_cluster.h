// --force-new-cluster: what is left of a cluster goes on as a cluster of one.
//
// Main thread only, at start, between opening log and state and running on them. For when a
// majority is lost for good: changes that remove everyone else are written behind all that the log
// holds, and all of it counts as committed. (etcd drops what lies beyond the commit index that the
// log has noted. That index lags, so what was acknowledged may lie there, and nobody else is left
// who could know.) Cluster id, member id and data stay. Nothing is written when this member is
// alone already. Every other member must be stopped; those that were removed are refused when they
// come back.
#ifndef CAIRN_SERVER_FORCE_NEW_CLUSTER_H_
#define CAIRN_SERVER_FORCE_NEW_CLUSTER_H_

#include <absl/status/status.h>

#include <vector>

#include "base/ids.h"
#include "server/membership_change.h"
#include "wal/types.h"
#include "wal/wal.h"

namespace cairn::server {

// The changes that leave `self` alone and voting, in their order: at most one vote each. None when
// it is alone. FAILED_PRECONDITION when `self` is no member.
absl::StatusOr<std::vector<MembershipChange>> ChangesToAlone(Membership membership, MemberId self);

// Does it to a log whose state has applied `membership` through `applied`; `recovered` then says
// what the log holds.
absl::Status ForceNewCluster(Membership membership, Index applied, wal::Wal& wal,
                             wal::Recovered& recovered);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_FORCE_NEW_CLUSTER_H_
