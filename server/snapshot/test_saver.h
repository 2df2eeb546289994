// What tests of the saver share: a state, a saver with small messages, and clients that check what
// they receive.
//
// Test only.
#ifndef CAIRN_SERVER_SNAPSHOT_TEST_SAVER_H_
#define CAIRN_SERVER_SNAPSHOT_TEST_SAVER_H_

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/rpc.pb.h"
#include "base/fail_point.h"
#include "server/log_pins.h"
#include "server/rpc/fake_call.h"
#include "server/snapshot/saver.h"
#include "server/snapshot/test_state.h"
#include "server/state_home.h"
#include "wal/posix_fs.h"

namespace cairn::server {

// The entries of the state that is saved.
inline constexpr uint64_t kSavedEntries = 60;

// Holds the thread that made copy number `which`, counted from one, until LetGo. To be destroyed
// after the saver has stopped, or with no copy in the making.
class HeldCopy {
 public:
  // `on_made` is called for each copy before that.
  explicit HeldCopy(
      int which, std::function<void()> on_made = [] {})
      : observer_([this, which, on_made = std::move(on_made)](std::string_view name) {
          if (name != "server.snapshot.checkpoint_made") return;
          on_made();
          if (++copies_ != which) return;
          made_.count_down();
          go_on_.wait();
        }) {}

  void WaitUntilMade() const { made_.wait(); }
  void LetGo() { go_on_.count_down(); }
  // How many copies were made.
  int made() const { return copies_; }

 private:
  std::atomic<int> copies_ = 0;
  std::latch made_{1};
  std::latch go_on_{1};
  const base::ScopedFailPointObserver observer_;
};

class SaverFixture : public testing::Test {
 protected:
  SaverFixture() : directory_(testing::TempDir() + "/saver_" + Name()) {
    std::filesystem::remove_all(directory_);
    state_ = std::make_unique<State>(directory_ + "/state", kMembers[0].id, kSavedEntries);
    // Small, so that a stream has many messages and waits for its client often.
    options_.message_bytes = 512;
    options_.busy_message_bytes = 512;
    options_.queue_bytes = 4096;
    options_.copy_pause_min = std::chrono::milliseconds(0);
    options_.copy_pause_max = std::chrono::milliseconds(0);
    MakeSaver();
  }
  static std::string Name() {
    return testing::UnitTest::GetInstance()->current_test_info()->name();
  }
  void MakeSaver() {
    saver_.reset();
    saver_ = std::make_unique<SnapshotSaver>(options_, wal::PosixFs(), state_->states(),
                                             state_->store(), pins_);
  }
  struct Saved {
    // Of each message.
    std::vector<size_t> sizes_bytes;
    std::string data;
    std::string digest;
    absl::Status status;
  };
  // Takes what comes until the stream ends, and checks each message.
  static Saved Receive(rpc::FakeStreamCall& call) {
    Saved saved;
    uint64_t left = 0;
    while (const std::optional<std::string> message = call.WaitReceive()) {
      etcdserverpb::SnapshotResponse response;
      EXPECT_TRUE(response.ParseFromString(*message));
      EXPECT_FALSE(response.has_header());
      EXPECT_EQ(response.version(), "3.7.0");
      EXPECT_TRUE(saved.digest.empty());
      if (response.blob().size() == 32) {
        saved.digest = response.blob();
        EXPECT_EQ(response.remaining_bytes(), 0U);
        EXPECT_EQ(left, 0U);
        continue;
      }
      if (!saved.data.empty()) {
        EXPECT_EQ(response.remaining_bytes() + response.blob().size(), left);
      }
      left = response.remaining_bytes();
      saved.sizes_bytes.push_back(response.blob().size());
      saved.data += response.blob();
    }
    saved.status = call.WaitStatus();
    return saved;
  }
  std::string Keep(const Saved& saved) {
    const std::string path = directory_ + "/saved";
    std::ofstream(path, std::ios::binary) << saved.data << saved.digest;
    return path;
  }
  int Copies() const {
    int copies = 0;
    for (const std::string& name : state_->Names()) copies += name.starts_with(kCheckpointPrefix);
    return copies;
  }
  // The directory of the only copy.
  std::string CopyPath() const {
    for (const std::string& name : state_->Names()) {
      if (name.starts_with(kCheckpointPrefix)) return directory_ + "/state/" + name;
    }
    return {};
  }

  const std::string directory_;
  SnapshotSaverOptions options_;
  std::unique_ptr<State> state_;
  LogPins pins_;
  std::unique_ptr<SnapshotSaver> saver_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SNAPSHOT_TEST_SAVER_H_
