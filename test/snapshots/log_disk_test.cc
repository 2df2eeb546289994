// The disk that the log takes stays below its bound through many puts and compactions, also while a
// follower is away: its pin gives way when it needs more than the tail, and a snapshot brings it
// back. Cairn only.
//
//   --megabytes=96     what is put, while the follower is away: more than a leader has in memory
//   --small            segments, tail and what is not flushed yet are small (the short version)
//   --paced            the load waits until the state is flushed: how fast a disk is then says
//                      nothing. Without it the load is as fast as it goes.
#include <fmt/format.h>
#include <gflags/gflags.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "api/admin.grpc.pb.h"
#include "api/rpc.grpc.pb.h"
#include "test/harness/client.h"
#include "test/harness/random.h"
#include "test/harness/test_main.h"

DEFINE_int64(megabytes, 96, "what is put");
DEFINE_bool(small, true, "small segments and a small tail");
DEFINE_bool(paced, true, "wait until the state is flushed");

namespace cairn::test {
namespace {

using admin::v1::Admin;
using admin::v1::LogPin;
using admin::v1::LogResponse;
using std::chrono::steady_clock;

namespace fs = std::filesystem;

constexpr int kMembers = 3;
constexpr int kAway = 2;
constexpr int kWriters = 4;
constexpr size_t kValueBytes = size_t{16} << 10;
// Between two looks.
constexpr int64_t kPutsOfRound = 128;

struct Bounds {
  uint64_t segment_bytes = uint64_t{64} << 20;
  uint64_t tail_entries = 5000;
  uint64_t tail_bytes = uint64_t{128} << 20;
  uint64_t unflushed_entries = 400'000;
  uint64_t unflushed_bytes = uint64_t{64} << 20;

  uint64_t disk_bytes() const {
    const uint64_t unflushed = std::min(unflushed_bytes, unflushed_entries * (kValueBytes + 512));
    return tail_bytes + unflushed + 4 * segment_bytes;
  }
};

Bounds BoundsOfRun() {
  if (!FLAGS_small) return {};
  return {.segment_bytes = uint64_t{1} << 20,
          .tail_entries = 400,
          .tail_bytes = uint64_t{4} << 20,
          .unflushed_entries = 128};
}

class LogDiskTest : public testing::Test {
 protected:
  void StartCluster() {
    std::string initial;
    for (int i = 0; i < kMembers; ++i) {
      servers_[i] =
          std::make_unique<Server>(OptionsFor(ServerUnderTest(), fmt::format("member{}", i)));
      initial += fmt::format("{}n{}={}", i == 0 ? "" : ",", i, servers_[i]->peer_url());
    }
    for (int i = 0; i < kMembers; ++i) {
      std::vector<std::string>& extra = servers_[i]->options().extra_flags;
      extra.push_back(fmt::format("--name=n{}", i));
      extra.push_back("--initial-cluster=" + initial);
      // Accepted, and without effect.
      extra.push_back("--max-wals=1");
      extra.push_back(fmt::format("--wal-segment-bytes={}", bounds_.segment_bytes));
      extra.push_back(fmt::format("--snapshot-catchup-entries={}", bounds_.tail_entries));
      extra.push_back(fmt::format("--snapshot-catchup-bytes={}", bounds_.tail_bytes));
      extra.push_back(fmt::format("--snapshot-count={}", bounds_.unflushed_entries));
    }
    for (const auto& server : servers_) ASSERT_TRUE(server->Launch().ok());
    for (const auto& server : servers_) {
      const absl::Status status = server->WaitUntilAnswering();
      ASSERT_TRUE(status.ok()) << status;
    }
  }

