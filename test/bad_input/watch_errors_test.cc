// What a Watch stream may be asked for wrongly: every refusal with its words, and that the stream
// and its other watchers live on. Against Cairn and against a real etcd.
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "api/rpc.grpc.pb.h"
#include "test/harness/client.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

using etcdserverpb::WatchCreateRequest;
using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;

constexpr int64_t kInt64Max = std::numeric_limits<int64_t>::max();
constexpr int64_t kInt64Min = std::numeric_limits<int64_t>::min();

class Stream {
 public:
  explicit Stream(const Client& client) : stub_(etcdserverpb::Watch::NewStub(client.channel())) {
    context_.set_deadline(std::chrono::system_clock::now() + kServerDeadline);
    stream_ = stub_->Watch(&context_);
  }
  ~Stream() {
    context_.TryCancel();
    stream_->Finish();
  }

  void Create(const std::string& key, const std::string& range_end = "", int64_t id = 0,
              int64_t start = 0) {
    WatchRequest request;
    WatchCreateRequest& create = *request.mutable_create_request();
    create.set_key(key);
    create.set_range_end(range_end);
    create.set_watch_id(id);
    create.set_start_revision(start);
    EXPECT_TRUE(stream_->Write(request));
  }
  void Cancel(int64_t id) {
    WatchRequest request;
    request.mutable_cancel_request()->set_watch_id(id);
    EXPECT_TRUE(stream_->Write(request));
  }
  void SayNothing() { EXPECT_TRUE(stream_->Write(WatchRequest())); }

  WatchResponse Next() {
    WatchResponse response;
    EXPECT_TRUE(stream_->Read(&response));
    return response;
  }
  void ExpectCreated(int64_t id) {
    const WatchResponse response = Next();
    EXPECT_TRUE(response.created() && !response.canceled()) << response.ShortDebugString();
    EXPECT_EQ(response.watch_id(), id);
  }
  void ExpectRefused(const std::string& reason) {
    const WatchResponse response = Next();
    EXPECT_TRUE(response.created() && response.canceled()) << response.ShortDebugString();
    EXPECT_EQ(response.watch_id(), -1);
    EXPECT_EQ(response.cancel_reason(), reason);
    EXPECT_GT(response.header().revision(), 0);
  }
  void ExpectCanceled(int64_t id) {
    const WatchResponse response = Next();
    EXPECT_TRUE(response.canceled() && !response.created()) << response.ShortDebugString();
    EXPECT_EQ(response.watch_id(), id);
    EXPECT_EQ(response.cancel_reason(), "");
    EXPECT_EQ(response.compact_revision(), 0);
  }
  void ExpectEvent(int64_t id, const std::string& key) {
    const WatchResponse response = Next();
    ASSERT_EQ(response.events_size(), 1) << response.ShortDebugString();
    EXPECT_EQ(response.watch_id(), id);
    EXPECT_EQ(response.events(0).kv().key(), key);
  }

 private:
  const std::unique_ptr<etcdserverpb::Watch::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<WatchRequest, WatchResponse>> stream_;
};

class WatchErrorsTest : public testing::Test {
 protected:
  WatchErrorsTest() : server_(OptionsFor(ServerUnderTest(), "watch_errors")) {}
  void SetUp() override {
    const absl::Status started = server_.Start();
    ASSERT_TRUE(started.ok()) << started;
    client_ = std::make_unique<Client>(server_.address());
  }
  int64_t Put(const std::string& key) {
    etcdserverpb::PutRequest request;
    request.set_key(key);
    etcdserverpb::PutResponse response;
    EXPECT_TRUE(client_->Put(request, &response).ok());
    return response.header().revision();
  }
  bool IsAtLeast(const EtcdVersion& version) {
    etcdserverpb::StatusResponse status;
    EXPECT_TRUE(client_->StatusOf(&status).ok());
    return ParseVersion(status.version()) >= version;
  }

  Server server_;
  std::unique_ptr<Client> client_;
};

TEST_F(WatchErrorsTest, EmptyAndInvertedRanges) {
  Stream stream(*client_);
  stream.Create("a");
  stream.ExpectCreated(0);
  stream.Create("b", "b");
  stream.ExpectRefused("mvcc: watcher range is empty");
  stream.Create("b", "a");
  stream.ExpectRefused("mvcc: watcher range is empty");
  stream.Create("b", "a", /*id=*/5, /*start=*/1);
  stream.ExpectRefused("mvcc: watcher range is empty");
  // No key is the key of one zero byte, and its range ends after it.
  stream.Create("", std::string(1, '\x01'));
  stream.ExpectCreated(1);
  Put("a");
  stream.ExpectEvent(0, "a");
}

