// Whether a change of the members is wise, judged before it is proposed: etcd's rules, its errors,
// its order.
//
// Pure: no thread, clock, file or socket. Whether a change is possible at all is judged when it is
// applied (membership_change.h); what is refused here was certainly not applied.
#ifndef CAIRN_SERVER_MEMBERSHIP_RULES_H_
#define CAIRN_SERVER_MEMBERSHIP_RULES_H_

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "raft/core.h"
#include "server/node.h"

namespace cairn::server {

// A member counts as healthy when it has been connected for longer than this.
inline constexpr int64_t kHealthyAfterMs = 5000;
// A learner may vote when it holds this much of what the leader holds.
inline constexpr double kLearnerReadyShare = 0.9;

// How the cluster looks to the member that is asked.
struct ClusterView {
  const Members& members;
  MemberId self;
  // For how long a member has been answering, in milliseconds; none: it does not. Never asked for
  // `self`.
  absl::FunctionRef<std::optional<int64_t>(MemberId id)> connected_ms;
};

// What --strict-reconfig-check asks of an addition: enough voters have started to be a quorum with
// one more (1 to 2 is always allowed), UNKNOWN "not enough started members" otherwise; enough are
// healthy to be one with the new member down (a sole voter needs none), UNAVAILABLE "unhealthy
// cluster". The first does not concern learners.
absl::Status CheckAddition(const ClusterView& view, bool is_learner);

// What it asks of a removal: who remains is, started, a quorum of those who remain; and unless the
// member has gone already, healthy too. Learners go freely, unknown ids are left to the entry. A
// cluster of one keeps its voter.
absl::Status CheckRemoval(const ClusterView& view, MemberId id);

// What it asks of a promotion: enough voters have started, the learner counted as one.
absl::Status CheckPromotion(const ClusterView& view);

// What is asked of a promotion always, by the leader, who alone knows: FAILED_PRECONDITION "not
// leader" from others, NOT_FOUND for a stranger, FAILED_PRECONDITION "in sync with leader" for who
// lags.
absl::Status CheckLearnerReady(const raft::CoreStatus& leader, MemberId id);

// Whom a leader promotes unasked: a learner that has started, answers, and holds all that was
// committed at `commit_before`, a moment ago. None: nobody, or CheckPromotion is against it.
std::optional<MemberId> LearnerToPromote(const raft::CoreStatus& leader, const ClusterView& view,
                                         Index commit_before);

// The peer URLs of a member to be added, sorted. INVALID_ARGUMENT "given member URLs are invalid"
// unless there are some and all are http(s)://host:port or unix(s) URLs.
absl::StatusOr<std::vector<std::string>> CheckPeerUrls(const std::vector<std::string>& urls);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_MEMBERSHIP_RULES_H_
