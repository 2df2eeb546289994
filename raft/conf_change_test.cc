#include "raft/conf_change.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/random.h"
#include "raft/test_cluster.h"

namespace cairn::raft {
namespace {

using enum MemberChangeKind;

MemberChange Change(MemberChangeKind kind, uint64_t id) { return {kind, MemberId(id)}; }

std::string Text(const absl::StatusOr<Configuration>& configuration) {
  return configuration.ok() ? EncodeConfiguration(*configuration)
                            : std::string(configuration.status().message());
}

TEST(ConfChange, SimpleChanges) {
  struct Case {
    const char* name;
    std::string before;
    std::vector<MemberChange> changes;
    std::string after;
  };
  const std::string kTooMany = "more than one vote changes, which needs a joint phase";
  for (const Case& c : {
           Case{"add", "voters=1", {Change(kAddVoter, 2)}, "voters=1,2"},
           Case{"learner", "voters=1", {Change(kAddLearner, 2)}, "voters=1 learners=2"},
           Case{"promote", "voters=1 learners=2", {Change(kAddVoter, 2)}, "voters=1,2"},
           Case{"demote", "voters=1,2", {Change(kAddLearner, 2)}, "voters=1 learners=2"},
           Case{"remove", "voters=1,2,3", {Change(kRemove, 2)}, "voters=1,3"},
           Case{"remove a stranger", "voters=1", {Change(kRemove, 7)}, "voters=1"},
           Case{"add twice", "voters=1,2", {Change(kAddVoter, 2)}, "voters=1,2"},
           Case{"two votes", "voters=1", {Change(kAddVoter, 2), Change(kAddVoter, 3)}, kTooMany},
           Case{"replace", "voters=1,2", {Change(kAddVoter, 3), Change(kRemove, 2)}, kTooMany},
           Case{"the last", "voters=1", {Change(kRemove, 1)}, "the last voter cannot go"},
           Case{"nobody", "voters=1", {Change(kAddVoter, 0)}, "member id 0 names nobody"},
           Case{"joint", "voters=1 outgoing=1,2", {}, "the configuration is joint"},
       }) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(Text(ChangeSimply(DecodeConfiguration(c.before), c.changes)), c.after);
  }
}

TEST(ConfChange, JointKeepsTheOldVotesUntilItEnds) {
  const auto joint =
      EnterJoint(DecodeConfiguration("voters=1,2,3 learners=4"),
                 std::vector{Change(kAddVoter, 4), Change(kAddLearner, 3), Change(kRemove, 2)});
  EXPECT_EQ(Text(joint), "voters=1,4 outgoing=1,2,3 learners_next=3");
  EXPECT_EQ(Text(EnterJoint(*joint, {})), "the configuration is joint already");
  EXPECT_EQ(Text(LeaveJoint(*joint)), "voters=1,4 learners=3");
  EXPECT_EQ(Text(LeaveJoint(*LeaveJoint(*joint))), "the configuration is not joint");
}

TEST(ConfChange, ValidationNamesTheBrokenRule) {
  struct Case {
    std::string configuration;
    std::string violation;
  };
  for (const Case& c : {
           Case{"voters=1,2 learners=3", ""},
           Case{"learners=3", "no voter"},
           Case{"voters=2,1", "a member list is not sorted or names one twice"},
           Case{"voters=1,1", "a member list is not sorted or names one twice"},
           Case{"voters=0,1", "a member list is not sorted or names one twice"},
           Case{"voters=1,2 learners=2", "learner 2 also votes"},
           Case{"voters=1 outgoing=1,2 learners=2", "learner 2 also votes"},
           Case{"voters=1 learners_next=2", "2 is to become a learner but is not a leaving voter"},
       }) {
    const absl::Status status = ValidateConfiguration(DecodeConfiguration(c.configuration));
    EXPECT_EQ(std::string(status.message()), c.violation) << c.configuration;
  }
}

// Any walk of legal moves stays legal, and each move keeps a common member in every two majorities
// (checked the dumb way: the largest set that avoids a majority of one side is no majority of the
// other).
TEST(ConfChange, RandomWalksStayLegal) {
  base::Random random(7);
  Configuration now = DecodeConfiguration("voters=1,2,3");
  for (int i = 0; i < 20'000; ++i) {
    std::vector<MemberChange> changes;
    for (uint64_t n = random.Below(4); n > 0; --n) {
      changes.push_back(
          Change(static_cast<MemberChangeKind>(random.Below(3)), 1 + random.Below(7)));
    }
    const uint64_t way = random.Below(3);
    const auto next = way == 0   ? ChangeSimply(now, changes)
                      : way == 1 ? EnterJoint(now, changes)
                                 : LeaveJoint(now);
    if (!next.ok()) continue;
    ASSERT_TRUE(ValidateConfiguration(*next).ok()) << EncodeConfiguration(*next);
    if (way == 0) {
      std::vector<MemberId> both;
      std::set_intersection(now.voters.begin(), now.voters.end(), next->voters.begin(),
                            next->voters.end(), std::back_inserter(both));
      std::vector<MemberId> either;
      std::set_union(now.voters.begin(), now.voters.end(), next->voters.begin(), next->voters.end(),
                     std::back_inserter(either));
      const size_t needed = now.voters.size() / 2 + 1 + next->voters.size() / 2 + 1;
      ASSERT_GT(needed, either.size())
          << EncodeConfiguration(now) << " to " << EncodeConfiguration(*next);
    }
    now = *next;
  }
}

}  // namespace
}  // namespace cairn::raft
