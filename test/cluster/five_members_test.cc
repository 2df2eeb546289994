// Five real members under one load: a minority goes and comes back, then a majority, leaders die
// and stand still, and one restarts after the other. One cluster for all of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <string>

#include "base/status.h"
#include "test/cluster/cluster_fixture.h"

namespace cairn::test {
namespace {

using std::chrono::milliseconds;

class FiveMembersTest : public ClusterFixture {
 protected:
  FiveMembersTest() : ClusterFixture(5) {}
  void SetUp() override { ASSERT_OK(cluster_.Start()); }
};

TEST_F(FiveMembersTest, AMinorityGoesAndComesBackThenAMajority) {
  {
    SCOPED_TRACE("two of five die, the leader among them");
    Writers writers(cluster_, kWriterThreads);
    ASSERT_OK(writers.AwaitAcknowledged(100));
    const int leader = Leader();
    cluster_.server(leader).Kill();
    cluster_.server(Other(leader)).Kill();
    ASSERT_OK(writers.AwaitAcknowledged(writers.acknowledged() + 300));
    ASSERT_OK(cluster_.StartStopped());
    ExpectNothingLost(writers, leader);
  }
  {
    SCOPED_TRACE("three of five die");
    Writers writers(cluster_, kWriterThreads);
    ASSERT_OK(writers.AwaitAcknowledged(100));
    const int leader = Leader();
    for (int n = 0; n < 3; ++n) cluster_.server(Other(leader, n)).Kill();
    Client left(cluster_.server(Other(leader, 3)).address());
    etcdserverpb::PutRequest put;
    put.set_key("without a quorum");
    etcdserverpb::PutResponse written;
    EXPECT_FALSE(left.Put(put, &written, {.timeout = milliseconds(1500)}).ok());
    etcdserverpb::RangeRequest range;
    range.set_key("writer 0");
    etcdserverpb::RangeResponse read;
    EXPECT_FALSE(left.Range(range, &read, {.timeout = milliseconds(500)}).ok());
    range.set_serializable(true);
    ASSERT_TRUE(left.Range(range, &read).ok());
    EXPECT_EQ(read.kvs_size(), 1);
    ASSERT_OK(cluster_.StartStopped());
    ASSERT_OK(writers.AwaitAcknowledged(writers.acknowledged() + 300));
    ExpectNothingLost(writers, leader);
  }
  {
    SCOPED_TRACE("all die at once");
    Writers writers(cluster_, kWriterThreads);
    ASSERT_OK(writers.AwaitAcknowledged(100));
    for (int i = 0; i < cluster_.size(); ++i) cluster_.server(i).Kill();
    ASSERT_OK(cluster_.StartStopped());
    ASSERT_OK(writers.AwaitAcknowledged(writers.acknowledged() + 100));
    ExpectNothingLost(writers, 0);
  }
}

TEST_F(FiveMembersTest, LeadersFallOneAfterTheOtherAndAllRestart) {
  {
    SCOPED_TRACE("one dies, its successor stands still");
    Writers writers(cluster_, kWriterThreads);
    ASSERT_OK(writers.AwaitAcknowledged(100));
    const int first = Leader();
    cluster_.server(first).Kill();
    const int second = Leader();
    cluster_.server(second).StandStill();
    ASSERT_OK(writers.AwaitAcknowledged(writers.acknowledged() + 200));
    ASSERT_EQ(kill(cluster_.server(second).pid(), SIGCONT), 0);
    ASSERT_OK(cluster_.StartStopped());
    ExpectNothingLost(writers, second);
  }
  {
    SCOPED_TRACE("a rolling restart");
    Writers writers(cluster_, kWriterThreads);
    for (int i = 0; i < cluster_.size(); ++i) {
      ASSERT_TRUE(cluster_.server(i).Terminate().ok());
      ASSERT_OK(writers.AwaitAcknowledged(writers.acknowledged() + 50));
      ASSERT_OK(cluster_.StartStopped());
    }
    ExpectNothingLost(writers, 0);
  }
}

}  // namespace
}  // namespace cairn::test
