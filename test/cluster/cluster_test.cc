// Three real members: what a client may rely on while members die, stop, stand still and come back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <string>
#include <thread>

#include "base/status.h"
#include "test/cluster/cluster_fixture.h"

namespace cairn::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::HasSubstr;

class ClusterTest : public ClusterFixture {
 protected:
  ClusterTest() : ClusterFixture(3) {}
  void SetUp() override { ASSERT_OK(cluster_.Start()); }
};

TEST_F(ClusterTest, AnyMemberTakesWritesAndLinearizableReads) {
  for (int i = 0; i < cluster_.size(); ++i) {
    etcdserverpb::PutRequest put;
    put.set_key("key");
    put.set_value(std::to_string(i));
    etcdserverpb::PutResponse written;
    ASSERT_TRUE(Client(cluster_.server(i).address()).Put(put, &written).ok());
    for (int j = 0; j < cluster_.size(); ++j) {
      etcdserverpb::RangeRequest range;
      range.set_key("key");
      etcdserverpb::RangeResponse read;
      ASSERT_TRUE(Client(cluster_.server(j).address()).Range(range, &read).ok());
      ASSERT_EQ(read.kvs_size(), 1);
      EXPECT_EQ(read.kvs(0).value(), std::to_string(i));
      EXPECT_EQ(read.kvs(0).mod_revision(), written.header().revision());
      EXPECT_EQ(read.header().cluster_id(), written.header().cluster_id());
    }
  }
  ASSERT_OK(cluster_.WaitForEqualState());
}

TEST_F(ClusterTest, EtcdctlSeesAllMembersAndMovesTheLeader) {
  const std::string all = cluster_.endpoints();
  EXPECT_EQ(Etcdctl(all, {"put", "a", "1"}).out, "OK\n");
  const CommandResult health = Etcdctl(all, {"endpoint", "health"});
  EXPECT_EQ(health.exit.code, 0) << health.err;
  for (int i = 0; i < cluster_.size(); ++i) {
    EXPECT_THAT(health.out + health.err, HasSubstr(cluster_.server(i).address() + " is healthy"));
  }
  const CommandResult members = Etcdctl(all, {"member", "list"});
  for (int i = 0; i < cluster_.size(); ++i) {
    EXPECT_THAT(members.out, HasSubstr(", started, " + cluster_.server(i).label() + ", " +
                                       cluster_.server(i).peer_url() + ", "));
  }

  const int leader = Leader();
  const int target = Other(leader);
  const std::string id = fmt::format("{:x}", IdOf(target));
  const CommandResult refused = Etcdctl(cluster_.server(target).address(), {"move-leader", id});
  EXPECT_NE(refused.exit.code, 0);
  EXPECT_THAT(refused.err, HasSubstr("no leader endpoint given"));
  const CommandResult moved = Etcdctl(all, {"move-leader", id});
  EXPECT_EQ(moved.exit.code, 0) << moved.err;
  EXPECT_THAT(moved.out, HasSubstr("Leadership transferred from"));
  EXPECT_EQ(Leader(), target);
}

TEST_F(ClusterTest, AKilledLeaderLosesNothingThatWasAcknowledged) {
  Writers writers(cluster_, kWriterThreads);
  for (int round = 0; round < 3; ++round) {
    ASSERT_OK(writers.AwaitAcknowledged(writers.acknowledged() + 200));
    const int leader = Leader();
    cluster_.server(leader).Kill();
    ASSERT_OK(writers.AwaitAcknowledged(writers.acknowledged() + 200));
    ASSERT_OK(cluster_.StartStopped());
  }
  ExpectNothingLost(writers, Other(Leader()));
}

TEST_F(ClusterTest, ARollingRestartLosesNothing) {
  Writers writers(cluster_, kWriterThreads);
  for (int i = 0; i < cluster_.size(); ++i) {
    ASSERT_OK(writers.AwaitAcknowledged(writers.acknowledged() + 200));
    const absl::StatusOr<ExitState> exit = cluster_.server(i).Terminate();
    ASSERT_TRUE(exit.ok()) << exit.status();
    // etcd ends itself by the signal that it was sent.
    EXPECT_EQ(exit->signal, ServerUnderTest().is_reference ? SIGTERM : 0);
    ASSERT_OK(writers.AwaitAcknowledged(writers.acknowledged() + 200));
    ASSERT_OK(cluster_.StartStopped());
  }
  ExpectNothingLost(writers, 0);
}

