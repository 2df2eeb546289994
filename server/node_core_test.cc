#include "server/node_core.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace cairn::server {
namespace {

raft::RestoredState OneVoter(Index commit, Index applied) {
  raft::RestoredState restored;
  restored.hard_state = {.term = Term(1), .commit = commit};
  restored.configuration.voters = {MemberId(1)};
  restored.applied = {Term(applied == Index(0) ? 0 : 1), applied};
  restored.last = {Term(1), Index(1)};
  return restored;
}

NodeCore::QueuedProposal Proposal(WaiterId id, std::string data) {
  return {id, {raft::EntryKind::kCommand, std::make_shared<const std::string>(std::move(data))}};
}

// A member of one with a perfect disk and an instant state machine.
class Driver {
 public:
  explicit Driver(raft::RestoredState restored, NodeCoreOptions options = Options())
      : core_(options, std::move(restored)) {}

  static NodeCoreOptions Options() {
    NodeCoreOptions options;
    options.raft.id = MemberId(1);
    options.start_nonce = 7;
    options.proposal_wait_ticks = 20;
    return options;
  }

  NodeCore& core() { return core_; }
  std::vector<WaiterId>& reads() { return reads_; }
  std::vector<std::string>& applied() { return applied_; }
  std::vector<RefusedProposal>& refused() { return refused_; }

  // Takes the work and does it: log writes too if `is_disk_working`.
  void Do(bool is_disk_working = true) {
    for (bool is_busy = true; is_busy;) {
      Work work = core_.TakeWork();
      is_busy = !work.log.empty() || !work.apply.empty();
      EXPECT_TRUE(work.messages.empty());
      reads_.insert(reads_.end(), work.reads_ready.begin(), work.reads_ready.end());
      refused_.insert(refused_.end(), work.refused.begin(), work.refused.end());
      for (const LogWrite& write : work.log) {
        if (is_disk_working) core_.LogDurable(write.number);
        unsynced_ = write.number;
      }
      for (const ApplyRange& apply : work.apply) {
        for (const raft::Entry& entry : apply.entries) {
          if (entry.kind == raft::EntryKind::kCommand) applied_.push_back(*entry.data);
        }
        if (is_applying_) core_.Applied(apply.range.limit - 1);
      }
    }
  }
  void Sync() {
    core_.LogDurable(unsynced_);
    Do();
  }
  void set_applying(bool is_applying) { is_applying_ = is_applying; }

