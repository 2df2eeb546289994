// Leaving the leadership: what transfer promises beyond its story
// (testdata/transfer.txt), and the leader whose disk has stopped answering.
#include <gtest/gtest.h>

#include <memory>
#include <string>

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

void Propose(TestCluster& cluster, MemberId id) {
  cluster.member(id).Input([](Core& core) { core.Propose({Command("x")}); });
}

void Tick(TestCluster& cluster, MemberId id) {
  cluster.member(id).Input([](Core& core) { core.Tick(); });
  cluster.Stabilize();
}

class TransferTest : public testing::Test {
 protected:
  TransferTest() : cluster_({}, {.voters = {kA, kB, kC}}) { cluster_.Elect(kA); }
  ~TransferTest() override { EXPECT_EQ(cluster_.violation(), ""); }

  Core& core(MemberId id) { return cluster_.member(id).core(); }

  TestCluster cluster_;
};

TEST_F(TransferTest, ALostRequestIsRepeatedWithTheNextHeartbeat) {
  cluster_.member(kA).Input([](Core& core) { EXPECT_TRUE(core.TransferLeadership(kB)); });
  cluster_.member(kA).Drain();
  cluster_.network().clear();
  EXPECT_TRUE(core(kA).is_leader());
  Tick(cluster_, kA);
  EXPECT_TRUE(core(kB).is_leader());
  EXPECT_EQ(core(kA).leader(), kB);
}

TEST_F(TransferTest, GoesToNobodyWhoLeavesWithTheJointPhase) {
  TestCluster joint({}, {.voters = {kA, kB}, .outgoing = {kA, kC}});
  joint.Elect(kA);
  joint.member(kA).Input([](Core& core) {
    EXPECT_FALSE(core.TransferLeadership(kC));
    EXPECT_TRUE(core.TransferLeadership(kB));
  });
}

TEST_F(TransferTest, TheBestSuccessorHoldsMostAndAnswers) {
  EXPECT_EQ(core(kA).BestSuccessor(), kB);  // Both hold everything.
  EXPECT_EQ(core(kB).BestSuccessor(), MemberId(0));
  cluster_.member(kB).set_disk_stalled(true);
  Propose(cluster_, kA);
  cluster_.Stabilize();
  EXPECT_EQ(core(kA).BestSuccessor(), kC);
  cluster_.Block(kC, kA);
  for (int i = 0; i < 10; ++i) Tick(cluster_, kA);
  EXPECT_EQ(core(kA).BestSuccessor(), kB);  // Slow, but there.
}

// Entries are committed without the leader's disk, as a quorum holds them; it
// leaves all the same.
TEST_F(TransferTest, ALeaderWithAStalledDiskLeavesAndItsSuccessorNeedsNoTimeout) {
  cluster_.member(kA).set_disk_stalled(true);
  Propose(cluster_, kA);
  cluster_.Stabilize();
  EXPECT_EQ(core(kA).commit(), Index(2));
  for (int i = 0; i < 19; ++i) Tick(cluster_, kA);
  EXPECT_TRUE(core(kA).is_leader());
  Tick(cluster_, kA);
  EXPECT_FALSE(core(kA).is_leader());
  EXPECT_FALSE(core(kA).IsLeadershipConfirmed());
  EXPECT_TRUE(core(kB).is_leader());
  EXPECT_EQ(core(kC).leader(), kB);
  // The others go on. It promises nothing that its disk does not hold, and does
  // not campaign.
  Propose(cluster_, kB);
  cluster_.Stabilize();
  EXPECT_EQ(core(kC).commit(), Index(4));
  cluster_.Block(kB, kA);
  for (int i = 0; i < 100; ++i) Tick(cluster_, kA);
  EXPECT_EQ(core(kA).Status().role, RoleKind::kFollower);
  EXPECT_TRUE(core(kB).is_leader());
  // When the disk is back, so is the member.
  cluster_.Heal();
  cluster_.member(kA).set_disk_stalled(false);
  cluster_.Stabilize();
  Tick(cluster_, kB);
  EXPECT_EQ(core(kA).leader(), kB);
  EXPECT_EQ(core(kA).commit(), Index(4));
}

TEST_F(TransferTest, ADiskThatIsOnlySlowKeepsTheLeader) {
  for (int round = 0; round < 5; ++round) {
    cluster_.member(kA).set_disk_stalled(true);
    for (int i = 0; i < 15; ++i) {
      Propose(cluster_, kA);
      Tick(cluster_, kA);
    }
    cluster_.member(kA).set_disk_stalled(false);
    cluster_.member(kA).CompleteWrites(1);
    Tick(cluster_, kA);
  }
  EXPECT_TRUE(core(kA).is_leader());
}

TEST(Transfer, ASoleVoterHasNobodyToLeaveTo) {
  TestCluster cluster({}, {.voters = {kA}, .learners = {kB}});
  cluster.Elect(kA);
  cluster.member(kA).set_disk_stalled(true);
  Propose(cluster, kA);
  for (int i = 0; i < 100; ++i) Tick(cluster, kA);
  EXPECT_TRUE(cluster.member(kA).core().is_leader());
  EXPECT_EQ(cluster.member(kA).core().BestSuccessor(), MemberId(0));
}

}  // namespace
}  // namespace cairn::raft
