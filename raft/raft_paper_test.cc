// The rules of Ongaro's thesis in its order, one test a rule. Section numbers are the thesis's.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "raft/core.h"
#include "raft/test_cluster.h"

namespace cairn::raft {
namespace {

constexpr MemberId kA(1);
constexpr MemberId kB(2);
constexpr MemberId kC(3);

Proposal Command(std::string text) {
  return {EntryKind::kCommand, std::make_shared<const std::string>(std::move(text))};
}

Entry At(uint64_t term, uint64_t index) {
  return {Term(term), Index(index), EntryKind::kEmpty, nullptr};
}

// A member of {A, B, C} that is A, at `term`, with entries of the given terms, uncommitted.
std::unique_ptr<Core> MemberA(uint64_t term, const std::vector<uint64_t>& terms = {},
                              MemberId vote = MemberId(0)) {
  RestoredState restored;
  restored.configuration.voters = {kA, kB, kC};
  restored.hard_state = {Term(term), vote, Index(0)};
  for (const uint64_t entry_term : terms) {
    restored.entries.push_back(At(entry_term, restored.entries.size() + 1));
  }
  if (!terms.empty()) restored.last = {Term(terms.back()), Index(terms.size())};
  return std::make_unique<Core>(CoreOptions{.id = kA, .random_seed = 1}, std::move(restored));
}

// All messages of the next Ready, wherever they stand; `after` only those that wait for the disk.
std::vector<Message> Messages(Core& core, bool only_after = false) {
  if (!core.HasReady()) return {};
  Ready ready = core.TakeReady();
  std::vector<Message> all = ready.messages_after_append;
  if (!only_after) {
    all.insert(all.end(), ready.messages_now.begin(), ready.messages_now.end());
  }
  if (ready.needs_log()) core.LogDurable(ready.number);
  return all;
}

template <typename Body>
std::vector<Body> Only(const std::vector<Message>& messages) {
  std::vector<Body> bodies;
  for (const Message& message : messages) {
    if (const auto* body = std::get_if<Body>(&message.body)) bodies.push_back(*body);
  }
  return bodies;
}

void Receive(Core& core, MemberId from, uint64_t term, MessageBody body) {
  core.Step({from, kA, Term(term), std::move(body)});
}

VoteRequest Vote(uint64_t term, EntryId last) {
  return {.campaign_term = Term(term), .last = last};
}

TEST(Section3_3_Terms, AHigherTermMakesAnyoneAFollower) {
  auto core = MemberA(3);
  Receive(*core, kB, 7, HeartbeatReply{});
  EXPECT_EQ(core->term(), Term(7));
  EXPECT_EQ(core->Status().vote, MemberId(0));
}

TEST(Section3_3_Terms, AStaleLeaderIsToldTheTerm) {
  auto core = MemberA(3);
  Receive(*core, kB, 2, AppendRequest{});
  const auto messages = Messages(*core);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].term, Term(3));
  EXPECT_TRUE(std::holds_alternative<StaleTerm>(messages[0].body));
  EXPECT_EQ(core->leader(), MemberId(0));
}

TEST(Section3_4_Election, AFollowerStaysOneWhileItHearsFromALeader) {
  auto core = MemberA(1);
  for (int i = 0; i < 100; ++i) {
    Receive(*core, kB, 1, Heartbeat{});
    for (int tick = 0; tick < 9; ++tick) core->Tick();
    EXPECT_EQ(core->Status().role, RoleKind::kFollower);
  }
}

TEST(Section3_4_Election, TimeoutsAreSpreadOverHalfATimeoutMore) {
  std::set<int> timeouts;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    RestoredState restored;
    restored.configuration.voters = {kA, kB};
    Core core({.id = kA, .random_seed = seed}, std::move(restored));
    int ticks = 0;
    while (core.Status().role == RoleKind::kFollower) {
      core.Tick();
      ++ticks;
    }
    timeouts.insert(ticks);
  }
  EXPECT_EQ(*timeouts.begin(), 10);
  EXPECT_EQ(*timeouts.rbegin(), 14);
  EXPECT_EQ(timeouts.size(), 5u);
}

TEST(Section3_4_Election, OneVoteATermFirstComeFirstServed) {
  auto core = MemberA(1);
  Receive(*core, kB, 2, Vote(2, {}));
  Receive(*core, kC, 2, Vote(2, {}));
  Receive(*core, kB, 2, Vote(2, {}));  // The answer was lost: the same again.
  const auto replies = Only<VoteReply>(Messages(*core));
  ASSERT_EQ(replies.size(), 3u);
  EXPECT_TRUE(replies[0].is_granted);
  EXPECT_FALSE(replies[1].is_granted);
  EXPECT_TRUE(replies[2].is_granted);
}

TEST(Section3_4_Election, AVoteIsRememberedThroughARestart) {
  auto core = MemberA(2, {}, kB);
  Receive(*core, kC, 2, Vote(2, {}));
  EXPECT_FALSE(Only<VoteReply>(Messages(*core)).at(0).is_granted);
}

