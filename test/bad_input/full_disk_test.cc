// The disk fills up while the server runs: writes are refused or the server stops with a message;
// what was acknowledged is there when there is room again. Cairn only.
//
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <string>

#include "base/status.h"
#include "test/harness/client.h"
#include "test/harness/random.h"
#include "test/harness/small_disk.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

// Room for the log's segments that are made ahead, for what the server keeps in reserve, and for
// some data.
constexpr int kSmallDiskMib = 400;
constexpr int kLargeDiskMib = 1500;
constexpr size_t kValueBytes = 1'000'000;
// More than the disk can hold.
constexpr int kPutsMax = 700;

// Values that no compression makes smaller, the same for the same number.
std::string Value(int number) { return Random(static_cast<uint64_t>(number)).Bytes(kValueBytes); }

std::string Key(int number) { return fmt::format("k{:03}", number); }

class FullDiskTest : public testing::Test {
 protected:
  FullDiskTest() : disk_(MakeTempDir("full-disk")) {}

  void SetUp() override {
    absl::Status ready = EnterMountNamespace();
    if (ready.ok()) ready = disk_.SetSize(kSmallDiskMib);
    if (!ready.ok()) {
      ReportSkipped(base::Message(ready));
      GTEST_SKIP() << ready;
    }
    ServerOptions options = OptionsFor(ServerUnderTest(), "full-disk");
    options.data_dir = disk_.path() + "/data";
    server_.emplace(std::move(options));
    const absl::Status started = server_->Start();
    ASSERT_TRUE(started.ok()) << started;
  }

  void TearDown() override { server_.reset(); }

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

  SmallDisk disk_;
  std::optional<Server> server_;
  int acknowledged_ = 0;
};

TEST_F(FullDiskTest, GrowingDataIsRefusedAndNothingIsLost) {
  const grpc::Status status = PutUntilRefused(kPutsMax);
  ASSERT_LT(acknowledged_, kPutsMax) << "the disk never filled up";
  EXPECT_GT(acknowledged_, 0);
  EXPECT_NE(status.error_message(), "");
  ExpectReadsOrAReason();
  const absl::Status resized = disk_.SetSize(kLargeDiskMib);
  ASSERT_TRUE(resized.ok()) << resized;
  ExpectAllAfterRestart();
}

// Somebody else takes the last byte, so not even a reserve is left.
TEST_F(FullDiskTest, DiskFilledByOthersLosesNothing) {
  ASSERT_TRUE(PutUntilRefused(20).ok());
  const std::string filler = disk_.path() + "/filler";
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
