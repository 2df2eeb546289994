#include "server/rpc/fake_call.h"

#include <absl/status/status.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/status.h"
#include "server/rpc/call.h"

namespace cairn::rpc {
namespace {

TEST(FakeUnaryTest, CarriesWhatTheClientSent) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  FakeUnaryCall fake("request", {.path = "/s/M",
                                 .peer = "[::1]:1",
                                 .metadata = {{"token", "t.1"}, {"hasleader", "true"}},
                                 .deadline = deadline});
  const std::unique_ptr<UnaryCall> call = fake.TakeCall();
  EXPECT_EQ(call->path(), "/s/M");
  EXPECT_EQ(call->peer(), "[::1]:1");
  EXPECT_EQ(call->Find("token"), "t.1");
  EXPECT_EQ(call->Find("hasleader"), "true");
  EXPECT_EQ(call->Find("client-api-version"), std::nullopt);
  EXPECT_EQ(call->deadline(), deadline);
  EXPECT_EQ(call->request(), "request");
  EXPECT_FALSE(call->cancelled());
  EXPECT_FALSE(fake.finished());
  SliceList response(std::string("re"));
  response.Append(Slice::CopyOf("sponse"));
  call->Finish(std::move(response));
  EXPECT_EQ(fake.Wait().value(), "response");
}

TEST(FakeUnaryTest, AnswerComesFromAnyThreadAndSurvivesTheCall) {
  FakeUnaryCall fake("");
  std::thread service([call = fake.TakeCall()]() mutable {
    call->Finish(base::MakeStatus(absl::StatusCode::kOutOfRange, "compacted"));
    call.reset();
  });
  EXPECT_EQ(fake.Wait().status(), base::MakeStatus(absl::StatusCode::kOutOfRange, "compacted"));
  service.join();
}

TEST(FakeUnaryTest, DroppedCallIsAnswered) {
  FakeUnaryCall fake("");
  fake.TakeCall().reset();
  EXPECT_EQ(fake.Wait().status(), base::MakeStatus(absl::StatusCode::kInternal, kAbandonedText));
}

TEST(FakeUnaryTest, CancelIsToldOnceAndAnAnswerAfterItIsAccepted) {
  FakeUnaryCall fake("");
  std::unique_ptr<UnaryCall> call = fake.TakeCall();
  int told = 0;
  call->OnCancel([&told] { ++told; });
  EXPECT_EQ(told, 0);
  fake.Cancel();
  fake.Cancel();
  EXPECT_EQ(told, 1);
  EXPECT_TRUE(call->cancelled());
  call->Finish(SliceList());
  EXPECT_TRUE(fake.answer()->ok());

  FakeUnaryCall early("");
  early.Cancel();
  call = early.TakeCall();
  call->OnCancel([&told] { ++told; });
  EXPECT_EQ(told, 2);

  FakeUnaryCall finished("");
  call = finished.TakeCall();
  call->OnCancel([&told] { ++told; });
  call->Finish(SliceList());
  finished.Cancel();
  EXPECT_EQ(told, 2);
}

TEST(FakeUnaryTest, WaitGivesUp) {
  FakeUnaryCall fake("");
  const std::unique_ptr<UnaryCall> call = fake.TakeCall();
  EXPECT_EQ(fake.Wait(std::chrono::milliseconds(1)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST(FakeUnaryDeathTest, TwoAnswers) {
  FakeUnaryCall fake("");
  const std::unique_ptr<UnaryCall> call = fake.TakeCall();
  call->Finish(SliceList());
  EXPECT_DEATH(call->Finish(SliceList()), "finished twice");
}

// Reads all messages and keeps what came.
struct Reader {
  explicit Reader(std::shared_ptr<StreamCall> stream) : call(std::move(stream)) { Next(); }
  void Next() {
    call->Read([this](ReadResult result, std::string_view message) {
      results.push_back(result);
      messages.emplace_back(message);
      if (result == ReadResult::kMessage) Next();
    });
  }
  std::shared_ptr<StreamCall> call;
  std::vector<ReadResult> results;
  std::vector<std::string> messages;
};

TEST(FakeStreamTest, ReadsMessagesThenTheEnd) {
  FakeStreamCall fake;
  fake.Send("early");
  Reader reader(fake.TakeCall());
  fake.Send("a");
  fake.Send("");
  fake.HalfClose();
  EXPECT_EQ(reader.messages, (std::vector<std::string>{"early", "a", "", ""}));
  EXPECT_EQ(reader.results.back(), ReadResult::kEnd);
  EXPECT_EQ(reader.results.size(), 4u);
  EXPECT_FALSE(fake.status().has_value());
  reader.call->Finish(absl::OkStatus());
  EXPECT_EQ(fake.status(), absl::OkStatus());
}

TEST(FakeStreamTest, PendingReadEndsWithTheCall) {
  FakeStreamCall finished;
  Reader first(finished.TakeCall());
  first.call->Finish(absl::OkStatus());
  EXPECT_EQ(first.results, std::vector<ReadResult>{ReadResult::kCancelled});

  FakeStreamCall cancelled;
  Reader second(cancelled.TakeCall());
  int told = 0;
  second.call->OnCancel([&told] { ++told; });
  cancelled.Cancel();
  EXPECT_EQ(told, 1);
  EXPECT_TRUE(second.call->cancelled());
  EXPECT_EQ(second.results, std::vector<ReadResult>{ReadResult::kCancelled});
  // What is written to a client that has gone is dropped.
  EXPECT_TRUE(second.call->Write(SliceList(std::string(1 << 22, 'x'))));
  EXPECT_EQ(cancelled.queued_bytes(), 0);
  EXPECT_EQ(cancelled.Receive(), std::nullopt);
}

TEST(FakeStreamTest, BackPressureInBytes) {
  constexpr int64_t kHighWater = 1000;
  constexpr int64_t kMessageBytes = 300 - kQueuedMessageOverheadBytes;
  FakeStreamCall fake({.high_water_bytes = kHighWater});
  const std::shared_ptr<StreamCall> call = fake.TakeCall();
  const std::string message(kMessageBytes, 'm');
  int writable = 0;
  EXPECT_TRUE(call->Write(SliceList(message)));
  EXPECT_TRUE(call->Write(SliceList(message)));
  EXPECT_TRUE(call->Write(SliceList(message)));
  EXPECT_FALSE(call->Write(SliceList(message)));
  EXPECT_EQ(call->queued_bytes(), 1200);
  call->OnWritable([&writable] { ++writable; });
  EXPECT_EQ(fake.Receive(), message);
  EXPECT_EQ(fake.Receive(), message);
  EXPECT_EQ(writable, 0);
  EXPECT_EQ(fake.Receive(), message);
  EXPECT_EQ(writable, 1);
  // Below the low-water mark the answer comes at once.
  call->OnWritable([&writable] { ++writable; });
  EXPECT_EQ(writable, 2);
  // Cancelled: a writer that waits is let go.
  for (int i = 0; i < 5; ++i) call->Write(SliceList(message));
  call->OnWritable([&writable] { ++writable; });
  EXPECT_EQ(writable, 2);
  fake.Cancel();
  EXPECT_EQ(writable, 3);
}

TEST(FakeStreamTest, QueuedMessagesOutliveFinish) {
  FakeStreamCall fake;
  const std::shared_ptr<StreamCall> call = fake.TakeCall();
  std::thread writer([&call] {
    for (int i = 0; i < 100; ++i) call->Write(SliceList(std::to_string(i)));
    call->Finish(absl::OkStatus());
  });
  for (int i = 0; i < 100; ++i) EXPECT_EQ(fake.WaitReceive(), std::to_string(i));
  EXPECT_EQ(fake.WaitReceive(), std::nullopt);
  EXPECT_EQ(fake.WaitStatus(), absl::OkStatus());
  writer.join();
}

TEST(FakeStreamTest, DroppedCallIsAnswered) {
  FakeStreamCall fake;
  fake.TakeCall().reset();
  EXPECT_EQ(fake.WaitStatus(), base::MakeStatus(absl::StatusCode::kInternal, kAbandonedText));
}

TEST(FakeStreamDeathTest, Misuse) {
  FakeStreamCall fake;
  const std::shared_ptr<StreamCall> call = fake.TakeCall();
  call->Read([](ReadResult, std::string_view) {});
  EXPECT_DEATH(call->Read([](ReadResult, std::string_view) {}), "two reads");
  call->Finish(absl::OkStatus());
  EXPECT_DEATH(call->Write(SliceList()), "after Finish");
  EXPECT_DEATH(call->Finish(absl::OkStatus()), "finished twice");
}

}  // namespace
}  // namespace cairn::rpc