TEST(Section3_4_Election, AVoteLeavesOnlyWhenItIsDurable) {
  auto core = MemberA(1);
  Receive(*core, kB, 2, Vote(2, {}));
  const Ready ready = core->TakeReady();
  EXPECT_EQ(ready.hard_state, (HardState{Term(2), kB, Index(0)}));
  EXPECT_TRUE(ready.messages_now.empty());
  EXPECT_EQ(Only<VoteReply>(ready.messages_after_append).size(), 1u);
}

TEST(Section3_5_Replication, AnAppendIsRefusedWithoutItsPredecessor) {
  auto core = MemberA(2, {1, 1, 2});
  Receive(*core, kB, 3, AppendRequest{.previous = {Term(3), Index(3)}});
  Receive(*core, kB, 3, AppendRequest{.previous = {Term(2), Index(9)}});
  const auto rejected = Only<AppendRejected>(Messages(*core));
  ASSERT_EQ(rejected.size(), 2u);
  EXPECT_EQ(rejected[0].hint, (EntryId{Term(2), Index(3)}));
  EXPECT_EQ(rejected[1].hint, (EntryId{Term(2), Index(3)}));
}

TEST(Section3_5_Replication, ConflictingEntriesAreReplaced) {
  auto core = MemberA(2, {1, 1, 2});
  Receive(*core, kB, 3, AppendRequest{.previous = {Term(1), Index(1)}, .entries = {At(3, 2)}});
  EXPECT_EQ(core->last(), (EntryId{Term(3), Index(2)}));
  EXPECT_EQ(Only<AppendAccepted>(Messages(*core, true)).at(0).match, Index(2));
}

TEST(Section3_5_Replication, AnOldAppendShortensNothing) {
  auto core = MemberA(2, {1, 1, 2});
  Receive(*core, kB, 2, AppendRequest{.previous = {Term(1), Index(1)}, .entries = {At(1, 2)}});
  EXPECT_EQ(core->last(), (EntryId{Term(2), Index(3)}));
}

TEST(Section3_5_Replication, CommitNeverPassesWhatTheMessageHasShown) {
  auto core = MemberA(2, {1, 1, 2});
  Receive(
      *core, kB, 2,
      AppendRequest{.previous = {Term(1), Index(1)}, .commit = Index(3), .entries = {At(1, 2)}});
  EXPECT_EQ(core->commit(), Index(2));  // Entry 3 may yet conflict.
}

// Figure 3.5: a follower may lack entries, have extra ones, or both; the leader makes it its own.
TEST(Section3_5_Replication, TheLeaderMakesAnyFollowerItsOwn) {
  const std::vector<uint64_t> leader_terms = {1, 1, 1, 4, 4, 5, 5, 6, 6, 6};
  for (const std::vector<uint64_t>& terms : {
           std::vector<uint64_t>{1, 1, 1, 4, 4, 5, 5, 6, 6},
           {1, 1, 1, 4},
           {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6},
           {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7},
           {1, 1, 1, 4, 4, 4, 4},
           {1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3},
       }) {
    auto leader = MemberA(8, leader_terms, kA);
    while (leader->Status().role == RoleKind::kFollower) leader->Tick();
    Messages(*leader);
    Receive(*leader, kC, 8, VoteReply{true, Term(9), true, {}});
    Messages(*leader);
    Receive(*leader, kC, 9, VoteReply{false, Term(9), true, {}});
    ASSERT_TRUE(leader->is_leader());
    auto follower = MemberA(8, terms);
    int messages = 0;
    for (bool is_busy = true; is_busy && messages < 100;) {
      is_busy = false;
      for (Message& message : Messages(*leader)) {
        if (message.to != kB || std::holds_alternative<Heartbeat>(message.body)) continue;
        message.from = kB;  // Both cores are called A; each sees the other as B.
        message.to = kA;
        follower->Step(message);
        ++messages;
      }
      for (Message& message : Messages(*follower)) {
        leader->Step({kB, kA, message.term, message.body});
        is_busy = true;
      }
    }
    EXPECT_EQ(follower->last(), leader->last());
    EXPECT_EQ(follower->commit(), leader->commit());
    const auto ours = leader->Entries(Index(1), leader->last().index + 1, 1 << 20);
    const auto theirs = follower->Entries(Index(1), follower->last().index + 1, 1 << 20);
    ASSERT_EQ(ours.size(), theirs.size());
    for (size_t i = 0; i < ours.size(); ++i) EXPECT_EQ(ours[i].term, theirs[i].term);
    EXPECT_LT(messages, 12);  // A term a step, not an entry a step.
  }
}

