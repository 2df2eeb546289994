// Changes of the configuration in the node core: one after the other, never in a joint phase.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/membership_change.h"
#include "server/membership_driver.h"
#include "server/node_core.h"

namespace cairn::server {
namespace {

NodeCore::QueuedProposal Change(WaiterId id) {
  return {
      id,
      {raft::EntryKind::kConfiguration, std::make_shared<const std::string>(std::to_string(id))}};
}

// A cluster of one whose disk is perfect and whose applier does what it is told.
class NodeCoreChangesTest : public testing::Test {
 protected:
  NodeCoreChangesTest() : core_(Options(), OneVoter()) { Do(); }

  static NodeCoreOptions Options() {
    NodeCoreOptions options;
    options.raft.id = MemberId(1);
    options.change_wait_ticks = 20;
    return options;
  }
  static raft::RestoredState OneVoter() {
    raft::RestoredState restored;
    restored.hard_state = {.term = Term(1), .commit = Index(1)};
    restored.configuration.voters = {MemberId(1)};
    restored.applied = restored.last = {Term(1), Index(1)};
    return restored;
  }

  // Does all work but applying, which is only noted.
  void Do() {
    for (bool is_busy = true; is_busy;) {
      Work work = core_.TakeWork();
      is_busy = !work.log.empty();
      for (const LogWrite& write : work.log) core_.LogDurable(write.number);
      for (const ApplyRange& range : work.apply) {
        for (const raft::Entry& entry : range.entries) {
          if (entry.kind == raft::EntryKind::kConfiguration) changes_.push_back(*entry.data);
        }
        committed_ = range.range.limit - 1;
      }
      for (const RefusedProposal& refused : work.refused) refused_.push_back(refused);
    }
  }
  void ApplyAll() {
    core_.Applied(committed_);
    Do();
  }

  NodeCore core_;
  Index committed_;
  std::vector<std::string> changes_;  // Committed, in order.
  std::vector<RefusedProposal> refused_;
};

TEST_F(NodeCoreChangesTest, AChangeWaitsUntilTheOneBeforeIsApplied) {
  ApplyAll();
  core_.Propose({Change(1), Change(2), Change(3)});
  Do();
  EXPECT_EQ(changes_, (std::vector<std::string>{"1"}));
  // Who waits wants to hear of it at once.
  EXPECT_TRUE(core_.WaitsForApplied());
  ApplyAll();
  EXPECT_EQ(changes_, (std::vector<std::string>{"1", "2"}));
  ApplyAll();
  EXPECT_EQ(changes_, (std::vector<std::string>{"1", "2", "3"}));
  ApplyAll();
  EXPECT_FALSE(core_.WaitsForApplied());
  EXPECT_TRUE(refused_.empty());
}

TEST_F(NodeCoreChangesTest, CommandsDoNotWaitForChanges) {
  ApplyAll();
  core_.Propose({Change(1),
                 {2, {raft::EntryKind::kCommand, std::make_shared<const std::string>("c")}},
                 Change(3)});
  Do();
  // The command and the first change.
  EXPECT_EQ(core_.raft().last().index, core_.raft().applied() + 2);
  EXPECT_TRUE(refused_.empty());
}

TEST_F(NodeCoreChangesTest, AChangeThatNobodyWaitsForAnyMoreIsDropped) {
  ApplyAll();
  core_.Propose({Change(1), Change(2)});
  Do();
  for (int i = 0; i < 20; ++i) core_.Tick();
  Do();
  ASSERT_EQ(refused_.size(), 1U);
  EXPECT_EQ(refused_[0].id, 2U);
  EXPECT_EQ(refused_[0].reason, RefusalReason::kNoLeader);
}

TEST_F(NodeCoreChangesTest, SoManyChangesWaitAndNoMore) {
  std::vector<NodeCore::QueuedProposal> changes;
  for (WaiterId id = 1; id <= NodeCore::kWaitingChangesMax + 1; ++id) changes.push_back(Change(id));
  core_.Propose(std::move(changes));
  Do();
  ASSERT_EQ(refused_.size(), 1U);
  EXPECT_EQ(refused_[0].id, NodeCore::kWaitingChangesMax + 1);
  EXPECT_EQ(refused_[0].reason, RefusalReason::kTooManyRequests);
}

// Three votes come: the driver ends the joint phase, and what waited meanwhile goes on.
TEST_F(NodeCoreChangesTest, AJointPhaseIsEndedBeforeTheNextChange) {
  ApplyAll();
  core_.Propose({Change(1), Change(2)});
  Do();
  // Joint as soon as it is applied, but with the same voter in both halves, so that it decides
  // alone.
  core_.ConfigurationApplied({{MemberId(1)}, {MemberId(1)}, {}, {}}, committed_);
  ApplyAll();
  EXPECT_EQ(changes_, (std::vector<std::string>{"1"}));

  MembershipDriver driver(core_, false);
  driver.Tick({});
  Do();
  ASSERT_EQ(changes_.size(), 2U);
  EXPECT_TRUE(DecodeChange(changes_[1])->leave_joint);
  // Not twice.
  driver.Tick({});
  Do();
  EXPECT_EQ(changes_.size(), 2U);

  core_.ConfigurationApplied({{MemberId(1)}, {}, {}, {}}, committed_);
  ApplyAll();
  ASSERT_EQ(changes_.size(), 3U);
  EXPECT_EQ(changes_[2], "2");
}

// A learner that acknowledges everything, with and without the flag.
class PromotionTest : public NodeCoreChangesTest {
 protected:
  void AddLearner() {
    ApplyAll();
    core_.Propose({Change(1)});
    Do();
    core_.ConfigurationApplied({{MemberId(1)}, {}, {MemberId(2)}, {}}, committed_);
    ApplyAll();
  }
  void Acknowledge(Index match) {
    core_.Step({.from = MemberId(2),
                .to = MemberId(1),
                .term = core_.raft().term(),
                .body = raft::AppendAccepted{.match = match}});
    Do();
  }

  const Members members_ = {{.id = MemberId(1), .name = "a"},
                            {.id = MemberId(2), .name = "b", .is_learner = true}};
};

TEST_F(PromotionTest, ALearnerThatHasCaughtUpIsPromotedIfTheFlagSaysSo) {
  AddLearner();
  MembershipDriver lazy(core_, false);
  MembershipDriver driver(core_, true);
  const size_t before = changes_.size();
  driver.Tick(members_);
  Acknowledge(Index(1));
  driver.Tick(members_);
  Do();
  EXPECT_EQ(changes_.size(), before);  // It lags.
  Acknowledge(core_.raft().commit());
  lazy.Tick(members_);
  lazy.Tick(members_);
  Do();
  EXPECT_EQ(changes_.size(), before);  // Not asked for.
  driver.Tick(members_);
  Do();
  ASSERT_EQ(changes_.size(), before + 1);
  const absl::StatusOr<MembershipChange> change = DecodeChange(changes_.back());
  ASSERT_TRUE(change.ok());
  EXPECT_EQ(change->steps[0].kind, ChangeKind::kPromoteLearner);
  EXPECT_EQ(change->steps[0].member.id, MemberId(2));
  EXPECT_EQ(change->proposer, ChangeProposer());
}

}  // namespace
}  // namespace cairn::server