TEST_F(ClusterTest, WithoutAQuorumNothingIsAcknowledgedAndSerializableReadsGoOn) {
  etcdserverpb::PutRequest put;
  put.set_key("key");
  put.set_value("before");
  etcdserverpb::PutResponse written;
  ASSERT_TRUE(Client(cluster_.server(0).address()).Put(put, &written).ok());
  ASSERT_OK(cluster_.WaitForEqualState());
  cluster_.server(1).Kill();
  cluster_.server(2).Kill();

  Client client(cluster_.server(0).address());
  const CallOptions soon{.timeout = milliseconds(1500)};
  put.set_value("without a quorum");
  EXPECT_FALSE(client.Put(put, &written, soon).ok());
  etcdserverpb::RangeRequest range;
  range.set_key("key");
  etcdserverpb::RangeResponse read;
  EXPECT_FALSE(client.Range(range, &read, soon).ok());
  range.set_serializable(true);
  ASSERT_TRUE(client.Range(range, &read).ok());
  ASSERT_EQ(read.kvs_size(), 1);
  EXPECT_EQ(read.kvs(0).value(), "before");

  ASSERT_OK(cluster_.StartStopped());
  put.set_value("after");
  ASSERT_TRUE(client.Put(put, &written).ok());
  ASSERT_OK(cluster_.WaitForEqualState());
}

TEST_F(ClusterTest, ALeaderThatStandsStillIsReplacedAndFollows) {
  Writers writers(cluster_, kWriterThreads);
  ASSERT_OK(writers.AwaitAcknowledged(200));
  const int leader = Leader();
  ASSERT_EQ(kill(cluster_.server(leader).pid(), SIGSTOP), 0);
  ASSERT_OK(writers.AwaitAcknowledged(writers.acknowledged() + 500));
  ASSERT_EQ(kill(cluster_.server(leader).pid(), SIGCONT), 0);
  EXPECT_NE(Leader(), leader);
  ExpectNothingLost(writers, leader);
}

TEST_F(ClusterTest, LeasesLiveOnWhoeverLeads) {
  const int leader = Leader();
  const int follower = Other(leader);
  Client client(cluster_.server(follower).address());
  ASSERT_NO_FATAL_FAILURE(GrantWithKey(client, 7, 3600));

  const auto expect_alive = [&](int at) {
    SCOPED_TRACE(at);
    Client asked(cluster_.server(at).address());
    etcdserverpb::LeaseKeepAliveRequest keepalive;
    keepalive.set_id(7);
    etcdserverpb::LeaseKeepAliveResponse kept;
    const grpc::Status renewed = asked.LeaseKeepAlive(keepalive, &kept);
    ASSERT_TRUE(renewed.ok()) << renewed.error_message();
    EXPECT_EQ(kept.ttl(), 3600);
    etcdserverpb::LeaseTimeToLiveRequest look;
    look.set_id(7);
    look.set_keys(true);
    etcdserverpb::LeaseTimeToLiveResponse seen;
    const grpc::Status looked = asked.LeaseTimeToLive(look, &seen);
    ASSERT_TRUE(looked.ok()) << looked.error_message();
    EXPECT_GE(seen.ttl(), 3590);
    EXPECT_EQ(seen.grantedttl(), 3600);
    ASSERT_EQ(seen.keys_size(), 1);
    EXPECT_EQ(seen.keys(0), "leased");
    look.set_id(8);
    ASSERT_TRUE(asked.LeaseTimeToLive(look, &seen).ok());
    EXPECT_EQ(seen.ttl(), -1);
    keepalive.set_id(8);
    ASSERT_TRUE(asked.LeaseKeepAlive(keepalive, &kept).ok());
    EXPECT_EQ(kept.ttl(), 0);
  };
  for (int i = 0; i < cluster_.size(); ++i) expect_alive(i);
  cluster_.server(leader).Kill();
  Leader();
  for (int i = 0; i < cluster_.size(); ++i) {
    if (i != leader) expect_alive(i);
  }
}

TEST_F(ClusterTest, AShortLeaseEndsOnceAndEverywhereAfterTheLeaderDied) {
  const int leader = Leader();
  Client client(cluster_.server(Other(leader)).address());
  etcdserverpb::LeaseGrantRequest grant;
  grant.set_ttl(2);
  grant.set_id(9);
  etcdserverpb::LeaseGrantResponse granted;
  const auto began = steady_clock::now();
  ASSERT_TRUE(client.LeaseGrant(grant, &granted).ok());
  etcdserverpb::PutRequest put;
  put.set_key("leased");
  put.set_lease(9);
  etcdserverpb::PutResponse written;
  ASSERT_TRUE(client.Put(put, &written).ok());
  cluster_.server(leader).Kill();
  etcdserverpb::RangeRequest range;
  range.set_key("leased");
  const auto deadline = began + kServerDeadline;
  while (true) {
    etcdserverpb::RangeResponse read;
    const CallOptions options{.timeout = milliseconds(1000)};
    const auto asked = steady_clock::now();
    if (client.Range(range, &read, options).ok() && read.kvs_size() == 0) break;
    ASSERT_LT(asked, deadline) << "the key is still there";
    std::this_thread::sleep_for(milliseconds(20));
  }
  EXPECT_GE(steady_clock::now() - began, std::chrono::seconds(2));
  ASSERT_OK(cluster_.StartStopped());
  ASSERT_OK(cluster_.WaitForEqualState());
}

}  // namespace
}  // namespace cairn::test
