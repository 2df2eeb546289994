// A follower without room for the snapshot that it needs: it says so and goes on as it was, and
// installs it when there is room. Cairn only.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <string>

#include "base/status.h"
#include "test/cluster/cluster_fixture.h"
#include "test/harness/random.h"
#include "test/harness/server.h"
#include "test/harness/small_disk.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Room for the state, and for a snapshot beside it and what a member keeps free; and for less.
constexpr int kRoomMib = 400;
constexpr int kNoRoomMib = 80;
// More log than is kept for a follower, of which little is state.
constexpr size_t kValueBytes = size_t{1} << 20;
constexpr int kPuts = 160;
constexpr milliseconds kPoll{20};
constexpr int kAway = 2;

class SnapshotOnAFullDiskTest : public ClusterFixture {
 protected:
  SnapshotOnAFullDiskTest() : ClusterFixture(3), disk_(MakeTempDir("full-disk")) {}

  void SetUp() override {
    absl::Status ready = EnterMountNamespace();
    if (ready.ok()) ready = disk_.SetSize(kRoomMib);
    if (!ready.ok()) {
      ReportSkipped(base::Message(ready));
      GTEST_SKIP() << ready;
    }
    // Its log stays where it is: only the state is on the small disk.
    const std::string log = MakeTempDir("log") + "/wal";
    Server& away = cluster_.server(kAway);
    away.options().extra_flags.push_back("--wal-dir=" + log);
    away.options().data_dir = disk_.path() + "/data";
    ASSERT_OK(cluster_.Start());
  }

  // Until it is done, whatever stands in the way: elections, an alarm that is about to go.
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

  // Until one of the members from `first` to `last` has said so.
  bool WaitForWords(int first, int last, std::string_view words) {
    const auto deadline = steady_clock::now() + kServerDeadline;
    while (steady_clock::now() < deadline) {
      for (int i = first; i <= last; ++i) {
        if (cluster_.server(i).Log().find(words) != std::string::npos) return true;
      }
      if (!cluster_.server(kAway).IsRunning()) return false;
      cluster_.server(kAway).LetRun(kPoll);
    }
    return false;
  }

  SmallDisk disk_;
};

TEST_F(SnapshotOnAFullDiskTest, ItIsRefusedUntilThereIsRoom) {
  Random random(7);
  // Whoever leads then, it is another one.
  cluster_.server(kAway).StandStill();
  for (int i = 0; i < kPuts; ++i) {
    ASSERT_NO_FATAL_FAILURE(Put(0, fmt::format("large{}", i % 20),
                                random.Bytes(10'000) + std::string(kValueBytes, 'x')));
  }
  ASSERT_OK(disk_.SetSize(kNoRoomMib));
  kill(cluster_.server(kAway).pid(), SIGCONT);
  ASSERT_TRUE(WaitForWords(0, 1, "no room for the snapshot")) << cluster_.server(0).Log();
  EXPECT_TRUE(cluster_.server(kAway).IsRunning());
  EXPECT_EQ(cluster_.server(kAway).Log().find("is in force"), std::string::npos);

  ASSERT_OK(disk_.SetSize(kRoomMib));
  ASSERT_TRUE(WaitForWords(kAway, kAway, "is in force")) << cluster_.server(kAway).Log();
  ASSERT_NO_FATAL_FAILURE(Put(0, "after", "room"));
  ASSERT_OK(cluster_.WaitForEqualState());
}

}  // namespace
}  // namespace cairn::test
