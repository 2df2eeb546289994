// A follower far behind at the end of a slow link that is cut again and again: the snapshot goes on
// where it stopped, the leader keeps nothing of it in memory and goes on committing meanwhile.
// Cairn only.
//
// CAIRN_TEST_SNAPSHOT_MIB and CAIRN_TEST_SNAPSHOT_BYTES_PER_SECOND ask for more than the test's own
// 32 MiB at 4 MB/s.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>

#include "base/status.h"
#include "test/bench/process_stats.h"
#include "test/cluster/cluster_fixture.h"
#include "test/harness/client.h"
#include "test/harness/proxy.h"
#include "test/harness/random.h"
#include "test/harness/server.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// What the state has that does not compress.
const uint64_t kStateBytes = FromEnvironment("CAIRN_TEST_SNAPSHOT_MIB", 32) << 20;
const uint64_t kBytesPerSecond = FromEnvironment("CAIRN_TEST_SNAPSHOT_BYTES_PER_SECOND", 4'000'000);
// More log than is kept for a follower, and the values that lie in it.
constexpr size_t kValueBytes = size_t{1} << 20;
constexpr uint64_t kPutsMin = 160;
constexpr int kCuts = 5;
// Of the leader's memory, for all that it does: not the snapshot's size, whatever that is.
constexpr uint64_t kLeaderGrowthMax = uint64_t{64} << 20;
constexpr int kAway = 2;

class SlowLinkTest : public ClusterFixture {
 protected:
  SlowLinkTest()
      : ClusterFixture(3, {fmt::format("--snapshot-send-bytes-per-second={}", kBytesPerSecond),
                           "--quota-backend-bytes=8589934592"}),
        proxy_port_(PickFreePort()),
        proxy_(proxy_port_, cluster_.server(kAway).peer_port()) {}

  // The others reach the last member through the proxy only.
  void SetUp() override {
    std::string initial;
    for (int i = 0; i < cluster_.size(); ++i) {
      const std::string url = i == kAway ? ProxyUrl() : cluster_.server(i).peer_url();
      initial += fmt::format("{}{}={}", i == 0 ? "" : ",", cluster_.server(i).label(), url);
    }
    for (int i = 0; i < cluster_.size(); ++i) {
      cluster_.server(i).options().extra_flags.push_back("--initial-cluster=" + initial);
    }
    cluster_.server(kAway).options().extra_flags.push_back("--initial-advertise-peer-urls=" +
                                                           ProxyUrl());
    ASSERT_OK(cluster_.Start());
  }

  std::string ProxyUrl() const { return fmt::format("http://127.0.0.1:{}", proxy_port_); }

  // Tried again until it is done: a loaded machine holds elections.
  void Put(int through, const std::string& key, const std::string& value) {
    Client client(cluster_.server(through).address());
    etcdserverpb::PutRequest request;
    request.set_key(key);
    request.set_value(value);
    etcdserverpb::PutResponse response;
    const auto deadline = steady_clock::now() + kServerDeadline;
    grpc::Status status = client.Put(request, &response);
    while (!status.ok() && steady_clock::now() < deadline) status = client.Put(request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }

  bool HasInstalled() {
    return cluster_.server(kAway).Log().find("is in force") != std::string::npos;
  }

  const int proxy_port_;
  Proxy proxy_;
};

TEST_F(SlowLinkTest, ASnapshotGoesOnWhereTheLinkWasCut) {
  cluster_.server(kAway).Kill();
  const int leader = Leader();
  Random random(7);
  const uint64_t puts = std::max(kPutsMin, kStateBytes / kValueBytes);
  const size_t random_bytes = kStateBytes / puts;
  for (uint64_t i = 0; i < puts; ++i) {
    ASSERT_NO_FATAL_FAILURE(
        Put(leader, fmt::format("large{}", i),
            random.Bytes(random_bytes) + std::string(kValueBytes - random_bytes, 'x')));
  }
  const auto resident = [&] {
    return bench::ResidentBytes(cluster_.server(leader).pid()).value_or(0);
  };
  const uint64_t resident_before = resident();
  const uint64_t forwarded_before = proxy_.forwarded_bytes();
  proxy_.CutEvery(kStateBytes / (kCuts + 1), kCuts);

  const auto begun = steady_clock::now();
  const auto expected =
      std::chrono::seconds(kStateBytes / kBytesPerSecond) + std::chrono::seconds(kServerDeadline);
  ASSERT_TRUE(cluster_.server(kAway).Launch().ok());
  uint64_t resident_max = resident_before;
  int commits = 0;
  milliseconds longest{0};
  while (!HasInstalled()) {
    ASSERT_TRUE(cluster_.server(kAway).IsRunning()) << cluster_.server(kAway).Log();
    ASSERT_LT(steady_clock::now() - begun, expected) << cluster_.server(kAway).Log();
    const auto put_at = steady_clock::now();
    ASSERT_NO_FATAL_FAILURE(Put(leader, "small", std::to_string(++commits)));
    longest =
        std::max(longest, std::chrono::duration_cast<milliseconds>(steady_clock::now() - put_at));
    resident_max = std::max(resident_max, resident());
    cluster_.server(kAway).LetRun(milliseconds(10));
  }
  const auto taken = std::chrono::duration_cast<milliseconds>(steady_clock::now() - begun);
  const uint64_t forwarded = proxy_.forwarded_bytes() - forwarded_before;
  fmt::print(
      "{} MiB in {} ms with {} cuts: {} MiB went over the link; {} commits meanwhile, the "
      "longest took {} ms; the leader's memory grew by {} MiB\n",
      kStateBytes >> 20, taken.count(), proxy_.cuts(), forwarded >> 20, commits, longest.count(),
      (resident_max - resident_before) >> 20);
  EXPECT_EQ(proxy_.cuts(), kCuts);
  EXPECT_GT(commits, 20);
  // Had it begun again after each cut, it would be more than twice as much.
  EXPECT_LT(forwarded, kStateBytes + kStateBytes / 2);
  EXPECT_LT(resident_max - resident_before, kLeaderGrowthMax);
  ASSERT_OK(cluster_.server(kAway).WaitUntilAnswering());
  ASSERT_OK(cluster_.WaitForEqualState());
}

}  // namespace
}  // namespace cairn::test