TEST_F(WatchErrorsTest, IdsInUse) {
  Stream stream(*client_);
  const std::string reason = "mvcc: duplicate watch ID provided on the WatchStream";
  for (const int64_t id : {int64_t{7}, int64_t{-1}, kInt64Max, kInt64Min}) {
    stream.Create("a" + std::to_string(id), "", id);
    stream.ExpectCreated(id);
    stream.Create("b", "", id);
    stream.ExpectRefused(reason);
  }
  Put("b");
  Put("a7");
  stream.ExpectEvent(7, "a7");
  // Another stream has ids of its own; and a cancelled one is free.
  Stream other(*client_);
  other.Create("b", "", 7);
  other.ExpectCreated(7);
  stream.Cancel(7);
  stream.ExpectCanceled(7);
  stream.Create("b", "", 7);
  stream.ExpectCreated(7);
  Put("b");
  stream.ExpectEvent(7, "b");
  other.ExpectEvent(7, "b");
}

TEST_F(WatchErrorsTest, NegativeStarts) {
  if (!IsAtLeast({3, 6, 6})) GTEST_SKIP() << "older versions take them for 1";
  Stream stream(*client_);
  for (const int64_t start : {int64_t{-1}, int64_t{-1000}, kInt64Min}) {
    stream.Create("a", "", 3, start);
    stream.ExpectRefused("etcdserver: mvcc: required revision has been compacted");
  }
  stream.Create("a", "", 3);
  stream.ExpectCreated(3);
}

TEST_F(WatchErrorsTest, HugeStartsWait) {
  Stream stream(*client_);
  for (const int64_t start : {kInt64Max, kInt64Max - 1, int64_t{1} << 40}) {
    stream.Create("a", "", 0, start);
  }
  for (int64_t id = 0; id < 3; ++id) stream.ExpectCreated(id);
  stream.Create("a");
  stream.ExpectCreated(3);
  Put("a");
  stream.ExpectEvent(3, "a");
  stream.Cancel(0);
  stream.ExpectCanceled(0);
}

TEST_F(WatchErrorsTest, CompactedStarts) {
  for (int i = 0; i < 4; ++i) Put("a");
  etcdserverpb::CompactionRequest compaction;
  compaction.set_revision(4);
  etcdserverpb::CompactionResponse compacted;
  ASSERT_TRUE(client_->Compact(compaction, &compacted).ok());
  Stream stream(*client_);
  stream.Create("b");
  stream.ExpectCreated(0);
  stream.Create("a", "", 0, 3);
  stream.ExpectCreated(1);
  const WatchResponse response = stream.Next();
  EXPECT_TRUE(response.canceled() && !response.created());
  EXPECT_EQ(response.watch_id(), 1);
  EXPECT_EQ(response.compact_revision(), 4);
  EXPECT_EQ(response.cancel_reason(), "");
  Put("b");
  stream.ExpectEvent(0, "b");
}

TEST_F(WatchErrorsTest, CancelOfWhatIsNotThere) {
  Stream stream(*client_);
  stream.Create("a");
  stream.ExpectCreated(0);
  for (const int64_t id : {int64_t{1}, int64_t{-1}, int64_t{99}, kInt64Max, kInt64Min}) {
    stream.Cancel(id);
  }
  stream.SayNothing();
  stream.Create("b");
  // Silence, then this.
  stream.ExpectCreated(1);
  stream.Cancel(1);
  stream.Cancel(1);
  stream.Cancel(0);
  stream.ExpectCanceled(1);
  stream.ExpectCanceled(0);
  stream.Create("b");
  stream.ExpectCreated(2);
}

// The call fails; whoever else is on the connection does not notice.
TEST_F(WatchErrorsTest, BytesThatAreNoRequest) {
  Stream neighbour(*client_);
  neighbour.Create("a");
  neighbour.ExpectCreated(0);
  for (const std::string& bytes : {std::string("\xff\xff\xff\xff"),
                                   std::string("\x0a\x7f"
                                               "cut"),
                                   std::string(100'000, '\x0b')}) {
    grpc::CompletionQueue queue;
    grpc::GenericStub stub(client_->channel());
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kServerDeadline);
    const auto call = stub.PrepareCall(&context, "/etcdserverpb.Watch/Watch", &queue);
    const auto wait = [&queue] {
      void* tag = nullptr;
      bool ok = false;
      queue.Next(&tag, &ok);
      return ok;
    };
    call->StartCall(nullptr);
    ASSERT_TRUE(wait());
    const grpc::Slice slice(bytes);
    call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    ASSERT_TRUE(wait());
    grpc::Status status;
    call->Finish(&status, nullptr);
    wait();
    EXPECT_EQ(status.error_code(), grpc::INTERNAL) << status.error_message();
  }
  Put("a");
  neighbour.ExpectEvent(0, "a");
}

}  // namespace
}  // namespace cairn::test
