#include "raft/quorum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <vector>

#include "base/random.h"

namespace cairn::raft {
namespace {

constexpr uint64_t kAnything = std::numeric_limits<uint64_t>::max();

std::vector<MemberId> Members(std::vector<uint64_t> ids) {
  std::vector<MemberId> members;
  for (const uint64_t id : ids) members.push_back(MemberId(id));
  return members;
}

TEST(Quorum, MajorityReachesTheMiddleValue) {
  struct Case {
    const char* name;
    std::vector<uint64_t> values;
    uint64_t expected;
  };
  for (const Case& c : {
           Case{"nobody", {}, kAnything},
           Case{"one", {7}, 7},
           Case{"two need both", {7, 5}, 5},
           Case{"three need two", {9, 1, 5}, 5},
           Case{"four need three", {9, 1, 5, 7}, 5},
           Case{"five need three", {1, 2, 3, 4, 5}, 3},
           Case{"equal values", {4, 4, 4}, 4},
           Case{"silence counts as 0", {0, 0, 8}, 0},
       }) {
    SCOPED_TRACE(c.name);
    std::vector<uint64_t> values = c.values;
    EXPECT_EQ(MajorityValue(values), c.expected);
  }
}

TEST(Quorum, VotesAreDecidedAsSoonAsTheyCanBe) {
  struct Case {
    size_t voters, granted, refused;
    VoteResult expected;
  };
  for (const Case& c : {
           Case{0, 0, 0, VoteResult::kWon},
           Case{1, 0, 0, VoteResult::kPending},
           Case{1, 1, 0, VoteResult::kWon},
           Case{1, 0, 1, VoteResult::kLost},
           Case{2, 1, 0, VoteResult::kPending},
           Case{2, 0, 1, VoteResult::kLost},
           Case{3, 1, 1, VoteResult::kPending},
           Case{3, 2, 0, VoteResult::kWon},
           Case{3, 0, 2, VoteResult::kLost},
           Case{4, 2, 1, VoteResult::kPending},
           Case{4, 2, 2, VoteResult::kLost},
           Case{5, 3, 0, VoteResult::kWon},
       }) {
    EXPECT_EQ(MajorityVote(c.voters, c.granted, c.refused), c.expected)
        << c.voters << " voters, " << c.granted << " yes, " << c.refused << " no";
  }
}

TEST(Quorum, JointNeedsBothHalves) {
  using enum VoteResult;
  EXPECT_EQ(JointVote(kWon, kWon), kWon);
  EXPECT_EQ(JointVote(kWon, kPending), kPending);
  EXPECT_EQ(JointVote(kPending, kLost), kLost);
  EXPECT_EQ(JointVote(kLost, kWon), kLost);
}

TEST(Quorum, LearnersAreMembersWithoutAVote) {
  const Configuration configuration{.voters = Members({1, 2}),
                                    .outgoing = Members({2, 3}),
                                    .learners = Members({4}),
                                    .learners_next = Members({3})};
  std::vector<MemberId> members;
  ForEachMember(configuration, [&](MemberId id) { members.push_back(id); });
  EXPECT_EQ(members, Members({1, 2, 3, 4}));
  std::vector<MemberId> voters;
  ForEachVoter(configuration, [&](MemberId id) { voters.push_back(id); });
  EXPECT_EQ(voters, Members({1, 2, 3}));
  EXPECT_FALSE(IsVoter(configuration, MemberId(4)));
  EXPECT_TRUE(IsMember(configuration, MemberId(4)));
  EXPECT_FALSE(IsMember(configuration, MemberId(5)));
  EXPECT_EQ(QuorumValue(configuration, [](MemberId id) { return id.value() == 4 ? 0 : 9; }), 9u);
}

TEST(Quorum, SoleVoterIsAQuorumAlone) {
  EXPECT_TRUE(IsSoleVoter({.voters = Members({1}), .learners = Members({2})}, MemberId(1)));
  EXPECT_FALSE(IsSoleVoter({.voters = Members({1})}, MemberId(2)));
  EXPECT_FALSE(IsSoleVoter({.voters = Members({1, 2})}, MemberId(1)));
  EXPECT_FALSE(IsSoleVoter({.voters = Members({1}), .outgoing = Members({1, 2})}, MemberId(1)));
  EXPECT_FALSE(IsSoleVoter({}, MemberId(1)));
}

// --- The dumb oracle: try every value, and count. ---

bool AgreesTo(const std::vector<MemberId>& voters, const std::map<MemberId, uint64_t>& values,
              uint64_t value) {
  const auto count = std::count_if(voters.begin(), voters.end(),
                                   [&](MemberId id) { return values.at(id) >= value; });
  return voters.empty() || 2 * static_cast<size_t>(count) > voters.size();
}

uint64_t DumbValue(const Configuration& configuration, const std::map<MemberId, uint64_t>& values) {
  if (configuration.voters.empty() && configuration.outgoing.empty()) return kAnything;
  uint64_t best = 0;
  for (const auto& [id, value] : values) {
    if (AgreesTo(configuration.voters, values, value) &&
        AgreesTo(configuration.outgoing, values, value)) {
      best = std::max(best, value);
    }
  }
  return best;
}

// Decided only if every completion of the missing votes decides the same.
bool CanWin(const std::vector<MemberId>& voters,
            const std::map<MemberId, std::optional<bool>>& votes, bool missing_vote) {
  size_t granted = 0;
  for (const MemberId id : voters) granted += votes.at(id).value_or(missing_vote) ? 1 : 0;
  return voters.empty() || 2 * granted > voters.size();
}

VoteResult DumbVote(const Configuration& configuration,
                    const std::map<MemberId, std::optional<bool>>& votes) {
  const auto both = [&](bool missing_vote) {
    return CanWin(configuration.voters, votes, missing_vote) &&
           CanWin(configuration.outgoing, votes, missing_vote);
  };
  if (both(false)) return VoteResult::kWon;
  return both(true) ? VoteResult::kPending : VoteResult::kLost;
}

TEST(Quorum, AgreesWithTheDumbOracle) {
  base::Random random(20'240);
  for (int i = 0; i < 50'000; ++i) {
    Configuration configuration;
    std::map<MemberId, uint64_t> values;
    std::map<MemberId, std::optional<bool>> votes;
    // Beyond 16 voters the arithmetic takes its other branch.
    const uint64_t members = 1 + random.Below(random.Below(50) == 0 ? 40 : 9);
    for (uint64_t n = 1; n <= members; ++n) {
      const MemberId id(n);
      const uint64_t part = random.Below(5);
      if (part < 3) configuration.voters.push_back(id);
      if (part >= 2 && part < 4) configuration.outgoing.push_back(id);
      values[id] = random.Below(8);
      const uint64_t vote = random.Below(3);
      votes[id] = vote == 0 ? std::nullopt : std::optional(vote == 1);
    }
    if (random.Below(3) == 0) configuration.outgoing.clear();
    // The oracle tries only values of members that count; others would be no candidates.
    std::erase_if(values, [&](const auto& v) { return !IsVoter(configuration, v.first); });
    ASSERT_EQ(QuorumValue(configuration, [&](MemberId id) { return values.at(id); }),
              DumbValue(configuration, values))
        << "case " << i;
    ASSERT_EQ(QuorumVote(configuration, [&](MemberId id) { return votes.at(id); }),
              DumbVote(configuration, votes))
        << "case " << i;
  }
}

}  // namespace
}  // namespace cairn::raft
