// Legal moves between configurations (thesis 4.1 and 4.3).
//
// Pure functions from a configuration and the wished-for changes to the next configuration, or a
// kInvalidArgument / kFailedPrecondition status that says what is wrong. Which change is wise
// (a learner that has not caught up, a removal that would lose the quorum) is the server's to
// judge; what is safe is judged here.
#ifndef CAIRN_RAFT_CONF_CHANGE_H_
#define CAIRN_RAFT_CONF_CHANGE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <span>

#include "base/ids.h"
#include "raft/types.h"

namespace cairn::raft {

enum class MemberChangeKind : uint8_t {
  kAddVoter,    // A new voter, or a learner promoted.
  kAddLearner,  // A new learner, or a voter demoted.
  kRemove,
};

struct MemberChange {
  MemberChangeKind kind = MemberChangeKind::kAddVoter;
  MemberId id;  // Not 0.
};

// The rules that every configuration in force keeps:
//   1. lists are sorted, without duplicates and without 0; there is a voter;
//   2. no learner votes, in either half;
//   3. learners_next are voters of the outgoing half and not of the incoming one;
//   4. learners_next is empty unless joint.
absl::Status ValidateConfiguration(const Configuration& configuration);

bool IsJoint(const Configuration& configuration);

// All `changes` at once, without a joint phase. Legal when at most one member's vote comes or goes:
// then any majority before and any majority after share a member (4.1, figure 4.3).
// kFailedPrecondition when `configuration` is joint, or more votes change.
absl::StatusOr<Configuration> ChangeSimply(const Configuration& configuration,
                                           std::span<const MemberChange> changes);

// Enters the joint phase: from here on both the old voters and the new must agree (4.3). A voter
// that becomes a learner keeps its old vote until the phase ends.
// kFailedPrecondition when `configuration` is joint.
absl::StatusOr<Configuration> EnterJoint(const Configuration& configuration,
                                         std::span<const MemberChange> changes);

// Leaves the joint phase for the new voters alone. kFailedPrecondition when not joint.
absl::StatusOr<Configuration> LeaveJoint(const Configuration& configuration);

}  // namespace cairn::raft

#endif  // CAIRN_RAFT_CONF_CHANGE_H_
