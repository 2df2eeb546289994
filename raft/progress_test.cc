#include "raft/progress.h"

#include <gtest/gtest.h>

namespace cairn::raft {
namespace {

// A seed of test/sim: a read of the log failed while a new leader, to whom nobody has matched yet,
// looked for the place; it began again at entry 1, which was removed, and asked for a snapshot.
TEST(Progress, APostponedProbeStaysWhereItHasGotTo) {
  Progress peer(Index(101), 1000);
  peer.Sent(Index(100), 0);
  ASSERT_TRUE(peer.Reject(Index(100), Index(35)));
  EXPECT_EQ(peer.next(), Index(36));
  peer.Postpone();
  EXPECT_EQ(peer.next(), Index(36));
  EXPECT_TRUE(peer.IsPaused());
  peer.Resume();
  EXPECT_FALSE(peer.IsPaused());

  // What is sent ahead is in doubt, what is acknowledged is not.
  Progress replicating(Index(11), 1000);
  replicating.Acknowledge(Index(10));
  replicating.BecomeReplicate();
  replicating.Sent(Index(20), 50);
  replicating.Postpone();
  EXPECT_EQ(replicating.state(), ProgressState::kProbe);
  EXPECT_EQ(replicating.next(), Index(11));
  EXPECT_TRUE(replicating.IsPaused());
}

TEST(Inflights, CountsBytesUntilTheyAreAcknowledged) {
  Inflights window(100);
  EXPECT_TRUE(window.empty());
  window.Add(Index(3), 60);
  EXPECT_FALSE(window.IsFull());
  window.Add(Index(5), 60);  // The last one may exceed the bound: it is asked before.
  EXPECT_TRUE(window.IsFull());
  window.FreeThrough(Index(4));
  EXPECT_FALSE(window.IsFull());
  EXPECT_EQ(window.bytes(), 60u);
  EXPECT_EQ(window.count(), 1u);
  window.FreeThrough(Index(9));
  EXPECT_TRUE(window.empty());
  EXPECT_EQ(window.bytes(), 0u);
}

TEST(Inflights, BoundsTheNumberOfSmallAppends) {
  Inflights window(size_t{1} << 30);
  for (uint64_t i = 1; i <= 511; ++i) window.Add(Index(i), 1);
  EXPECT_FALSE(window.IsFull());
  window.Add(Index(512), 1);
  EXPECT_TRUE(window.IsFull());
}

TEST(Progress, ProbesOneAppendAtATime) {
  Progress peer(Index(11), 1000);
  EXPECT_FALSE(peer.IsPaused());
  peer.Sent(Index(15), 100);
  EXPECT_TRUE(peer.IsPaused());
  EXPECT_EQ(peer.next(), Index(11));  // Sent again if nothing is heard.
  peer.Resume();
  EXPECT_FALSE(peer.IsPaused());
}

TEST(Progress, ReplicatesAheadOfTheAnswers) {
  Progress peer(Index(11), 1000);
  peer.Acknowledge(Index(10));
  peer.BecomeReplicate();
  peer.Sent(Index(15), 600);
  EXPECT_EQ(peer.next(), Index(16));
  EXPECT_FALSE(peer.IsPaused());
  peer.Sent(Index(20), 600);
  EXPECT_TRUE(peer.IsPaused());
  peer.Sent(Index(20), 0);  // An empty append takes no room.
  EXPECT_EQ(peer.inflights().count(), 2u);
  EXPECT_TRUE(peer.Acknowledge(Index(15)));
  EXPECT_FALSE(peer.IsPaused());
  EXPECT_FALSE(peer.Acknowledge(Index(15)));
  EXPECT_EQ(peer.match(), Index(15));
}

// next = 11, so the probe asks whether entry 10 is there.
TEST(Progress, RejectionMovesAProbeToTheHint) {
  struct Case {
    const char* name;
    uint64_t rejected, retry_after;
    bool is_taken;
    uint64_t next;
  };
  for (const Case& c : {
           Case{"the hint is followed", 10, 4, true, 5},
           Case{"a hint ahead still goes back by one", 10, 30, true, 10},
           Case{"never to or below the match", 10, 0, true, 3},
           Case{"an answer to another probe", 9, 4, false, 11},
       }) {
    SCOPED_TRACE(c.name);
    Progress peer(Index(11), 1000);
    peer.Acknowledge(Index(2));
    peer.Sent(Index(10), 0);
    EXPECT_EQ(peer.Reject(Index(c.rejected), Index(c.retry_after)), c.is_taken);
    EXPECT_EQ(peer.next(), Index(c.next));
    EXPECT_EQ(peer.IsPaused(), !c.is_taken);
  }
}

TEST(Progress, RejectionWhileReplicatingRestartsAtTheMatch) {
  Progress peer(Index(11), 1000);
  peer.Acknowledge(Index(10));
  peer.BecomeReplicate();
  peer.Sent(Index(20), 100);
  EXPECT_FALSE(peer.Reject(Index(10), Index(3)));  // Known to match since.
  EXPECT_EQ(peer.state(), ProgressState::kReplicate);
  EXPECT_TRUE(peer.Reject(Index(15), Index(3)));
  EXPECT_EQ(peer.state(), ProgressState::kProbe);
  EXPECT_EQ(peer.next(), Index(11));
  EXPECT_TRUE(peer.inflights().empty());
}

TEST(Progress, SnapshotPausesUntilItEnds) {
  Progress peer(Index(11), 1000);
  peer.BecomeSnapshot(Index(50));
  EXPECT_TRUE(peer.IsPaused());
  EXPECT_FALSE(peer.Reject(Index(10), Index(3)));
  peer.SnapshotEnded(Index(60));
  EXPECT_EQ(peer.state(), ProgressState::kProbe);
  EXPECT_EQ(peer.next(), Index(61));

  peer.BecomeSnapshot(Index(70));
  peer.SnapshotEnded(Index(0));
  EXPECT_EQ(peer.next(), Index(1));  // Nothing is known to match.
}

}  // namespace
}  // namespace cairn::raft
