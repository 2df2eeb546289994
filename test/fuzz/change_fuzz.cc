// Configuration entries: whatever their bytes, they are refused or mean one thing, and any
// membership that they are applied to stays one that consensus may run on.
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "raft/conf_change.h"
#include "server/membership_change.h"
#include "test/fuzz/fuzz.h"

namespace cairn::test {

using server::ChangeKind;
using server::MembershipChange;

void Fuzz(std::string_view input) {
  const absl::StatusOr<MembershipChange> change = server::DecodeChange(input);
  if (!change.ok()) {
    CAIRN_CHECK(absl::IsDataLoss(change.status()) || absl::IsUnimplemented(change.status()));
    return;
  }
  const absl::StatusOr<MembershipChange> again =
      server::DecodeChange(server::EncodeChange(*change));
  CAIRN_CHECK(again.ok() && *again == *change);

  server::Membership membership;
  for (const uint64_t id : {1, 2, 3}) {
    MembershipChange first;
    first.steps = {{id == 3 ? ChangeKind::kAddLearner : ChangeKind::kAddVoter,
                    {MemberId(id), "", {"http://" + std::to_string(id) + ":1"}, {}, false}}};
    CAIRN_CHECK(server::ApplyChange(first, Index(id), membership).refusal.ok());
  }
  // Twice: what a joint phase refuses, too.
  for (const uint64_t index : {4, 5}) {
    server::ApplyChange(*change, Index(index), membership);
    CAIRN_CHECK(raft::ValidateConfiguration(membership.configuration).ok());
  }
}

std::vector<std::string> FuzzSeeds() {
  std::vector<std::string> seeds;
  for (const ChangeKind kind :
       {ChangeKind::kAddVoter, ChangeKind::kAddLearner, ChangeKind::kPromoteLearner,
        ChangeKind::kRemove, ChangeKind::kUpdatePeerUrls}) {
    MembershipChange change;
    change.steps = {{kind, {MemberId(3), "n", {"http://3:1"}, {"http://3:2"}, true}}};
    change.proposer = {MemberId(1), 77, 300};
    change.learners_max = 1;
    seeds.push_back(server::EncodeChange(change));
    change.steps.push_back({ChangeKind::kRemove, {MemberId(1), "", {}, {}, false}});
    change.steps.push_back({ChangeKind::kAddVoter, {MemberId(9), "", {"http://9:1"}, {}, false}});
    seeds.push_back(server::EncodeChange(change));
  }
  MembershipChange leave;
  leave.leave_joint = true;
  seeds.push_back(server::EncodeChange(leave));
  return seeds;
}

}  // namespace cairn::test
