// The checkers must see what they are for: each case breaks one rule.
#include "raft/invariants.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace cairn::raft {
namespace {

CoreStatus Good() {
  return {.id = MemberId(1),
          .role = RoleKind::kLeader,
          .term = Term(3),
          .vote = MemberId(1),
          .leader = MemberId(1),
          .commit = Index(5),
          .applying = Index(4),
          .applied = Index(3),
          .durable = Index(6),
          .last = {Term(3), Index(7)},
          .before_tail = Index(2),
          .configuration = {.voters = {MemberId(1), MemberId(2)}},
          .peers = {{.id = MemberId(2), .match = Index(5), .next = Index(6)}}};
}

TEST(Invariants, AGoodMemberPasses) { EXPECT_EQ(CheckMember(Good()), ""); }

TEST(Invariants, EachBrokenRuleIsNamed) {
  struct Case {
    const char* violation;
    std::function<void(CoreStatus&)> breaks;
  };
  for (const Case& c : std::vector<Case>{
           {"applied 9 above applying 4", [](auto& s) { s.applied = Index(9); }},
           {"applying 6 above commit 5", [](auto& s) { s.applying = Index(6); }},
           {"applying 4 above durable 3", [](auto& s) { s.durable = Index(3); }},
           {"commit 8 above last 7", [](auto& s) { s.commit = Index(8); }},
           {"uncommitted entries up to 6 left memory", [](auto& s) { s.before_tail = Index(6); }},
           {"entry of term 4 above the current term 3", [](auto& s) { s.last.term = Term(4); }},
           {"a leader that voted for 2", [](auto& s) { s.vote = MemberId(2); }},
           {"peer 2: match 6 not below next 6", [](auto& s) { s.peers[0].match = Index(6); }},
           {"peer 2: next 9 beyond the log's end 7", [](auto& s) { s.peers[0].next = Index(9); }},
           {"ill-formed configuration", [](auto& s) { s.configuration.learners = {MemberId(2)}; }},
       }) {
    CoreStatus status = Good();
    c.breaks(status);
    EXPECT_EQ(CheckMember(status), c.violation);
  }
}

TEST(Invariants, StepsNeverGoBack) {
  struct Case {
    const char* violation;
    std::function<void(CoreStatus&)> breaks;
  };
  for (const Case& c : std::vector<Case>{
           {"", [](auto&) {}},
           {"term fell from 3 to 2", [](auto& s) { s.term = Term(2); }},
           {"commit fell from 5 to 4", [](auto& s) { s.commit = Index(4); }},
           {"vote changed from 1 to 2 in term 3", [](auto& s) { s.vote = MemberId(2); }},
           {"a leader's log shrank from 7 to 6", [](auto& s) { s.last.index = Index(6); }},
       }) {
    CoreStatus after = Good();
    c.breaks(after);
    EXPECT_EQ(CheckStep(Good(), after), c.violation);
  }
}

// Seed 875 of the simulation: a pre-vote granted and then, in the same term and the same Ready, a
// vote.
TEST(Invariants, OnlyVotesWaitForTheDisk) {
  Ready ready;
  ready.hard_state = HardState{Term(1), MemberId(3), Index(0)};
  ready.committed = {Index(1), Index(1)};
  VoteReply reply{.is_pre_vote = true, .campaign_term = Term(2), .is_granted = true};
  ready.messages_now = {{MemberId(2), MemberId(1), Term(1), reply}};
  EXPECT_EQ(CheckReady(ready, Index(1)), "");
  reply = {.campaign_term = Term(1), .is_granted = true};
  ready.messages_now = {{MemberId(2), MemberId(3), Term(1), reply}};
  EXPECT_EQ(CheckReady(ready, Index(1)), "a vote leaves before it is durable");
}

TEST(Invariants, GroupsHaveOneLeaderATermAndOneHistory) {
  GroupChecker checker;
  EXPECT_EQ(checker.SawMember(Good()), "");
  CoreStatus other = Good();
  other.id = MemberId(2);
  EXPECT_EQ(checker.SawMember(other), "two leaders in term 3: 1 and 2");
  other.term = Term(4);
  other.last.index = Index(4);
  EXPECT_EQ(checker.SawMember(other),
            "the leader of term 4 ends at 4, but 5 was committed by term 3");

  const Entry entry{Term(1), Index(1), EntryKind::kEmpty, nullptr};
  EXPECT_EQ(checker.SawApplied(MemberId(1), entry), "");
  EXPECT_EQ(checker.SawApplied(MemberId(2), entry), "");
  const Entry different{Term(2), Index(1), EntryKind::kEmpty, nullptr};
  EXPECT_NE(checker.SawApplied(MemberId(2), different), "");
}

}  // namespace
}  // namespace cairn::raft