  LogResponse Log(int member) {
    const auto admin = Admin::NewStub(
        grpc::CreateChannel(servers_[member]->address(), grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kServerDeadline);
    LogResponse response;
    const grpc::Status status = admin->Log(&context, {}, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  // Files of the log, the spare and one in the making too.
  uint64_t LogFilesBytes(int member) const {
    uint64_t bytes = 0;
    for (const auto& entry : fs::directory_iterator(servers_[member]->data_dir() + "/wal")) {
      std::error_code gone;
      const uint64_t size = entry.is_regular_file(gone) ? entry.file_size(gone) : 0;
      if (!gone) bytes += size;
    }
    return bytes;
  }

  // Tried again until it is done: a loaded machine holds elections.
  void Put(Client& client, const std::string& key, const std::string& value) {
    etcdserverpb::PutRequest request;
    request.set_key(key);
    request.set_value(value);
    etcdserverpb::PutResponse response;
    const auto deadline = steady_clock::now() + kServerDeadline;
    grpc::Status status = client.Put(request, &response);
    while (!status.ok() && steady_clock::now() < deadline) status = client.Put(request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    revision_ = std::max<int64_t>(revision_, response.header().revision());
  }

  // Some puts from several writers, then a compaction.
  void RunRound() {
    std::vector<std::thread> writers;
    for (int writer = 0; writer < kWriters; ++writer) {
      writers.emplace_back([&, writer] {
        Client client(servers_[writer % kAway]->address());
        Random random(static_cast<uint64_t>(++rounds_));
        for (int i = 0; i < kPutsOfRound / kWriters && !HasFailure(); ++i) {
          Put(client, fmt::format("key{}", i), random.Bytes(kValueBytes));
        }
      });
    }
    for (std::thread& writer : writers) writer.join();
    Client client(servers_[0]->address());
    etcdserverpb::CompactionRequest request;
    request.set_revision(revision_ - kPutsOfRound / 2);
    etcdserverpb::CompactionResponse response;
    client.Compact(request, &response);
  }

  // Until what is not flushed is as little as is promised.
  void WaitForFlush(int member) {
    const auto deadline = steady_clock::now() + kServerDeadline;
    while (steady_clock::now() < deadline) {
      const LogResponse log = Log(member);
      if (log.last_index() < log.marker_index() + bounds_.unflushed_entries) return;
      servers_[member]->LetRun(std::chrono::milliseconds(10));
    }
    FAIL() << "nothing is flushed";
  }

  // Every member has the same history, through a write that all have to know.
  void ExpectEqual() {
    Client first(servers_[0]->address());
    Put(first, "last", "word");
    std::array<uint32_t, kMembers> hashes = {};
    for (int i = 0; i < kMembers; ++i) {
      const absl::Status status = servers_[i]->WaitUntilAnswering();
      ASSERT_TRUE(status.ok()) << status;
      Client client(servers_[i]->address());
      etcdserverpb::RangeRequest request;
      request.set_key("last");
      etcdserverpb::RangeResponse response;
      ASSERT_TRUE(client.Range(request, &response).ok());
      ASSERT_EQ(response.kvs_size(), 1);
      etcdserverpb::HashKVRequest hash;
      hash.set_revision(revision_);
      etcdserverpb::HashKVResponse hashed;
      const grpc::Status found = client.HashKV(hash, &hashed);
      ASSERT_TRUE(found.ok()) << found.error_message();
      hashes[i] = hashed.hash();
    }
    EXPECT_EQ(hashes[0], hashes[1]);
    EXPECT_EQ(hashes[0], hashes[2]);
  }

  // The leader's pin of the one that is away, by kind; none on the other.
  std::vector<LogPin> FollowerPins() {
    std::vector<LogPin> pins;
    for (int member = 0; member < kAway; ++member) {
      const auto log = Log(member);
      for (const LogPin& pin : log.pins()) {
        if (pin.kind() == LogPin::FOLLOWER) pins.push_back(pin);
      }
    }
    return pins;
  }

  const Bounds bounds_ = BoundsOfRun();
  std::atomic<int64_t> revision_ = 0;
  std::atomic<int> rounds_ = 0;
  std::array<std::unique_ptr<Server>, kMembers> servers_;
};

TEST_F(LogDiskTest, StaysBelowItsBoundWhileAFollowerIsAway) {
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  ASSERT_NO_FATAL_FAILURE(RunRound());
  servers_[kAway]->Kill();
  uint64_t most_bytes = 0;
  const int64_t puts = (FLAGS_megabytes << 20) / static_cast<int64_t>(kValueBytes);
  for (int64_t done = 0; done < puts; done += kPutsOfRound) {
    ASSERT_NO_FATAL_FAILURE(RunRound());
    for (int member = 0; member < kAway; ++member) {
      if (FLAGS_paced) {
        ASSERT_NO_FATAL_FAILURE(WaitForFlush(member));
      }
      const uint64_t bytes = LogFilesBytes(member);
      most_bytes = std::max(most_bytes, bytes);
      ASSERT_LE(bytes, bounds_.disk_bytes()) << "member " << member << " after " << done << " puts";
    }
  }
  fmt::print("put {} MiB; the log took {} MiB at most, the bound is {} MiB\n", FLAGS_megabytes,
             most_bytes >> 20, bounds_.disk_bytes() >> 20);
  for (int member = 0; member < kAway; ++member) {
    EXPECT_GT(Log(member).segments_removed(), 0u);
  }
  // Two followers of one leader, one of which has given way and lags by more than the tail.
  const std::vector<LogPin> pins = FollowerPins();
  ASSERT_EQ(pins.size(), 2u);
  EXPECT_EQ(
      std::count_if(pins.begin(), pins.end(), [](const LogPin& pin) { return pin.is_kept(); }), 1);

  ASSERT_TRUE(servers_[kAway]->Launch().ok());
  ASSERT_NO_FATAL_FAILURE(ExpectEqual());
  // What is logged is written a moment later.
  const auto deadline = steady_clock::now() + kServerDeadline;
  const auto is_in_force = [&] {
    return servers_[kAway]->Log().find("is in force") != std::string::npos;
  };
  while (!is_in_force() && steady_clock::now() < deadline) {
    servers_[kAway]->LetRun(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(is_in_force()) << "no snapshot: " << servers_[kAway]->Log();
  for (int member = 0; member < kMembers; ++member) {
    ASSERT_NO_FATAL_FAILURE(WaitForFlush(member));
  }
}

}  // namespace
}  // namespace cairn::test
