// Three real members: what a client may rely on while members die, stop, stand still and come back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/status.h"
#include "test/cluster/cluster_fixture.h"

namespace cairn::test {
namespace {

using etcdserverpb::LeaseKeepAliveRequest;
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
  cluster_.server(leader).StandStill();
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

// More leases than one entry of the log ends, and a keepalive for each that the leader finds when
// it goes on: they have ended meanwhile, so none may be told that it lives.
TEST_F(ClusterTest, ALeaderThatStoodStillRenewsNoLeaseThatHasEnded) {
  if (ServerUnderTest().is_reference) GTEST_SKIP() << "versions of etcd differ";
  constexpr int kLeases = 100;
  const int leader = Leader();
  const int follower = Other(leader);
  Client client(cluster_.server(follower).address());
  Client at_leader(cluster_.server(leader).address());
  const auto stub = etcdserverpb::Lease::NewStub(at_leader.channel());
  using Stream =
      grpc::ClientReaderWriter<LeaseKeepAliveRequest, etcdserverpb::LeaseKeepAliveResponse>;
  struct KeptLease {
    grpc::ClientContext context;
    LeaseKeepAliveRequest request;
    std::unique_ptr<Stream> stream;
  };
  constexpr int64_t kLongLease = 1000;
  ASSERT_NO_FATAL_FAILURE(GrantWithKey(client, kLongLease, 3600));
  std::vector<KeptLease> leases(kLeases);
  for (int i = 0; i < kLeases; ++i) {
    KeptLease& lease = leases[static_cast<size_t>(i)];
    etcdserverpb::LeaseGrantRequest grant;
    grant.set_id(i + 1);
    grant.set_ttl(2);
    etcdserverpb::LeaseGrantResponse granted;
    ASSERT_TRUE(client.LeaseGrant(grant, &granted).ok());
    lease.request.set_id(i + 1);
    lease.context.set_deadline(std::chrono::system_clock::now() + kServerDeadline);
    lease.stream = stub->LeaseKeepAlive(&lease.context);
  }
  for (KeptLease& lease : leases) {
    // Some may have ended by now on a slow machine.
    ASSERT_TRUE(lease.stream->Write(lease.request));
    etcdserverpb::LeaseKeepAliveResponse kept;
    ASSERT_TRUE(lease.stream->Read(&kept));
  }
  cluster_.server(leader).StandStill();
  for (KeptLease& lease : leases) ASSERT_TRUE(lease.stream->Write(lease.request));
  // Asked of the one that stands still, and then of the next.
  LeaseKeepAliveRequest keepalive;
  keepalive.set_id(kLongLease);
  etcdserverpb::LeaseKeepAliveResponse renewed;
  const grpc::Status status = client.LeaseKeepAlive(keepalive, &renewed);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(renewed.ttl(), 3600);
  const auto deadline = steady_clock::now() + kServerDeadline;
  for (int alive = kLeases; alive > 1;) {
    ASSERT_LT(steady_clock::now(), deadline) << alive << " leases are still there";
    std::this_thread::sleep_for(milliseconds(50));
    etcdserverpb::LeaseLeasesResponse listed;
    const CallOptions options{.timeout = milliseconds(1000)};
    if (client.LeaseLeases({}, &listed, options).ok()) alive = listed.leases_size();
  }
  ASSERT_EQ(kill(cluster_.server(leader).pid(), SIGCONT), 0);
  for (KeptLease& lease : leases) {
    etcdserverpb::LeaseKeepAliveResponse kept;
    // Or an error, when it finds no leader in time.
    if (lease.stream->Read(&kept)) {
      EXPECT_EQ(kept.ttl(), 0) << lease.request.id();
    }
    lease.context.TryCancel();
    lease.stream->Finish();
  }
  ASSERT_OK(cluster_.WaitForEqualState());
}

// Metadata "hasleader": of calls that come while there is no leader, and of streams that are there.
TEST_F(ClusterTest, WhoAsksForALeaderIsToldWhenThereIsNone) {
  const int left = Leader();
  const std::string address = cluster_.server(left).address();
  Client client(address);
  const auto kv = etcdserverpb::KV::NewStub(client.channel());
  const auto lease = etcdserverpb::Lease::NewStub(client.channel());
  const auto watch = etcdserverpb::Watch::NewStub(client.channel());
  const auto prepare = [](grpc::ClientContext& context, bool wants_leader) {
    context.set_deadline(std::chrono::system_clock::now() + kServerDeadline);
    if (wants_leader) context.AddMetadata("hasleader", "true");
  };
  const auto get = [&](bool wants_leader) {
    grpc::ClientContext context;
    prepare(context, wants_leader);
    etcdserverpb::RangeRequest range;
    range.set_key("key");
    range.set_serializable(true);
    etcdserverpb::RangeResponse read;
    return kv->Range(&context, range, &read);
  };
  const auto expect_no_leader = [](const grpc::Status& status) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(status.error_message(), "etcdserver: no leader");
  };
  EXPECT_TRUE(get(true).ok());
  etcdserverpb::WatchRequest create;
  create.mutable_create_request()->set_key("key");
  etcdserverpb::WatchResponse watched;
  grpc::ClientContext watch_context;
  prepare(watch_context, true);
  const auto watching = watch->Watch(&watch_context);
  grpc::ClientContext keepalive_context;
  prepare(keepalive_context, true);
  const auto keeping = lease->LeaseKeepAlive(&keepalive_context);
  grpc::ClientContext indifferent_context;
  prepare(indifferent_context, false);
  const auto indifferent = watch->Watch(&indifferent_context);
  for (const auto& stream : {watching.get(), indifferent.get()}) {
    ASSERT_TRUE(stream->Write(create));
    ASSERT_TRUE(stream->Read(&watched));
    EXPECT_TRUE(watched.created());
  }
  LeaseKeepAliveRequest unknown;
  unknown.set_id(77);
  etcdserverpb::LeaseKeepAliveResponse kept;
  ASSERT_TRUE(keeping->Write(unknown));
  ASSERT_TRUE(keeping->Read(&kept));

  for (int i = 0; i < cluster_.size(); ++i) {
    if (i != left) cluster_.server(i).Kill();
  }
  // Each stream that asked for a leader ends, and says why.
  EXPECT_FALSE(watching->Read(&watched));
  expect_no_leader(watching->Finish());
  EXPECT_FALSE(keeping->Read(&kept));
  expect_no_leader(keeping->Finish());
  expect_no_leader(get(true));
  grpc::ClientContext late_context;
  prepare(late_context, true);
  const auto late = watch->Watch(&late_context);
  late->Write(create);
  EXPECT_FALSE(late->Read(&watched));
  expect_no_leader(late->Finish());
  // Who did not ask goes on.
  EXPECT_TRUE(get(false).ok());
  ASSERT_TRUE(indifferent->Write(create));
  ASSERT_TRUE(indifferent->Read(&watched));
  EXPECT_TRUE(watched.created());
  indifferent_context.TryCancel();
  indifferent->Finish();

  ASSERT_OK(cluster_.StartStopped());
  EXPECT_TRUE(get(true).ok());
}

}  // namespace
}  // namespace cairn::test
