#include "server/membership_driver.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "raft/conf_change.h"
#include "server/membership_rules.h"

namespace cairn::server {

void MembershipDriver::Propose(const MembershipChange& change) {
  core_.ProposeAsLeader(std::make_shared<const std::string>(EncodeChange(change)),
                        raft::EntryKind::kConfiguration);
}

void MembershipDriver::Tick(const Members& members) {
  if (!core_.IsLeaderReady()) {
    commit_before_ = Index();
    return;
  }
  const raft::Core& raft = core_.raft();
  const Index commit_before = std::exchange(commit_before_, raft.commit());
  if (raft::IsJoint(raft.configuration())) {
    MembershipChange leave;
    leave.leave_joint = true;
    return Propose(leave);
  }
  if (!promotes_learners_ || raft.configuration().learners.empty()) return;
  // The first tick in the lead knows no "before" to compare with.
  if (commit_before == Index()) return;
  // Only who is connected counts as recently active, which is all that is asked here.
  const auto connected_ms = [](MemberId) -> std::optional<int64_t> { return std::nullopt; };
  const std::optional<MemberId> learner =
      LearnerToPromote(raft.Status(), ClusterView{members, raft.id(), connected_ms}, commit_before);
  if (!learner.has_value()) return;
  MembershipChange change;
  change.steps = {{ChangeKind::kPromoteLearner, {.id = *learner}}};
  Propose(change);
}

}  // namespace cairn::server
