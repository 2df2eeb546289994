// The disk fills up while the server runs: writes are refused or the server stops with a message;
// what was acknowledged is there when there is room again. Cairn only.
//
// The disk is a small tmpfs in a mount namespace of this process, so it vanishes with the test. A
// namespace can only be made while the process has one thread: before the first use of gRPC.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>

#include "base/status.h"
#include "test/harness/client.h"
#include "test/harness/random.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

// Room for the log's segments that are made ahead, for what the server keeps in reserve, and for
// some data.
constexpr char kSmallDisk[] = "size=400m";
constexpr char kLargeDisk[] = "size=1500m";
constexpr size_t kValueBytes = 1'000'000;
// More than the disk can hold.
constexpr int kPutsMax = 700;

void WriteFile(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

// Moves this process into a mount namespace of its own, once.
absl::Status EnterNamespace() {
  const uid_t user = geteuid();
  const gid_t group = getegid();
  if (unshare(user == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0) {
    return base::Error(absl::StatusCode::kUnavailable, "no mount namespace here: {}",
                       strerror(errno));
  }
  if (user != 0) {
    WriteFile("/proc/self/setgroups", "deny");
    WriteFile("/proc/self/uid_map", fmt::format("0 {} 1", user));
    WriteFile("/proc/self/gid_map", fmt::format("0 {} 1", group));
  }
  mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  return absl::OkStatus();
}

// Values that no compression makes smaller, the same for the same number.
std::string Value(int number) { return Random(static_cast<uint64_t>(number)).Bytes(kValueBytes); }

std::string Key(int number) { return fmt::format("k{:03}", number); }

class FullDiskTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { entered_ = new absl::Status(EnterNamespace()); }
  static void TearDownTestSuite() { delete entered_; }

  void SetUp() override {
    disk_ = MakeTempDir("full-disk");
    absl::Status ready = *entered_;
    if (ready.ok() && mount("tmpfs", disk_.c_str(), "tmpfs", 0, kSmallDisk) != 0) {
      ready = base::Error(absl::StatusCode::kUnavailable, "no tmpfs here: {}", strerror(errno));
    }
    if (!ready.ok()) {
      ReportSkipped(base::Message(ready));
      GTEST_SKIP() << ready;
    }
    ServerOptions options = OptionsFor(ServerUnderTest(), "full-disk");
    options.data_dir = disk_ + "/data";
    server_.emplace(std::move(options));
    const absl::Status started = server_->Start();
    ASSERT_TRUE(started.ok()) << started;
  }

  void TearDown() override {
    server_.reset();
    umount2(disk_.c_str(), MNT_DETACH);
  }

  // Puts keys acknowledged_ and on until one is refused or `limit` is reached.
  grpc::Status PutUntilRefused(int limit) {
    Client client(server_->address());
    for (; acknowledged_ < limit; ++acknowledged_) {
      etcdserverpb::PutRequest put;
      put.set_key(Key(acknowledged_));
      put.set_value(Value(acknowledged_));
      etcdserverpb::PutResponse response;
      const grpc::Status status = client.Put(put, &response, {.timeout = std::chrono::seconds(30)});
      if (!status.ok()) return status;
    }
    return grpc::Status::OK;
  }

  // A server that still runs must serve reads; one that stopped must have said why.
  void ExpectReadsOrAReason() {
    Client client(server_->address());
    etcdserverpb::RangeRequest range;
    range.set_key(Key(0));
    etcdserverpb::RangeResponse response;
    const grpc::Status status = client.Range(range, &response);
    if (status.ok()) {
      server_->Kill();
      return;
    }
    const absl::StatusOr<ExitState> exit = server_->WaitForExit();
    ASSERT_TRUE(exit.ok()) << exit.status();
    EXPECT_EQ(exit->signal, 0) << "a crash:\n" << LastLines(server_->Log(), 30);
    EXPECT_NE(exit->code, 0);
    EXPECT_THAT(server_->Log(), testing::HasSubstr("No space left"));
  }

  // Everything acknowledged is there, and writes work.
  void ExpectAllAfterRestart() {
    const absl::Status restarted = server_->Start();
    ASSERT_TRUE(restarted.ok()) << restarted;
    Client client(server_->address());
    for (int i = 0; i < acknowledged_; ++i) {
      etcdserverpb::RangeRequest range;
      range.set_key(Key(i));
      etcdserverpb::RangeResponse response;
      ASSERT_TRUE(client.Range(range, &response).ok());
      ASSERT_EQ(response.kvs_size(), 1) << Key(i);
      EXPECT_TRUE(response.kvs(0).value() == Value(i)) << Key(i);
    }
    etcdserverpb::PutRequest put;
    put.set_key("after");
    etcdserverpb::PutResponse response;
    grpc::Status status;
    // The alarm outlives the restart, and goes when the server has seen that there is room.
    const auto deadline = std::chrono::steady_clock::now() + kServerDeadline;
    do {
      status = client.Put(put, &response);
    } while (status.error_code() == grpc::RESOURCE_EXHAUSTED &&
             std::chrono::steady_clock::now() < deadline);
    EXPECT_TRUE(status.ok()) << status.error_message();
  }

  static absl::Status* entered_;
  std::string disk_;
  std::optional<Server> server_;
  int acknowledged_ = 0;
};

absl::Status* FullDiskTest::entered_ = nullptr;

TEST_F(FullDiskTest, GrowingDataIsRefusedAndNothingIsLost) {
  const grpc::Status status = PutUntilRefused(kPutsMax);
  ASSERT_LT(acknowledged_, kPutsMax) << "the disk never filled up";
  EXPECT_GT(acknowledged_, 0);
  EXPECT_NE(status.error_message(), "");
  ExpectReadsOrAReason();
  ASSERT_EQ(mount("tmpfs", disk_.c_str(), nullptr, MS_REMOUNT, kLargeDisk), 0) << strerror(errno);
  ExpectAllAfterRestart();
}

// Somebody else takes the last byte, so not even a reserve is left.
TEST_F(FullDiskTest, DiskFilledByOthersLosesNothing) {
  ASSERT_TRUE(PutUntilRefused(20).ok());
  const std::string filler = disk_ + "/filler";
  const int file = open(filler.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_GE(file, 0);
  const std::string block(65536, 'f');
  while (write(file, block.data(), block.size()) > 0) {
  }
  close(file);
  const grpc::Status status = PutUntilRefused(kPutsMax);
  ASSERT_LT(acknowledged_, kPutsMax) << "a full disk took " << acknowledged_ << " MB";
  EXPECT_NE(status.error_message(), "");
  ExpectReadsOrAReason();
  unlink(filler.c_str());
  ExpectAllAfterRestart();
}

}  // namespace
}  // namespace cairn::test
