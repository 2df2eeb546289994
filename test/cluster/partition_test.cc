// Five real members whose links are cut: halves that do not hear each other, a member alone, links
// that carry one way only, links that flap. Each member lives in a network namespace of its own,
// and clients reach all of them at any time.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/status.h"
#include "test/cluster/cluster_fixture.h"
#include "test/cluster/namespaces.h"

namespace cairn::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr int kMembers = 5;
// Long enough for three elections, were there any.
constexpr seconds kSeveralElections{4};

class PartitionTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<Namespaces>> created = Namespaces::Create(kMembers);
    ASSERT_TRUE(created.ok()) << created.status();
    network_ = *std::move(created);
    std::vector<ServerOptions> servers;
    for (int i = 0; i < kMembers; ++i) {
      servers.push_back(OptionsFor(ServerUnderTest(), fmt::format("m{}", i + 1)));
      network_->Place(i, servers.back());
    }
    cluster_ = std::make_unique<Cluster>(std::move(servers));
    ASSERT_OK(cluster_->Start());
  }

  int Leader() {
    const absl::StatusOr<int> leader = cluster_->WaitForLeader();
    EXPECT_TRUE(leader.ok()) << leader.status();
    return leader.value_or(0);
  }
  static int Other(int i, int distance = 1) { return (i + distance) % kMembers; }
  etcdserverpb::StatusResponse StatusOf(int i) {
    etcdserverpb::StatusResponse status;
    EXPECT_TRUE(Client(cluster_->server(i).address()).StatusOf(&status).ok());
    return status;
  }
  // Waits until `i` follows somebody else than `before`.
  void AwaitNewLeader(int i, uint64_t before) {
    const auto deadline = steady_clock::now() + kServerDeadline;
    while (true) {
      const uint64_t leader = StatusOf(i).leader();
      if (leader != 0 && leader != before) return;
      ASSERT_LT(steady_clock::now(), deadline) << "nobody else leads";
      std::this_thread::sleep_for(milliseconds(20));
    }
  }
  bool CanPut(int i, milliseconds timeout) {
    etcdserverpb::PutRequest put;
    put.set_key("probe");
    etcdserverpb::PutResponse written;
    return Client(cluster_->server(i).address()).Put(put, &written, {.timeout = timeout}).ok();
  }
  bool CanGet(int i, milliseconds timeout) {
    etcdserverpb::RangeRequest range;
    range.set_key("probe");
    etcdserverpb::RangeResponse read;
    return Client(cluster_->server(i).address()).Range(range, &read, {.timeout = timeout}).ok();
  }
  void ExpectNothingLost(Writers& writers, int reader) {
    const absl::Status found = writers.Finish(reader);
    EXPECT_TRUE(found.ok()) << found;
    const absl::Status equal = cluster_->WaitForEqualState();
    EXPECT_TRUE(equal.ok()) << equal;
  }

  std::unique_ptr<Namespaces> network_;
  std::unique_ptr<Cluster> cluster_;
};

TEST_F(PartitionTest, TheLargerPartGoesOnAndTheSmallerOneAnswersNothing) {
  Writers writers(*cluster_, kWriterThreads);
  ASSERT_OK(writers.AwaitAcknowledged(100));
  const int leader = Leader();
  const uint64_t leader_id = StatusOf(leader).leader();
  ASSERT_OK(network_->Split({leader, Other(leader)}));
  AwaitNewLeader(Other(leader, 2), leader_id);
  ASSERT_OK(writers.AwaitAcknowledged(writers.acknowledged() + 200));
  // Neither stale reads nor writes that will be lost, through whoever leads the smaller part still.
  for (const int i : {leader, Other(leader)}) {
    EXPECT_FALSE(CanGet(i, milliseconds(500)));
    EXPECT_FALSE(CanPut(i, milliseconds(500)));
  }
  ASSERT_OK(network_->Heal());
  EXPECT_NE(Leader(), leader);
  ExpectNothingLost(writers, leader);
}

// Who cannot win does not disturb (pre-vote): the leader and its term outlast it all.
TEST_F(PartitionTest, AMemberThatIsCutOffCostsNobodyTheLeader) {
  Writers writers(*cluster_, kWriterThreads);
  ASSERT_OK(writers.AwaitAcknowledged(100));
  const int leader = Leader();
  const etcdserverpb::StatusResponse before = StatusOf(leader);
  const int cut = Other(leader);
  const auto expect_undisturbed = [&](const char* what) {
    SCOPED_TRACE(what);
    std::this_thread::sleep_for(kSeveralElections);
    ASSERT_OK(writers.AwaitAcknowledged(writers.acknowledged() + 100));
    ASSERT_OK(network_->Heal());
    // It hears of the leader, and everything that it missed.
    ASSERT_TRUE(CanGet(cut, kServerDeadline));
    const etcdserverpb::StatusResponse after = StatusOf(cut);
    EXPECT_EQ(after.leader(), before.leader());
    EXPECT_EQ(after.raftterm(), before.raftterm());
  };
  ASSERT_OK(network_->Split({cut}));
  expect_undisturbed("alone");
  // It hears the other three, and they the leader.
  ASSERT_OK(network_->CutOneWay(leader, cut));
  ASSERT_OK(network_->CutOneWay(cut, leader));
  expect_undisturbed("cut off from the leader");
  ASSERT_OK(network_->CutOneWay(leader, cut));
  expect_undisturbed("does not hear the leader");
  ASSERT_OK(network_->CutOneWay(cut, leader));
  expect_undisturbed("not heard by the leader");
  ExpectNothingLost(writers, cut);
}

TEST_F(PartitionTest, ALeaderThatHearsNobodyOrFlapsIsReplaced) {
  Writers writers(*cluster_, kWriterThreads);
  ASSERT_OK(writers.AwaitAcknowledged(100));
  const int leader = Leader();
  const uint64_t leader_id = StatusOf(leader).leader();
  // Its heartbeats would arrive, but nothing comes back.
  for (int n = 1; n < kMembers; ++n) ASSERT_OK(network_->CutOneWay(Other(leader, n), leader));
  AwaitNewLeader(Other(leader), leader_id);
  ASSERT_OK(writers.AwaitAcknowledged(writers.acknowledged() + 100));
  ASSERT_OK(network_->Heal());
  const int next = Leader();
  for (int i = 0; i < 10; ++i) {
    ASSERT_OK(network_->Split({next, Other(next)}));
    std::this_thread::sleep_for(milliseconds(200));
    ASSERT_OK(network_->Heal());
    std::this_thread::sleep_for(milliseconds(200));
  }
  ASSERT_OK(writers.AwaitAcknowledged(writers.acknowledged() + 100));
  ExpectNothingLost(writers, next);
}

}  // namespace
}  // namespace cairn::test
