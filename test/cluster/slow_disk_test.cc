// Disks that stand still or are slow, under real members: a leader whose log does not return hands
// over and ends no lease any more; one whose disk is only slow goes on. The disk is slow_disk.cc.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

#include "base/status.h"
#include "test/cluster/cluster_fixture.h"

namespace cairn::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using testing::HasSubstr;

// In the runfiles, where Bazel starts tests.
constexpr char kPreloaded[] = "test/cluster/libslow_disk.so";
// Until the disk is told otherwise.
constexpr milliseconds kStandsStill = std::chrono::hours(1);
constexpr seconds kTtl{3};

class SlowDiskTest : public ClusterFixture {
 protected:
  SlowDiskTest() : ClusterFixture(3, {"--log-stall-ms=500"}), folder_(MakeTempDir("disks")) {}
  void SetUp() override {
    const std::string preloaded = std::filesystem::absolute(kPreloaded).string();
    ASSERT_TRUE(std::filesystem::exists(preloaded));
    for (int i = 0; i < cluster_.size(); ++i) {
      cluster_.server(i).options().environment = {{"LD_PRELOAD", preloaded},
                                                  {"CAIRN_TEST_SLOW_DISK", ControlFile(i)}};
    }
    ASSERT_OK(cluster_.Start());
  }

  std::string ControlFile(int i) const { return fmt::format("{}/{}", folder_, i); }
  // Each sync of member `i` takes so much longer.
  void SetDelay(int i, milliseconds delay) {
    // At once: the member reads it meanwhile.
    std::ofstream(ControlFile(i) + ".new") << delay.count();
    std::filesystem::rename(ControlFile(i) + ".new", ControlFile(i));
  }

  const std::string folder_;
};

// Renews one lease through one member, again and again.
class Renewals {
 public:
  Renewals(const std::string& address, int64_t lease)
      : thread_([this, address, lease] { Run(address, lease); }) {}
  ~Renewals() {
    ends_ = true;
    thread_.join();
  }
  int64_t kept() const { return kept_; }
  // It was answered that there is no such lease.
  bool was_lost() const { return was_lost_; }

 private:
  void Run(const std::string& address, int64_t lease) {
    Client client(address);
    while (!ends_) {
      etcdserverpb::LeaseKeepAliveRequest request;
      request.set_id(lease);
      etcdserverpb::LeaseKeepAliveResponse response;
      const CallOptions options{.timeout = milliseconds(1000)};
      if (!client.LeaseKeepAlive(request, &response, options).ok()) continue;
      if (response.ttl() == 0) was_lost_ = true;
      ++kept_;
      std::this_thread::sleep_for(milliseconds(100));
    }
  }

  std::atomic<bool> ends_ = false;
  std::atomic<int64_t> kept_ = 0;
  std::atomic<bool> was_lost_ = false;
  std::thread thread_;
};

TEST_F(SlowDiskTest, ALeaderWhoseDiskStandsStillHandsOverAndEndsNoLease) {
  const int leader = Leader();
  const int follower = Other(leader);
  Client client(cluster_.server(follower).address());
  ASSERT_NO_FATAL_FAILURE(GrantWithKey(client, 7, kTtl.count()));
  Renewals renewals(cluster_.server(follower).address(), 7);
  Writers writers(cluster_, kWriterThreads);
  ASSERT_OK(writers.AwaitAcknowledged(200));

  const auto stopped_at = steady_clock::now();
  SetDelay(leader, kStandsStill);
  int next = leader;
  while (next == leader) {
    ASSERT_LT(steady_clock::now() - stopped_at, kServerDeadline) << "it still leads";
    next = Leader();
  }
  RecordProperty("handed_over_ms",
                 static_cast<int>((steady_clock::now() - stopped_at) / milliseconds(1)));
  EXPECT_THAT(cluster_.server(leader).Log(), HasSubstr("its log makes no progress"));
  // The others go on without it, for longer than the lease lasts unless it is renewed.
  ASSERT_OK(writers.AwaitAcknowledged(writers.acknowledged() + 200));
  const int64_t kept = renewals.kept();
  while (steady_clock::now() - stopped_at < 2 * kTtl || renewals.kept() < kept + 10) {
    ASSERT_LT(steady_clock::now() - stopped_at, kServerDeadline) << "the lease is not renewed";
    std::this_thread::sleep_for(milliseconds(50));
  }
  EXPECT_NE(Leader(), leader);

  // Back again it follows, and ends nothing of what it knew when it led.
  SetDelay(leader, milliseconds(0));
  ExpectNothingLost(writers, leader);
  EXPECT_FALSE(renewals.was_lost());
  etcdserverpb::RangeRequest range;
  range.set_key("leased");
  etcdserverpb::RangeResponse read;
  ASSERT_TRUE(client.Range(range, &read).ok());
  EXPECT_EQ(read.kvs_size(), 1);
}

