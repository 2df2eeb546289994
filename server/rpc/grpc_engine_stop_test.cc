// How the grpc++ engine stops, with clients at the other end.
#include <absl/status/status.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/rpc/grpc_engine.h"
#include "server/rpc/grpc_engine_fixture.h"
#include "server/rpc/grpc_test_client.h"

namespace cairn::rpc {
namespace {

using std::chrono::steady_clock;

TEST_F(GrpcEngineTest, StopLetsCallsInFlightFinish) {
  StartEngine({.stopping = absl::UnavailableError("the test stops")});
  TestClient client(Target());
  std::string response;
  auto done =
      std::async(std::launch::async, [&] { return client.Unary("/test.S/Park", "", &response); });
  auto calls = parked_.Take(1);
  ASSERT_EQ(calls.size(), 1u);
  auto stopped = std::async(std::launch::async, [this] { engine_->Stop(kPatience); });
  // The stop has begun when a new call is refused: on the same connection, and streams too.
  grpc::Status refusal;
  do {
    refusal = client.Unary("/test.S/Echo", "");
  } while (refusal.ok());
  EXPECT_EQ(refusal.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(refusal.error_message(), "the test stops");
  grpc::ClientContext context;
  EXPECT_EQ(client.Start("/test.S/EchoStream", &context)->Finish().error_message(),
            "the test stops");
  EXPECT_FALSE(calls[0]->cancelled());
  calls[0]->Finish(SliceList(std::string("in time")));
  EXPECT_TRUE(done.get().ok());
  EXPECT_EQ(response, "in time");
  stopped.get();
  engine_->Stop(kPatience);
}

// Idle connections whose clients say nothing, not even goodbye, are not worth the grace.
TEST_F(GrpcEngineTest, StopDoesNotWaitForIdleConnections) {
  StartEngine();
  TestClient idle(Target());
  EXPECT_TRUE(idle.Unary("/test.S/Echo", "").ok());
  const int silent = ConnectRaw(engine_->ports()[0]);
  const std::string greeting("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);
  send(silent, greeting.data(), greeting.size(), MSG_NOSIGNAL);
  char settings = 0;
  EXPECT_EQ(recv(silent, &settings, 1, 0), 1);
  const auto begin = steady_clock::now();
  engine_->Stop(kPatience);
  EXPECT_LT(steady_clock::now() - begin, kPatience / 2);
  close(silent);
}

// A service that waits for the next message has nothing to finish; a client that holds such a
// stream open for ever must not cost the grace.
TEST_F(GrpcEngineTest, StopEndsStreamsThatWaitForTheirClients) {
  StartEngine({.stopping = absl::UnavailableError("the test stops")});
  TestClient client(Target());
  grpc::ClientContext context;
  auto stream = client.Start("/test.S/EchoStream", &context);
  grpc::ByteBuffer received;
  EXPECT_TRUE(stream->Write(BufferOf("ping")));
  EXPECT_TRUE(stream->Read(&received));
  // One that begins to wait after the stop did: its service takes its time with the message.
  grpc::ClientContext late_context;
  auto late = client.Start("/test.S/ParkStream", &late_context);
  auto streams = streams_.Take(1);
  ASSERT_EQ(streams.size(), 1u);
  const auto begin = steady_clock::now();
  auto stopped = std::async(std::launch::async, [this] { engine_->Stop(kPatience); });
  EXPECT_EQ(stream->Finish().error_message(), "the test stops");
  // What it had to say before is still sent.
  const std::vector<std::string> answers = {std::string(1 << 20, 'a'), "b", "c"};
  for (const std::string& answer : answers) streams[0]->Write(SliceList(answer));
  EchoNext(std::move(streams[0]));
  for (const std::string& answer : answers) {
    EXPECT_TRUE(late->Read(&received));
    EXPECT_EQ(BytesOf(received), answer);
  }
  EXPECT_EQ(late->Finish().error_message(), "the test stops");
  stopped.get();
  EXPECT_LT(steady_clock::now() - begin, kPatience / 2);
}

// Somebody else's end of a stream, while its service reads: what is queued comes first.
TEST_F(GrpcEngineTest, AbortEndsAStreamForItsService) {
  StartEngine();
  TestClient client(Target());
  grpc::ClientContext context;
  auto stream = client.Start("/test.S/ParkStream", &context);
  auto streams = streams_.Take(1);
  ASSERT_EQ(streams.size(), 1u);
  std::promise<ReadResult> read;
  std::promise<void> told;
  streams[0]->OnCancel([&] { told.set_value(); });
  streams[0]->Read([&](ReadResult result, std::string_view) { read.set_value(result); });
  const std::vector<std::string> answers = {std::string(1 << 20, 'a'), "b"};
  for (const std::string& answer : answers) streams[0]->Write(SliceList(answer));
  streams[0]->Abort(absl::UnavailableError("no more of this"));
  streams[0]->Abort(absl::UnavailableError("nor of that"));
  EXPECT_TRUE(streams[0]->cancelled());
  grpc::ByteBuffer received;
  for (const std::string& answer : answers) {
    EXPECT_TRUE(stream->Read(&received));
    EXPECT_EQ(BytesOf(received), answer);
  }
  EXPECT_FALSE(stream->Read(&received));
  EXPECT_EQ(stream->Finish().error_message(), "no more of this");
  EXPECT_EQ(read.get_future().get(), ReadResult::kCancelled);
  EXPECT_EQ(told.get_future().wait_for(kPatience), std::future_status::ready);
  EXPECT_TRUE(streams[0]->Write(SliceList(std::string("late"))));
  streams[0]->Finish(absl::OkStatus());
}

TEST_F(GrpcEngineTest, StopCancelsWhatDoesNotFinish) {
  StartEngine();
  TestClient client(Target());
  auto done = std::async(std::launch::async, [&] { return client.Unary("/test.S/Park", ""); });
  grpc::ClientContext context;
  auto stream = client.Start("/test.S/ParkStream", &context);
  auto calls = parked_.Take(1);
  auto streams = streams_.Take(1);
  ASSERT_EQ(calls.size() + streams.size(), 2u);
  // A reader that never reads does not hold up the stop either.
  while (streams[0]->Write(SliceList(std::string(1 << 16, 'w')))) {
  }
  // Who can end by itself is told before.
  bool is_told = false;
  engine_->Stop(std::chrono::milliseconds(20), [&] {
    is_told = true;
    EXPECT_FALSE(calls[0]->cancelled());
  });
  EXPECT_TRUE(is_told);
  engine_.reset();
  EXPECT_FALSE(done.get().ok());
  // gRPC's client tells the end only to who has read what came before.
  grpc::ByteBuffer received;
  while (stream->Read(&received)) {
  }
  EXPECT_FALSE(stream->Finish().ok());
  EXPECT_TRUE(calls[0]->cancelled());
  EXPECT_TRUE(streams[0]->cancelled());
  calls[0]->Finish(SliceList());
  streams[0]->Write(SliceList(std::string("late")));
  streams[0]->Read(
      [](ReadResult result, std::string_view) { EXPECT_EQ(result, ReadResult::kCancelled); });
  EXPECT_TRUE(streams[0]->peer().starts_with("127.0.0.1:"));
  streams[0]->Finish(absl::OkStatus());
}

}  // namespace
}  // namespace cairn::rpc