 private:
  NodeCore core_;
  bool is_applying_ = true;
  uint64_t unsynced_ = 0;
  std::vector<WaiterId> reads_;
  std::vector<std::string> applied_;
  std::vector<RefusedProposal> refused_;
};

TEST(NodeCoreTest, ASoleVoterLeadsWithoutATick) {
  Driver driver(OneVoter(Index(1), Index(1)));
  driver.Do();
  EXPECT_TRUE(driver.core().raft().is_leader());
  EXPECT_TRUE(driver.core().IsSoleVoterReady());
  EXPECT_EQ(driver.core().raft().term(), Term(2));
}

TEST(NodeCoreTest, NotReadyBeforeTheEntryOfItsTermIsApplied) {
  Driver driver(OneVoter(Index(1), Index(1)));
  driver.set_applying(false);
  driver.Do();
  EXPECT_TRUE(driver.core().raft().is_leader());
  EXPECT_FALSE(driver.core().IsSoleVoterReady());
  EXPECT_TRUE(driver.core().WaitsForApplied());
  driver.core().Applied(driver.core().raft().commit());
  driver.Do();
  EXPECT_TRUE(driver.core().IsSoleVoterReady());
  EXPECT_FALSE(driver.core().WaitsForApplied());
}

TEST(NodeCoreTest, ReplaysTheStoredCommitBeforeItCampaigns) {
  Driver driver(OneVoter(Index(1), Index(0)));
  driver.set_applying(false);
  driver.Do();
  EXPECT_FALSE(driver.core().raft().is_leader());
  driver.set_applying(true);
  driver.core().Applied(Index(1));
  driver.Do();
  EXPECT_TRUE(driver.core().IsSoleVoterReady());
}

TEST(NodeCoreTest, AppliesOnlyWhatIsDurable) {
  Driver driver(OneVoter(Index(1), Index(1)));
  driver.Do();
  driver.core().Propose({Proposal(1, "a"), Proposal(2, "b")});
  driver.Do(/*is_disk_working=*/false);
  EXPECT_TRUE(driver.applied().empty());
  driver.Sync();
  EXPECT_EQ(driver.applied(), (std::vector<std::string>{"a", "b"}));
}

TEST(NodeCoreTest, ProposalsWaitForALeaderInOrder) {
  Driver driver(OneVoter(Index(1), Index(0)));
  driver.set_applying(false);
  driver.Do();
  driver.core().Propose({Proposal(1, "a")});
  driver.core().Propose({Proposal(2, "b")});
  driver.Do();
  EXPECT_TRUE(driver.applied().empty());
  driver.set_applying(true);
  driver.core().Applied(Index(1));
  driver.Do();
  EXPECT_EQ(driver.applied(), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(driver.refused().empty());
}

TEST(NodeCoreTest, AProposalThatNobodyWaitsForAnyMoreIsDropped) {
  Driver driver(OneVoter(Index(1), Index(0)));
  driver.set_applying(false);
  driver.Do();
  driver.core().Propose({Proposal(5, "a")});
  for (int i = 0; i < 20; ++i) {
    driver.core().Tick();
    driver.Do();
  }
  ASSERT_EQ(driver.refused().size(), 1u);
  EXPECT_EQ(driver.refused()[0].id, 5u);
  EXPECT_EQ(driver.refused()[0].reason, RefusalReason::kNoLeader);
}

TEST(NodeCoreTest, WaitingProposalsAreBoundedByBytes) {
  NodeCoreOptions options = Driver::Options();
  options.waiting_bytes_max = 10;
  Driver driver(OneVoter(Index(1), Index(0)), options);
  driver.set_applying(false);
  driver.Do();
  driver.core().Propose({Proposal(1, "0123456789"), Proposal(2, "x")});
  driver.Do();
  ASSERT_EQ(driver.refused().size(), 1u);
  EXPECT_EQ(driver.refused()[0].id, 2u);
  EXPECT_EQ(driver.refused()[0].reason, RefusalReason::kTooManyRequests);
}

TEST(NodeCoreTest, AReadWaitsUntilItsIndexIsApplied) {
  Driver driver(OneVoter(Index(1), Index(1)));
  driver.Do();
  driver.set_applying(false);
  driver.core().Propose({Proposal(1, "a")});
  driver.Do();
  driver.core().Read(11);
  driver.core().Read(12);
  driver.Do();
  EXPECT_TRUE(driver.reads().empty());
  EXPECT_TRUE(driver.core().WaitsForApplied());
  driver.core().Applied(driver.core().raft().commit());
  driver.Do();
  EXPECT_EQ(driver.reads(), (std::vector<WaiterId>{11, 12}));
}

TEST(NodeCoreTest, AReadBeforeThereIsALeaderIsAskedAgain) {
  Driver driver(OneVoter(Index(1), Index(0)));
  driver.set_applying(false);
  driver.Do();
  driver.core().Read(3);
  driver.Do();
  EXPECT_TRUE(driver.reads().empty());
  driver.set_applying(true);
  driver.core().Applied(Index(1));
  for (int i = 0; i < 6; ++i) {
    driver.Do();
    driver.core().Tick();
  }
  driver.Do();
  EXPECT_EQ(driver.reads(), std::vector<WaiterId>{3});
}

}  // namespace
}  // namespace cairn::server
