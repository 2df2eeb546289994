// Clients that ask for more watchers than a member may hold, or never read what they asked for.
// Cairn alone: the bounds and their words are ours.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api/rpc.grpc.pb.h"
#include "test/bench/process_stats.h"
#include "test/harness/client.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;

struct Stream {
  explicit Stream(const Client& client) : stub(etcdserverpb::Watch::NewStub(client.channel())) {
    context.set_deadline(std::chrono::system_clock::now() + kServerDeadline);
    call = stub->Watch(&context);
  }
  ~Stream() {
    context.TryCancel();
    call->Finish();
  }
  void Create(const std::string& key, const std::string& range_end = "") {
    WatchRequest request;
    request.mutable_create_request()->set_key(key);
    request.mutable_create_request()->set_range_end(range_end);
    EXPECT_TRUE(call->Write(request));
  }
  WatchResponse Next() {
    WatchResponse response;
    EXPECT_TRUE(call->Read(&response));
    return response;
  }

  const std::unique_ptr<etcdserverpb::Watch::Stub> stub;
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<WatchRequest, WatchResponse>> call;
};

class WatchLimitsTest : public testing::Test {
 protected:
  void Start(const std::vector<std::string>& flags) {
    ServerOptions options = OptionsFor(ServerUnderTest(), "watch_limits");
    options.extra_flags.insert(options.extra_flags.end(), flags.begin(), flags.end());
    server_ = std::make_unique<Server>(std::move(options));
    const absl::Status started = server_->Start();
    ASSERT_TRUE(started.ok()) << started;
    client_ = std::make_unique<Client>(server_->address());
  }
  void Put(const std::string& key, const std::string& value) {
    etcdserverpb::PutRequest request;
    request.set_key(key);
    request.set_value(value);
    etcdserverpb::PutResponse response;
    const grpc::Status put = client_->Put(request, &response);
    EXPECT_TRUE(put.ok()) << put.error_code() << ": " << put.error_message();
  }
  int64_t ResidentMib() const {
    const absl::StatusOr<uint64_t> bytes = bench::ResidentBytes(server_->pid());
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    return static_cast<int64_t>(*bytes >> 20);
  }

  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
};

// A million asked for, a thousand given: each of the others is told why, and nobody else suffers.
TEST_F(WatchLimitsTest, MoreWatchersThanAreAllowed) {
  Start({"--max-watchers-per-stream=1000", "--max-watchers=1500"});
  const auto ask = [](Stream& stream, int count) {
    std::map<std::string, int> reasons;
    // In portions, as a client has to who reads nothing meanwhile.
    for (int asked = 0; asked < count; asked += 500) {
      for (int i = 0; i < 500; ++i) stream.Create(fmt::format("key{}", asked + i));
      for (int i = 0; i < 500; ++i) {
        const WatchResponse response = stream.Next();
        EXPECT_TRUE(response.created());
        EXPECT_EQ(response.canceled(), response.watch_id() == -1);
        ++reasons[response.cancel_reason()];
      }
    }
    return reasons;
  };
  using Reasons = std::map<std::string, int>;
  const std::string of_stream =
      "cairn: too many watchers on this stream (--max-watchers-per-stream=1000)";
  const std::string of_all = "cairn: too many watchers (--max-watchers=1500)";
  Stream one(*client_);
  EXPECT_EQ(ask(one, 100'000), (Reasons{{"", 1000}, {of_stream, 99'000}}));
  auto two = std::make_unique<Stream>(*client_);
  EXPECT_EQ(ask(*two, 1000), (Reasons{{"", 500}, {of_all, 500}}));
  Put("key0", "x");
  EXPECT_EQ(one.Next().events_size(), 1);
  EXPECT_EQ(two->Next().events_size(), 1);
  // Room comes back with the end of a stream. When the server has seen that is its own affair.
  two.reset();
  Stream three(*client_);
  while (ask(three, 500).contains(of_all) && !HasFailure()) {
  }
}

TEST_F(WatchLimitsTest, LongerRangesThanAreAllowed) {
  // 2 MiB together, since that is the least: what one request can ask for.
  Start({"--max-watchers-per-stream=1000", "--max-watchers=10000"});
  Stream stream(*client_);
  const std::string key(1'000'000, 'k');
  for (const char* suffix : {"a", "b"}) {
    stream.Create(key + suffix);
    EXPECT_FALSE(stream.Next().canceled());
  }
  stream.Create(key + "c");
  EXPECT_EQ(stream.Next().cancel_reason(),
            "cairn: the ranges watched on this stream are too long: more than 2097152 bytes, 160 "
            "for each of --max-watchers-per-stream=1000");
  Stream other(*client_);
  other.Create(key + "d");
  EXPECT_EQ(other.Next().cancel_reason(),
            "cairn: the ranges watched are too long: more than 2097152 bytes, 64 for each of "
            "--max-watchers=10000");
  Put(key + "a", "x");
  EXPECT_EQ(stream.Next().events_size(), 1);
}

// Twenty streams that never read, and what they miss would be two gigabytes.
TEST_F(WatchLimitsTest, StreamsThatNeverReadCostABoundedAmount) {
  Start({});
  constexpr int kStreams = 20;
  constexpr int kPuts = 200;
  const std::string value(size_t{512} << 10, 'v');
  // What writing alone takes.
  for (int i = 0; i < kPuts; ++i) Put("warm", value);
  const int64_t before_mib = ResidentMib();
  std::list<Stream> silent;
  for (int i = 0; i < kStreams; ++i) {
    silent.emplace_back(*client_).Create("a", "b");
    EXPECT_TRUE(silent.back().Next().created());
  }
  Stream reader(*client_);
  reader.Create("a", "b");
  EXPECT_TRUE(reader.Next().created());
  for (int i = 0; i < kPuts; ++i) {
    Put(fmt::format("a{}", i), value);
    // Nobody delays who reads.
    const WatchResponse response = reader.Next();
    ASSERT_EQ(response.events_size(), 1);
    EXPECT_EQ(response.events(0).kv().key(), fmt::format("a{}", i));
  }
  const int64_t grown_mib = ResidentMib() - before_mib;
  fmt::print("{} MiB more\n", grown_mib);
  // What is retained for all, what is queued for all, and as much again for chance.
  EXPECT_LT(grown_mib, 256);
  // Whoever reads at last gets everything, once and in order.
  int next = 0;
  while (next < kPuts) {
    const WatchResponse response = silent.front().Next();
    ASSERT_GT(response.events_size(), 0);
    for (const mvccpb::Event& event : response.events()) {
      ASSERT_EQ(event.kv().key(), fmt::format("a{}", next++));
    }
  }
}

}  // namespace
}  // namespace cairn::test
