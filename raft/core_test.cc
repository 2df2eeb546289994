// The core's face: what a shell with one voter sees, and what Propose answers.
#include "raft/core.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace cairn::raft {
namespace {

constexpr MemberId kSelf(1);

Proposal Command(std::string text) {
  return {EntryKind::kCommand, std::make_shared<const std::string>(std::move(text))};
}

RestoredState Empty(std::vector<MemberId> voters) {
  RestoredState restored;
  restored.configuration.voters = std::move(voters);
  return restored;
}

// Takes the one Ready and makes it durable.
Ready Turn(Core& core) {
  Ready ready = core.TakeReady();
  if (ready.needs_log()) core.LogDurable(ready.number);
  return ready;
}

TEST(CoreWithOneVoter, LeadsFromTheFirstReadyAndCommitsWhenDurable) {
  Core core({.id = kSelf}, Empty({kSelf}));
  ASSERT_TRUE(core.HasReady());
  const Ready first = core.TakeReady();
  EXPECT_EQ(first.number, 1u);
  EXPECT_EQ(first.hard_state, (HardState{Term(1), kSelf, Index(0)}));
  ASSERT_EQ(first.entries.size(), 1u);
  EXPECT_EQ(first.soft_state->role, RoleKind::kLeader);
  EXPECT_TRUE(first.committed.empty());
  EXPECT_FALSE(core.HasReady());

  core.LogDurable(1);
  const Ready second = core.TakeReady();
  EXPECT_FALSE(second.needs_log());
  EXPECT_EQ(second.committed, (IndexRange{Index(1), Index(2)}));
  core.Applied(Index(1));
  EXPECT_FALSE(core.HasReady());
  EXPECT_TRUE(core.IsLeadershipConfirmed());
}

TEST(CoreWithOneVoter, SharesOneReadyAmongManyProposals) {
  Core core({.id = kSelf}, Empty({kSelf}));
  Turn(core);
  Turn(core);
  for (int i = 0; i < 100; ++i) {
    const ProposeResult result = core.Propose({Command("a"), Command("b")});
    EXPECT_EQ(result.outcome, ProposeOutcome::kAccepted);
    EXPECT_EQ(result.first_index, Index(2 + 2 * static_cast<uint64_t>(i)));
    EXPECT_EQ(result.term, Term(1));
  }
  const Ready ready = Turn(core);
  EXPECT_EQ(ready.entries.size(), 200u);
  EXPECT_TRUE(ready.messages_now.empty());
  EXPECT_EQ(Turn(core).committed, (IndexRange{Index(2), Index(202)}));
  // The tail holds what is not applied, and nothing else.
  EXPECT_EQ(core.Entries(Index(2), Index(202), 1 << 20).size(), 200u);
  core.Applied(Index(150));
  EXPECT_TRUE(core.Entries(Index(150), Index(202), 1 << 20).empty());
  EXPECT_EQ(core.Entries(Index(151), Index(202), 10).size(), 10u);
  core.Applied(Index(201));
  EXPECT_EQ(core.Status().tail_bytes, 0u);
}

TEST(CoreWithOneVoter, ReadsWaitForTheFirstCommitAndThenForNothing) {
  Core core({.id = kSelf}, Empty({kSelf}));
  core.ReadIndex(7);
  EXPECT_TRUE(Turn(core).read_states.empty());
  const Ready committed = core.TakeReady();
  ASSERT_EQ(committed.read_states.size(), 1u);
  EXPECT_EQ(committed.read_states[0].context, 7u);
  EXPECT_EQ(committed.read_states[0].index, Index(1));
  core.ReadIndex(8);
  ASSERT_TRUE(core.HasReady());
  EXPECT_EQ(core.TakeReady().read_states.size(), 1u);
}

// The applier of a sole voter that restarts learns the configuration only from the replay.
TEST(CoreWithOneVoter, CampaignsWhenTheReplayIsDone) {
  RestoredState restored;
  restored.hard_state = {Term(1), MemberId(0), Index(2)};
  restored.last = {Term(1), Index(2)};
  Core core({.id = kSelf}, std::move(restored));
  for (int i = 0; i < 100; ++i) core.Tick();
  EXPECT_FALSE(core.is_leader());
  EXPECT_EQ(core.TakeReady().committed, (IndexRange{Index(1), Index(3)}));
  core.ConfigurationApplied({.voters = {kSelf}}, Index(1));
  EXPECT_FALSE(core.is_leader());
  core.Applied(Index(2));
  EXPECT_TRUE(core.is_leader());
  EXPECT_EQ(core.term(), Term(2));
}

// Seed 6655 of the simulation: of two voters of a leaving half, one had restarted, knew that the
// change was committed but not the term of that entry, and had a log too long to vote for the
// other, who waited for ever to learn it.
TEST(Core, ProvesAfterARestartWhatItKnowsToBeCommitted) {
  RestoredState restored = Empty({kSelf, MemberId(2)});
  restored.hard_state = {Term(2), MemberId(0), Index(2)};
  restored.last = {Term(2), Index(3)};
  restored.entries = {{Term(2), Index(3), EntryKind::kEmpty, nullptr}};
  restored.before_entries = {Term(1), Index(2)};
  Core core({.id = kSelf}, std::move(restored));
  core.Step({MemberId(2), kSelf, Term(2),
             VoteRequest{.is_pre_vote = true,
                         .campaign_term = Term(3),
                         .last = {Term(1), Index(2)},
                         .committed = {}}});
  const Ready ready = core.TakeReady();
  ASSERT_EQ(ready.messages_now.size(), 1u);
  const auto& reply = std::get<VoteReply>(ready.messages_now[0].body);
  EXPECT_FALSE(reply.is_granted);
  EXPECT_EQ(reply.committed, (EntryId{Term(1), Index(2)}));
}

TEST(Core, ProposeSaysWhatHappened) {
  Core follower({.id = kSelf}, Empty({kSelf, MemberId(2)}));
  EXPECT_EQ(follower.Propose({Command("a")}).outcome, ProposeOutcome::kNoLeader);
  follower.Step({MemberId(2), kSelf, Term(1), Heartbeat{}});
  EXPECT_EQ(follower.Propose({Command("a")}, Forwarding::kForbidden).outcome,
            ProposeOutcome::kNotForwarded);
  EXPECT_EQ(follower.Propose({Command("a")}).outcome, ProposeOutcome::kForwarded);

  Core leader({.id = kSelf, .uncommitted_bytes_max = 1000}, Empty({kSelf}));
  Turn(leader);
  Turn(leader);
  leader.Applied(Index(1));
  // One that exceeds the bound passes alone; then nothing until it is committed.
  EXPECT_EQ(leader.Propose({Command(std::string(2000, 'x'))}).outcome, ProposeOutcome::kAccepted);
  EXPECT_EQ(leader.Propose({Command("a")}).outcome, ProposeOutcome::kTooManyUncommitted);
  Turn(leader);
  EXPECT_EQ(leader.Propose({{EntryKind::kConfiguration, Command("c").data}}).outcome,
            ProposeOutcome::kAccepted);
  EXPECT_EQ(leader.Propose({{EntryKind::kConfiguration, Command("c").data}}).outcome,
            ProposeOutcome::kConfigurationPending);
}

// What is proposed meanwhile waits for the next leader instead of going to one that takes nothing.
TEST(Core, ForgetsALeaderThatItsConfigurationRemoves) {
  const MemberId leader(2);
  RestoredState restored = Empty({kSelf, leader, MemberId(3)});
  Core core({.id = kSelf}, std::move(restored));
  core.Step({.from = leader, .to = kSelf, .term = Term(1), .body = Heartbeat{}});
  ASSERT_EQ(core.leader(), leader);
  core.ConfigurationApplied({{kSelf, leader}, {}, {}, {}}, Index(0));
  EXPECT_EQ(core.leader(), leader);
  core.ConfigurationApplied({{kSelf, MemberId(3)}, {}, {}, {}}, Index(0));
  EXPECT_EQ(core.leader(), MemberId(0));
  EXPECT_EQ(core.Propose({Command("a")}).outcome, ProposeOutcome::kNoLeader);
  // It leads yet.
  core.Step({.from = leader, .to = kSelf, .term = Term(1), .body = Heartbeat{}});
  EXPECT_EQ(core.leader(), leader);
}

TEST(Core, DropsWhatIsMalformedOrNotForIt) {
  Core core({.id = kSelf}, Empty({kSelf, MemberId(2), MemberId(3)}));
  const auto entry = [](uint64_t term, uint64_t index) {
    return Entry{Term(term), Index(index), EntryKind::kEmpty, nullptr};
  };
  core.Step({MemberId(2), MemberId(3), Term(5), Heartbeat{}});  // For another.
  core.Step({kSelf, kSelf, Term(5), Heartbeat{}});              // From itself.
  EXPECT_EQ(core.term(), Term(0));
  core.Step({MemberId(2), kSelf, Term(5), AppendRequest{.entries = {entry(5, 1), entry(5, 3)}}});
  core.Step({MemberId(2), kSelf, Term(5), AppendRequest{.entries = {entry(5, 1), entry(4, 2)}}});
  core.Step({MemberId(2), kSelf, Term(5), AppendRequest{.entries = {entry(6, 1)}}});
  EXPECT_EQ(core.last(), EntryId{});
  core.Step({MemberId(9), kSelf, Term(5), AppendAccepted{Index(100)}});
  core.Step({MemberId(2), kSelf, Term(5), HeartbeatReply{99}});
  core.Step({MemberId(2), kSelf, Term(5), VoteReply{.campaign_term = Term(5), .is_granted = true}});
  EXPECT_FALSE(core.is_leader());
}

TEST(CoreDeathTest, StopsWhenTheDiskContradictsItself) {
  RestoredState restored;
  restored.hard_state.commit = Index(3);  // Beyond the end of the log.
  EXPECT_DEATH(Core({.id = kSelf}, restored), "commit_");
  Core core({.id = kSelf}, Empty({kSelf}));
  EXPECT_DEATH(core.LogDurable(9), "ready_number_");
}

// What a peer says of terms is not believed without bounds.
TEST(CoreTerms, OneMessageCannotUseUpAllTerms) {
  for (const uint64_t term : {UINT64_MAX, UINT64_MAX - 1, kTermOrIndexMax, uint64_t{1} << 41}) {
    Core core({.id = kSelf}, Empty({kSelf, MemberId(2), MemberId(3)}));
    core.Step({.from = MemberId(2), .to = kSelf, .term = Term(term), .body = StaleTerm{}});
    core.Step({.from = MemberId(2),
               .to = kSelf,
               .term = Term(term),
               .body = VoteRequest{.campaign_term = Term(term)}});
    EXPECT_EQ(core.term(), Term(0)) << term;
    core.Step({.from = MemberId(2), .to = kSelf, .term = Term(9), .body = StaleTerm{}});
    EXPECT_EQ(core.term(), Term(9));
  }
}

TEST(CoreTerms, NobodyCampaignsBeyondTheLastTerm) {
  for (const std::vector<MemberId>& voters :
       {std::vector{kSelf}, std::vector{kSelf, MemberId(2), MemberId(3)}}) {
    RestoredState restored = Empty(voters);
    restored.hard_state.term = Term(kTermOrIndexMax);
    Core core({.id = kSelf}, std::move(restored));
    for (int i = 0; i < 100; ++i) core.Tick();
    core.Step({.from = MemberId(2), .to = kSelf, .term = core.term(), .body = TimeoutNow{}});
    EXPECT_EQ(core.term(), Term(kTermOrIndexMax));
    EXPECT_EQ(core.Status().role, RoleKind::kFollower);
  }
}

}  // namespace
}  // namespace cairn::raft