TEST(Section3_6_1_Restriction, OnlyALogThatIsUpToDateIsElected) {
  struct Case {
    const char* name;
    EntryId last;
    bool is_granted;
  };
  for (const Case& c : {
           Case{"same", {Term(2), Index(3)}, true},
           Case{"longer", {Term(2), Index(4)}, true},
           Case{"shorter", {Term(2), Index(2)}, false},
           Case{"later term though shorter", {Term(3), Index(1)}, true},
           Case{"earlier term though longer", {Term(1), Index(9)}, false},
       }) {
    SCOPED_TRACE(c.name);
    auto core = MemberA(3, {1, 2, 2});
    Receive(*core, kB, 4, Vote(4, c.last));
    EXPECT_EQ(Only<VoteReply>(Messages(*core)).at(0).is_granted, c.is_granted);
  }
}

// Figure 3.7: an entry of an earlier term is committed only along with one of the current term.
TEST(Section3_6_2_Commit, NeverByCountingEntriesOfEarlierTerms) {
  auto core = MemberA(2, {1, 2}, kA);
  while (core->Status().role == RoleKind::kFollower) core->Tick();
  Messages(*core);
  Receive(*core, kC, 2, VoteReply{true, Term(3), true, {}});
  Messages(*core);
  Receive(*core, kC, 3, VoteReply{false, Term(3), true, {}});
  ASSERT_TRUE(core->is_leader());
  Messages(*core);
  Receive(*core, kC, 3, AppendAccepted{Index(2)});  // Two of three hold entry 2, of term 2.
  EXPECT_EQ(core->commit(), Index(0));
  Receive(*core, kC, 3, AppendAccepted{Index(3)});
  EXPECT_EQ(core->commit(), Index(3));
}

TEST(Section3_10_Transfer, TheTargetCampaignsAtOnceAndIsNotIgnored) {
  TestCluster cluster({}, {.voters = {kA, kB, kC}});
  cluster.Elect(kA);
  cluster.member(kA).Input([](Core& core) { EXPECT_TRUE(core.TransferLeadership(kB)); });
  cluster.Stabilize();
  EXPECT_EQ(cluster.leader(), kB);
  EXPECT_EQ(cluster.violation(), "");
}

TEST(Section4_2_3_Disruption, ACandidateDoesNotRaiseTheTermOfThoseWhoHearALeader) {
  auto core = MemberA(1);
  Receive(*core, kB, 1, Heartbeat{});
  Receive(*core, kC, 9, Vote(9, {Term(8), Index(100)}));
  EXPECT_EQ(core->term(), Term(1));
  EXPECT_EQ(core->leader(), kB);
}

TEST(Section4_3_Joint, BothMajoritiesMustAgree) {
  TestCluster cluster({}, {.voters = {kA, kB, kC}, .outgoing = {kA, MemberId(4), MemberId(5)}});
  cluster.Elect(kA);
  ASSERT_EQ(cluster.leader(), kA);
  for (const MemberId id : {MemberId(4), MemberId(5)}) {
    cluster.Block(kA, id);
    cluster.Block(id, kA);
  }
  const Index before = cluster.member(kA).core().commit();
  cluster.member(kA).Input([](Core& core) { core.Propose({Command("x")}); });
  cluster.Stabilize();
  EXPECT_EQ(cluster.member(kA).core().commit(), before);
  cluster.Heal();
  cluster.member(kA).Input([](Core& core) { core.Tick(); });
  cluster.Stabilize();
  EXPECT_EQ(cluster.member(kA).core().commit(), before + 1);
}

TEST(Section6_4_Reads, NeedAnEntryOfTheTermAndAQuorum) {
  TestCluster cluster({}, {.voters = {kA, kB, kC}});
  cluster.Elect(kA);
  cluster.Read(kA, 1);
  cluster.member(kA).Drain();
  EXPECT_TRUE(cluster.reads_answered.empty());
  cluster.Stabilize();
  EXPECT_EQ(cluster.reads_answered.count(1), 1u);
  EXPECT_EQ(cluster.violation(), "");
}

TEST(Section9_6_PreVote, AnIsolatedMemberDoesNotRaiseItsTerm) {
  TestCluster cluster({}, {.voters = {kA, kB, kC}});
  cluster.Elect(kA);
  const Term term = cluster.member(kC).core().term();
  for (const MemberId id : {kA, kB}) {
    cluster.Block(kC, id);
    cluster.Block(id, kC);
  }
  for (int i = 0; i < 1000; ++i) {
    cluster.member(kC).Input([](Core& core) { core.Tick(); });
    cluster.member(kC).Drain();
  }
  EXPECT_EQ(cluster.member(kC).core().term(), term);
}

TEST(Section10_2_1_ParallelWrite, TheLeaderSendsBeforeItsDiskHasTheEntry) {
  TestCluster cluster({}, {.voters = {kA, kB, kC}});
  cluster.Elect(kA);
  cluster.member(kA).Input([](Core& core) { core.Propose({Command("x")}); });
  cluster.member(kA).Drain();
  EXPECT_EQ(cluster.network().size(), 2u);
  EXPECT_EQ(cluster.member(kA).pending_writes(), 1u);
}

}  // namespace
}  // namespace cairn::raft