TEST_F(SlowDiskTest, ADiskThatIsOnlySlowHoldsNobodyUp) {
  {
    SCOPED_TRACE("of a follower");
    Writers writers(cluster_, kWriterThreads);
    const int slow = Other(Leader());
    SetDelay(slow, milliseconds(100));
    ASSERT_OK(writers.AwaitAcknowledged(300));
    SetDelay(slow, milliseconds(0));
    ExpectNothingLost(writers, slow);
  }
  {
    SCOPED_TRACE("of the leader");
    Writers writers(cluster_, kWriterThreads);
    const int slow = Leader();
    SetDelay(slow, milliseconds(50));
    ASSERT_OK(writers.AwaitAcknowledged(100));
    SetDelay(slow, milliseconds(0));
    ExpectNothingLost(writers, slow);
  }
  {
    SCOPED_TRACE("killed while it stands still");
    Writers writers(cluster_, kWriterThreads);
    const int slow = Leader();
    ASSERT_OK(writers.AwaitAcknowledged(100));
    SetDelay(slow, kStandsStill);
    ASSERT_OK(writers.AwaitAcknowledged(writers.acknowledged() + 100));
    cluster_.server(slow).Kill();
    SetDelay(slow, milliseconds(0));
    ASSERT_OK(cluster_.StartStopped());
    ExpectNothingLost(writers, slow);
  }
}

// Standard output and error are a pipe that is full and that nobody reads.
TEST(LogReaderTest, AMemberWhoseLogNobodyReadsGoesOnAndStops) {
  const std::string pipe = MakeTempDir("pipe") + "/output";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const int file = open(pipe.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
  ASSERT_GE(file, 0);
  while (write(file, "x", 1) == 1) {
  }
  ProcessOptions options;
  const std::string client = fmt::format("127.0.0.1:{}", PickFreePort());
  const std::string peer = fmt::format("http://127.0.0.1:{}", PickFreePort());
  options.argv = {ServerUnderTest().binary,
                  "--data-dir=" + MakeTempDir("unread") + "/data",
                  "--listen-client-urls=http://" + client,
                  "--advertise-client-urls=http://" + client,
                  "--listen-peer-urls=" + peer,
                  "--initial-advertise-peer-urls=" + peer,
                  "--initial-cluster=default=" + peer};
  options.output_path = pipe;
  absl::StatusOr<Process> server = Process::Start(options);
  ASSERT_TRUE(server.ok()) << server.status();
  etcdserverpb::PutRequest put;
  put.set_key("unread");
  etcdserverpb::PutResponse written;
  const CallOptions patient{.timeout = kServerDeadline, .wait_for_ready = true};
  EXPECT_TRUE(Client(client).Put(put, &written, patient).ok());
  server->Signal(SIGTERM);
  const std::optional<ExitState> exit = server->Wait(kServerDeadline);
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(*exit, ExitState{});
  close(file);
}

}  // namespace
}  // namespace cairn::test
