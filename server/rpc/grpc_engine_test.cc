// The grpc++ engine through a real client on a loopback port.
#include "server/rpc/grpc_engine.h"

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <fmt/format.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/status.h"
#include "server/rpc/grpc_engine_fixture.h"
#include "server/rpc/grpc_test_client.h"
#include "server/rpc/open_calls.h"

namespace cairn::rpc {
namespace {

using std::chrono::steady_clock;

constexpr size_t kReceiveLimit = 2'097'152;

// A directory with a path short enough for a socket, gone at the end.
class ShortDirectory {
 public:
  ~ShortDirectory() { std::filesystem::remove_all(path_); }
  std::string Socket() const { return fmt::format("unix:{}/socket", path_); }

 private:
  static std::string Make() {
    char name[] = "/tmp/cairn-rpc-XXXXXX";
    return mkdtemp(name) == nullptr ? "" : name;
  }
  const std::string path_ = Make();
};

TEST_F(GrpcEngineTest, UnaryCarriesBytesMetadataDeadlineAndPeer) {
  StartEngine();
  TestClient client(Target());
  std::string response;
  for (const std::string& request :
       {std::string(), std::string("\0x\xff", 3), std::string(100'000, 'r')}) {
    EXPECT_TRUE(client.Unary("/test.S/Echo", request, &response).ok());
    EXPECT_EQ(response, request);
  }
  grpc::ClientContext context;
  context.AddMetadata("token", "t.1");
  context.AddMetadata("hasleader", "true");
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  auto done = std::async(std::launch::async,
                         [&] { return client.Unary("/test.S/Park", "q", &response, &context); });
  auto calls = parked_.Take(1);
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(calls[0]->path(), "/test.S/Park");
  EXPECT_EQ(calls[0]->Find("token"), "t.1");
  EXPECT_EQ(calls[0]->Find("hasleader"), "true");
  EXPECT_EQ(calls[0]->Find("client-api-version"), std::nullopt);
  EXPECT_TRUE(calls[0]->peer().starts_with("127.0.0.1:")) << calls[0]->peer();
  ASSERT_TRUE(calls[0]->deadline().has_value());
  const auto left = *calls[0]->deadline() - steady_clock::now();
  // gRPC rounds it up on the wire.
  EXPECT_LE(left, kPatience + std::chrono::seconds(1));
  EXPECT_GT(left, kPatience / 2);
  EXPECT_FALSE(calls[0]->cancelled());
  calls[0]->Finish(SliceList(std::string("answer")));
  EXPECT_TRUE(done.get().ok());
  EXPECT_EQ(response, "answer");

  auto without = std::async(std::launch::async, [&] { return client.Unary("/test.S/Park", ""); });
  calls = parked_.Take(1);
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(calls[0]->deadline(), std::nullopt);
  calls[0]->Finish(SliceList());
  EXPECT_TRUE(without.get().ok());
}

TEST_F(GrpcEngineTest, StatusesPassUntouched) {
  StartEngine();
  TestClient client(Target());
  for (int code = 1; code <= 16; ++code) {
    auto done = std::async(std::launch::async, [&] { return client.Unary("/test.S/Park", ""); });
    const std::string text = fmt::format("etcdserver: text of {}: \u00e4, 100%\n", code);
    for (auto& call : parked_.Take(1)) {
      call->Finish(base::MakeStatus(static_cast<absl::StatusCode>(code), text));
    }
    const grpc::Status status = done.get();
    EXPECT_EQ(status.error_code(), code);
    EXPECT_EQ(status.error_message(), text);
  }
}

TEST_F(GrpcEngineTest, UnknownPathsAreNamed) {
  StartEngine();
  TestClient client(Target());
  const grpc::Status method = client.Unary("/test.S/Nothing", "x");
  EXPECT_EQ(method.error_code(), grpc::UNIMPLEMENTED);
  EXPECT_EQ(method.error_message(), "unknown method Nothing for service test.S");
  const grpc::Status service = client.Unary("/test.T/Echo", "x");
  EXPECT_EQ(service.error_code(), grpc::UNIMPLEMENTED);
  EXPECT_EQ(service.error_message(), "unknown service test.T");
}

TEST_F(GrpcEngineTest, DroppedCallsAreAnswered) {
  StartEngine();
  TestClient client(Target());
  const grpc::Status unary = client.Unary("/test.S/Drop", "");
  EXPECT_EQ(unary.error_code(), grpc::INTERNAL);
  EXPECT_EQ(unary.error_message(), kAbandonedText);
  grpc::ClientContext context;
  const grpc::Status stream = client.Start("/test.S/DropStream", &context)->Finish();
  EXPECT_EQ(stream.error_code(), grpc::INTERNAL);
  EXPECT_EQ(stream.error_message(), kAbandonedText);
}

TEST_F(GrpcEngineTest, UnaryWithoutARequest) {
  StartEngine();
  TestClient client(Target());
  grpc::ClientContext context;
  auto call = client.Start("/test.S/Echo", &context);
  call->WritesDone();
  const grpc::Status status = call->Finish();
  EXPECT_FALSE(status.ok());
}

TEST_F(GrpcEngineTest, OversizeMessagesAreRefused) {
  StartEngine();
  TestClient client(Target());
  std::string response;
  EXPECT_TRUE(client.Unary("/test.S/Echo", std::string(kReceiveLimit, 'l'), &response).ok());
  EXPECT_EQ(response.size(), kReceiveLimit);
  for (const size_t size : {kReceiveLimit + 1, size_t{5'000'000}, size_t{30'000'000}}) {
    const std::string message(size, 'x');
    const std::string text =
        fmt::format("grpc: received message larger than max ({} vs. {})", size, kReceiveLimit);
    const grpc::Status unary = client.Unary("/test.S/Echo", message);
    EXPECT_EQ(unary.error_code(), grpc::RESOURCE_EXHAUSTED);
    EXPECT_EQ(unary.error_message(), text);

    grpc::ClientContext context;
    auto stream = client.Start("/test.S/EchoStream", &context);
    stream->Write(BufferOf(message));
    const grpc::Status status = stream->Finish();
    EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
    EXPECT_EQ(status.error_message(), text);
  }
  EXPECT_TRUE(client.Unary("/test.S/Echo", "still here").ok());
}

TEST_F(GrpcEngineTest, CompressedMessagesAreRefusedUnpacked) {
  StartEngine();
  TestClient client(Target());
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  const grpc::Status status =
      client.Unary("/test.S/Echo", std::string(1'000'000, 'z'), nullptr, &context);
  EXPECT_EQ(status.error_code(), grpc::UNIMPLEMENTED);
  EXPECT_EQ(status.error_message(),
            "grpc: Decompressor is not installed for grpc-encoding \"gzip\"");
}

TEST_F(GrpcEngineTest, DeadlineCancelsAndALateAnswerIsAccepted) {
  StartEngine();
  TestClient client(Target());
  grpc::ClientContext context;
  context.AddMetadata("token", "t.2");
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
  auto done = std::async(std::launch::async, [&] {
    return client.Unary("/test.S/Park", "request", nullptr, &context);
  });
  auto calls = parked_.Take(1);
  ASSERT_EQ(calls.size(), 1u);
  std::promise<void> cancelled;
  calls[0]->OnCancel([&cancelled] { cancelled.set_value(); });
  EXPECT_EQ(done.get().error_code(), grpc::DEADLINE_EXCEEDED);
  ASSERT_EQ(cancelled.get_future().wait_for(kPatience), std::future_status::ready);
  // Stopping waits until gRPC has let go of the call; what the client sent is still there.
  engine_.reset();
  EXPECT_TRUE(calls[0]->cancelled());
  EXPECT_EQ(calls[0]->request(), "request");
  EXPECT_EQ(calls[0]->Find("token"), "t.2");
  EXPECT_TRUE(calls[0]->peer().starts_with("127.0.0.1:"));
  EXPECT_TRUE(calls[0]->deadline().has_value());
  calls[0]->Finish(SliceList(std::string("late")));
}

TEST_F(GrpcEngineTest, ClientCancelsMidCall) {
  StartEngine();
  TestClient client(Target());
  grpc::ClientContext unary_context;
  auto unary = std::async(std::launch::async, [&] {
    return client.Unary("/test.S/Park", "", nullptr, &unary_context);
  });
  auto calls = parked_.Take(1);
  grpc::ClientContext stream_context;
  auto stream = client.Start("/test.S/ParkStream", &stream_context);
  auto streams = streams_.Take(1);
  ASSERT_EQ(calls.size() + streams.size(), 2u);
  std::promise<void> unary_told;
  std::promise<void> stream_told;
  std::promise<ReadResult> read;
  calls[0]->OnCancel([&] { unary_told.set_value(); });
  streams[0]->OnCancel([&] { stream_told.set_value(); });
  streams[0]->Read([&](ReadResult result, std::string_view) { read.set_value(result); });
  unary_context.TryCancel();
  stream_context.TryCancel();
  EXPECT_EQ(unary.get().error_code(), grpc::CANCELLED);
  EXPECT_EQ(stream->Finish().error_code(), grpc::CANCELLED);
  ASSERT_EQ(unary_told.get_future().wait_for(kPatience), std::future_status::ready);
  ASSERT_EQ(stream_told.get_future().wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(read.get_future().get(), ReadResult::kCancelled);
  EXPECT_TRUE(streams[0]->cancelled());
  EXPECT_TRUE(streams[0]->Write(SliceList(std::string(1 << 22, 'x'))));
  streams[0]->Finish(absl::OkStatus());
  calls[0]->Finish(base::MakeStatus(absl::StatusCode::kUnavailable, "late"));
}

TEST_F(GrpcEngineTest, HalfCloseStillTakesMessages) {
  StartEngine();
  TestClient client(Target());
  grpc::ClientContext context;
  auto stream = client.Start("/test.S/EchoStream", &context);
  grpc::ByteBuffer received;
  for (const char* text : {"one", "", "three"}) {
    ASSERT_TRUE(stream->Write(BufferOf(text)));
    ASSERT_TRUE(stream->Read(&received));
    EXPECT_EQ(BytesOf(received), text);
  }
  stream->WritesDone();
  ASSERT_TRUE(stream->Read(&received));
  EXPECT_EQ(BytesOf(received), "farewell");
  EXPECT_FALSE(stream->Read(&received));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(GrpcEngineTest, OpenCallsAreInTheBook) {
  const auto begin = steady_clock::now();
  OpenCalls open_calls;
  StartEngine({.open_calls = &open_calls});
  const auto open = [&open_calls] {
    std::vector<OpenCallView> all;
    open_calls.Look([&all](const OpenCallView& view) { all.push_back(view); });
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
    return all;
  };
  TestClient client(Target());
  EXPECT_TRUE(client.Unary("/test.S/Echo", "").ok());
  auto done = std::async(std::launch::async, [&] { return client.Unary("/test.S/Park", ""); });
  grpc::ClientContext context;
  auto stream = client.Start("/test.S/ParkStream", &context);
  auto calls = parked_.Take(1);
  auto streams = streams_.Take(1);
  ASSERT_EQ(calls.size() + streams.size(), 2u);
  std::vector<OpenCallView> views = open();
  // The end of the first call may still be on its way.
  while (views.size() > 2) views = open();
  ASSERT_EQ(views.size(), 2u);
  EXPECT_EQ(views[0].path, "/test.S/Park");
  EXPECT_EQ(views[1].path, "/test.S/ParkStream");
  EXPECT_FALSE(views[0].is_stream);
  EXPECT_TRUE(views[1].is_stream);
  for (const OpenCallView& view : views) {
    EXPECT_TRUE(view.peer.starts_with("127.0.0.1:")) << view.peer;
    EXPECT_GE(view.began, begin);
    EXPECT_LE(view.began, steady_clock::now());
  }
  EXPECT_EQ(views[0].peer, views[1].peer);
  calls[0]->Finish(SliceList());
  streams[0]->Finish(absl::OkStatus());
  EXPECT_TRUE(done.get().ok());
  EXPECT_TRUE(stream->Finish().ok());
  engine_.reset();
  EXPECT_TRUE(open().empty());
}

TEST_F(GrpcEngineTest, SlowReaderHoldsTheWriterBack) {
  constexpr size_t kMessageBytes = 65'536;
  constexpr int kMessages = 400;
  StartEngine({.stream_high_water_bytes = 1 << 19});
  TestClient client(Target());
  grpc::ClientContext context;
  auto stream = client.Start("/test.S/ParkStream", &context);
  auto streams = streams_.Take(1);
  ASSERT_EQ(streams.size(), 1u);
  const Slice shared = Slice::FromString(std::string(kMessageBytes, 's'));
  // Writes until told to wait, again when told to go on.
  struct Writer {
    std::shared_ptr<StreamCall> call;
    Slice shared;
    std::atomic<int> written = 0;
    std::atomic<int> waits = 0;
    std::atomic<int64_t> most_queued = 0;
    void Go() {
      while (written < kMessages) {
        ++written;
        const bool more = call->Write(SliceList(shared));
        most_queued = std::max<int64_t>(most_queued, call->queued_bytes());
        if (!more) {
          ++waits;
          call->OnWritable([this] { Go(); });
          return;
        }
      }
      call->Finish(absl::OkStatus());
    }
  } writer{.call = streams[0], .shared = shared};
  writer.Go();
  EXPECT_LT(writer.written, kMessages / 2);
  EXPECT_GE(writer.waits, 1);
  grpc::ByteBuffer received;
  int count = 0;
  while (stream->Read(&received)) {
    EXPECT_EQ(received.Length(), kMessageBytes);
    ++count;
  }
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(count, kMessages);
  EXPECT_GE(writer.waits, 2);
  EXPECT_LE(writer.most_queued, (1 << 19) + 2 * static_cast<int64_t>(kMessageBytes));
}

TEST_F(GrpcEngineTest, LargeResponseOfManySharedSlices) {
  StartEngine();
  TestClient client(Target());
  std::string response;
  auto done =
      std::async(std::launch::async, [&] { return client.Unary("/test.S/Park", "", &response); });
  std::string expected;
  SliceList list;
  for (int i = 0; i < 20; ++i) {
    const Slice chunk = Slice::FromString(std::string(1 << 20, static_cast<char>('a' + i)));
    expected += chunk.bytes();
    list.Append(chunk);
  }
  for (auto& call : parked_.Take(1)) call->Finish(std::move(list));
  EXPECT_TRUE(done.get().ok());
  EXPECT_EQ(response, expected);
}

// A client that takes nothing of what it asked for.
class StoppedClient {
 public:
  StoppedClient(grpc::GenericStub& stub, const std::string& path) {
    call_ = stub.PrepareCall(&context_, path, &queue_);
    call_->StartCall(this);
    Wait();
    const grpc::Slice nothing;
    call_->WriteLast(grpc::ByteBuffer(&nothing, 1), grpc::WriteOptions(), this);
    Wait();
  }
  ~StoppedClient() {
    context_.TryCancel();
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }

  // Takes what has come after all, and hears how the call ended.
  grpc::Status Finish() {
    grpc::ByteBuffer message;
    do {
      call_->Read(&message, this);
    } while (Wait());
    grpc::Status status;
    call_->Finish(&status, this);
    Wait();
    return status;
  }

 private:
  bool Wait() {
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue_.Next(&tag, &ok));
    return ok;
  }

  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
};

// More than a client's side of gRPC takes unasked.
SliceList LargeMessage(std::weak_ptr<const void>& watched) {
  auto bytes = std::make_shared<const std::string>(size_t{16} << 20, 'v');
  watched = bytes;
  const std::string_view view = *bytes;
  return SliceList(Slice(std::move(bytes), view));
}

void WaitUntilGone(const std::weak_ptr<const void>& watched) {
  const auto limit = std::chrono::steady_clock::now() + kPatience;
  while (!watched.expired() && std::chrono::steady_clock::now() < limit) {
    std::this_thread::yield();
  }
  EXPECT_TRUE(watched.expired());
}

TEST_F(GrpcEngineTest, AnswersThatDoNotLeaveAreEndedWhenOthersWait) {
  OpenCalls open_calls;
  GrpcEngineOptions options;
  options.open_calls = &open_calls;
  StartEngine(options);
  {
    grpc::GenericStub stub(grpc::CreateChannel(Target(), grpc::InsecureChannelCredentials()));
    StoppedClient unary(stub, "/test.S/Park");
    StoppedClient limited(stub, "/test.S/ParkStream");
    std::weak_ptr<const void> unary_bytes;
    std::weak_ptr<const void> limited_bytes;
    std::weak_ptr<const void> queued_bytes;
    std::weak_ptr<const void> unlimited_bytes;
    for (auto& call : parked_.Take(1)) call->Finish(LargeMessage(unary_bytes));
    const auto limited_calls = streams_.Take(1);
    limited_calls[0]->LimitSendTime();
    limited_calls[0]->Write(LargeMessage(limited_bytes));
    limited_calls[0]->Write(LargeMessage(queued_bytes));
    StoppedClient unlimited(stub, "/test.S/ParkStream");
    const auto unlimited_calls = streams_.Take(1);
    unlimited_calls[0]->Write(LargeMessage(unlimited_bytes));
    // They may take their time.
    open_calls.EndOverdue(std::chrono::steady_clock::now());
    EXPECT_FALSE(unary_bytes.expired() || limited_bytes.expired() || queued_bytes.expired());
    open_calls.EndOverdue(std::chrono::steady_clock::now() + std::chrono::hours(1));
    WaitUntilGone(unary_bytes);
    WaitUntilGone(limited_bytes);
    WaitUntilGone(queued_bytes);
    EXPECT_TRUE(limited_calls[0]->cancelled());
    limited_calls[0]->Finish(absl::OkStatus());
    // A stream that holds nothing of others is let be.
    EXPECT_FALSE(unlimited_bytes.expired() || unlimited_calls[0]->cancelled());
    unlimited_calls[0]->Finish(absl::OkStatus());
    for (StoppedClient* client : {&unary, &limited}) {
      const grpc::Status status = client->Finish();
      EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
      EXPECT_EQ(status.error_message(), kOverdueText);
    }
  }
  engine_.reset();
}

TEST_F(GrpcEngineTest, AStreamThatIsEndedNowKeepsNothingOfWhatItsClientDoesNotTake) {
  StartEngine();
  {
    grpc::GenericStub stub(grpc::CreateChannel(Target(), grpc::InsecureChannelCredentials()));
    StoppedClient client(stub, "/test.S/ParkStream");
    const auto calls = streams_.Take(1);
    ASSERT_EQ(calls.size(), 1u);
    std::weak_ptr<const void> leaving;
    std::weak_ptr<const void> queued;
    calls[0]->Write(LargeMessage(leaving));
    calls[0]->Write(LargeMessage(queued));
    std::promise<void> writable;
    calls[0]->OnWritable([&writable] { writable.set_value(); });
    calls[0]->AbortNow(base::MakeStatus(absl::StatusCode::kAborted, "taken by nobody"));
    writable.get_future().wait();
    EXPECT_TRUE(calls[0]->cancelled());
    // While the client stays, and before the service has done its part.
    WaitUntilGone(leaving);
    WaitUntilGone(queued);
    calls[0]->Finish(absl::OkStatus());
    const grpc::Status status = client.Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
    EXPECT_EQ(status.error_message(), "taken by nobody");
  }
  {
    // With nothing on its way it is an end like another.
    TestClient client(Target());
    grpc::ClientContext context;
    auto stream = client.Start("/test.S/ParkStream", &context);
    const auto calls = streams_.Take(1);
    ASSERT_EQ(calls.size(), 1u);
    calls[0]->AbortNow(base::MakeStatus(absl::StatusCode::kAborted, "at once"));
    calls[0]->Finish(absl::OkStatus());
    const grpc::Status status = stream->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
    EXPECT_EQ(status.error_message(), "at once");
  }
  engine_.reset();
}

TEST_F(GrpcEngineTest, ThousandCallsAtATime) {
  constexpr int kCalls = 1000;
  constexpr int kConnections = 10;
  StartEngine();
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < kConnections; ++i) clients.push_back(std::make_unique<TestClient>(Target()));
  struct Pending {
    grpc::ClientContext context;
    grpc::ByteBuffer response;
    grpc::Status status;
    std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
  };
  grpc::CompletionQueue queue;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs;
  for (const auto& client : clients) {
    stubs.push_back(std::make_unique<grpc::GenericStub>(client->channel()));
  }
  std::vector<Pending> pending(kCalls);
  for (int i = 0; i < kCalls; ++i) {
    Pending& call = pending[i];
    call.reader = stubs[i % kConnections]->PrepareUnaryCall(&call.context, "/test.S/Park",
                                                            BufferOf(std::to_string(i)), &queue);
    call.reader->StartCall();
    call.reader->Finish(&call.response, &call.status, &call);
  }
  // All are held at once, then answered from two threads that are not gRPC's.
  auto calls = parked_.Take(kCalls);
  ASSERT_EQ(calls.size(), static_cast<size_t>(kCalls));
  const auto answer = [&calls](size_t first, size_t limit) {
    for (size_t i = first; i < limit; ++i) {
      calls[i]->Finish(SliceList(std::string(calls[i]->request()) + "!"));
    }
  };
  std::thread half([&answer] { answer(0, kCalls / 2); });
  answer(kCalls / 2, kCalls);
  half.join();
  for (int i = 0; i < kCalls; ++i) {
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue.Next(&tag, &ok));
  }
  for (int i = 0; i < kCalls; ++i) {
    EXPECT_TRUE(pending[i].status.ok());
    EXPECT_EQ(BytesOf(pending[i].response), fmt::format("{}!", i));
  }
  queue.Shutdown();
}

// Sends `bytes` to the port and reads until the server closes or has nothing more to say.
void SendRaw(int port, const std::string& bytes) {
  const int fd = ConnectRaw(port);
  send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  shutdown(fd, SHUT_WR);
  char sink[4096];
  while (recv(fd, sink, sizeof(sink), 0) > 0) {
  }
  close(fd);
}

TEST_F(GrpcEngineTest, GarbageOnThePort) {
  StartEngine();
  const std::string preface("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  const std::string settings("\0\0\0\4\0\0\0\0\0", 9);
  std::mt19937 random(20'240'611);
  for (int round = 0; round < 60; ++round) {
    std::string noise(random() % 300, '\0');
    for (char& c : noise) c = static_cast<char>(random());
    SendRaw(engine_->ports()[0], round % 3 == 0   ? noise
                                 : round % 3 == 1 ? preface + noise
                                                  : preface + settings + noise);
  }
  SendRaw(engine_->ports()[0], "GET /version HTTP/1.1\r\nHost: x\r\n\r\n");
  SendRaw(engine_->ports()[0], "");
  EXPECT_TRUE(TestClient(Target()).Unary("/test.S/Echo", "still here").ok());
}

TEST_F(GrpcEngineTest, SeveralAddresses) {
  const ShortDirectory directory;
  const std::string socket = directory.Socket();
  StartEngine({.listen = {{.address = "127.0.0.1:0", .flag = "a"},
                          {.address = socket, .flag = "b"},
                          {.address = "127.0.0.1:0", .flag = "c"}}});
  ASSERT_EQ(engine_->ports().size(), 3u);
  EXPECT_NE(engine_->ports()[0], engine_->ports()[2]);
  EXPECT_EQ(engine_->ports()[1], 0);
  for (const std::string& target : {Target(0), socket, Target(2)}) {
    EXPECT_TRUE(TestClient(target).Unary("/test.S/Echo", "x").ok()) << target;
  }
}

TEST_F(GrpcEngineTest, AddressesThatCannotBeBoundAreNamed) {
  StartEngine();
  const std::string taken = Target();
  const ShortDirectory directory;
  const std::string socket = directory.Socket();
  const auto held = GrpcEngine::Start(table_, {.listen = {{.address = socket, .flag = "held"}}});
  ASSERT_TRUE(held.ok()) << held.status();
  const struct {
    std::string address;
    absl::StatusCode code;
    std::string text;
  } kCases[] = {
      {taken, absl::StatusCode::kUnavailable,
       fmt::format("--flag=x: cannot listen on {}: Address already in use; another process listens "
                   "there: stop it or choose another port",
                   taken)},
      {socket, absl::StatusCode::kUnavailable,
       fmt::format("--flag=x: cannot listen on {}: Address already in use; another process listens "
                   "there: stop it or choose another port",
                   socket)},
      {"192.0.2.1:0", absl::StatusCode::kUnavailable,
       "--flag=x: cannot listen on 192.0.2.1:0: Cannot assign requested address; no interface of "
       "this machine has that address"},
      {"127.0.0.1", absl::StatusCode::kInvalidArgument,
       "--flag=x: \"127.0.0.1\" is not of the form host:port"},
      {"127.0.0.1:70000", absl::StatusCode::kInvalidArgument,
       "--flag=x: \"127.0.0.1:70000\" is not of the form host:port"},
      {"127.0.0.1:", absl::StatusCode::kInvalidArgument,
       "--flag=x: \"127.0.0.1:\" is not of the form host:port"},
  };
  for (const auto& c : kCases) {
    const auto engine =
        GrpcEngine::Start(table_, {.listen = {{.address = "127.0.0.1:0", .flag = "free"},
                                              {.address = c.address, .flag = "--flag=x"}}});
    EXPECT_EQ(engine.status(), base::MakeStatus(c.code, c.text)) << engine.status();
  }
  EXPECT_EQ(GrpcEngine::Start(table_, {}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace cairn::rpc
