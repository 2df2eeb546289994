#include "server/rpc/grpc_client.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "server/rpc/grpc_engine.h"
#include "server/rpc/service_table.h"

namespace cairn::rpc {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr size_t kBytesMax = size_t{8} << 20;

// Collects what a stream tells and waits for it.
class Events final : public ClientStreamEvents {
 public:
  void OnMessage(std::string_view message) override {
    base::MutexLock lock(mutex_);
    messages_.emplace_back(message);
    changed_.SignalAll();
  }
  void OnWritten() override {
    base::MutexLock lock(mutex_);
    ++written_;
    changed_.SignalAll();
  }
  void OnEnd(absl::Status status) override {
    base::MutexLock lock(mutex_);
    end_ = std::move(status);
    changed_.SignalAll();
  }

  std::vector<std::string> WaitMessages(size_t count) {
    base::MutexLock lock(mutex_);
    while (messages_.size() < count && Wait()) {
    }
    return messages_;
  }
  size_t WaitWritten(size_t count) {
    base::MutexLock lock(mutex_);
    while (written_ < count && Wait()) {
    }
    return written_;
  }
  absl::Status WaitEnd() {
    base::MutexLock lock(mutex_);
    while (!end_.has_value() && Wait()) {
    }
    return end_.value_or(absl::UnknownError("no end"));
  }

 private:
  bool Wait() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return changed_.WaitUntil(mutex_, deadline_);
  }

  const steady_clock::time_point deadline_ = steady_clock::now() + std::chrono::seconds(20);
  base::Mutex mutex_;
  base::ConditionVariable changed_;
  std::vector<std::string> messages_ ABSL_GUARDED_BY(mutex_);
  size_t written_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
};

// Answers each message of a stream with itself until one says "stop".
void EchoNext(const std::shared_ptr<StreamCall>& call) {
  call->Read([call](ReadResult result, std::string_view message) {
    if (result != ReadResult::kMessage) {
      call->Finish(absl::OkStatus());
      return;
    }
    if (message == "stop") {
      call->Finish(base::MakeStatus(absl::StatusCode::kFailedPrecondition, "told to stop"));
      return;
    }
    call->Write(SliceList(std::string(message)));
    EchoNext(call);
  });
}

class GrpcClient : public testing::Test {
 protected:
  void SetUp() override {
    table_.AddStream("test.Echo", "Stream",
                     [](std::shared_ptr<StreamCall> call) { EchoNext(call); });
    table_.AddUnary("test.Echo", "Unary", [](std::unique_ptr<UnaryCall> call) {
      if (call->request() == "fail") {
        call->Finish(base::MakeStatus(absl::StatusCode::kNotFound, "no such thing"));
        return;
      }
      call->Finish(SliceList(std::string(call->request())));
    });
    table_.AddUnary("test.Echo", "Never",
                    [this](std::unique_ptr<UnaryCall> call) { held_ = std::move(call); });
    GrpcEngineOptions options;
    options.listen = {{"127.0.0.1:0", "--test"}};
    auto engine = GrpcEngine::Start(table_, options);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    authority_ = "127.0.0.1:" + std::to_string(engine_->ports()[0]);
  }

  absl::StatusOr<std::string> Call(ClientConnection& connection, std::string_view method,
                                   std::string request, milliseconds timeout) {
    struct Answer {
      base::Mutex mutex;
      base::ConditionVariable changed;
      std::optional<absl::StatusOr<std::string>> value ABSL_GUARDED_BY(mutex);
    };
    auto answer = std::make_shared<Answer>();
    connection.Call("/test.Echo/" + std::string(method), SliceList(std::move(request)), timeout,
                    [answer](absl::StatusOr<std::string> response) {
                      base::MutexLock lock(answer->mutex);
                      answer->value = std::move(response);
                      answer->changed.SignalAll();
                    });
    base::MutexLock lock(answer->mutex);
    const auto deadline = steady_clock::now() + std::chrono::seconds(20);
    while (!answer->value.has_value() && answer->changed.WaitUntil(answer->mutex, deadline)) {
    }
    return answer->value.value_or(absl::UnknownError("no answer"));
  }

  ServiceTable table_;
  std::unique_ptr<UnaryCall> held_;
  std::unique_ptr<GrpcEngine> engine_;
  std::string authority_;
};

TEST_F(GrpcClient, AStreamCarriesMessagesBothWaysAndEndsWithTheServersStatus) {
  std::unique_ptr<ClientConnection> connection = GrpcConnector(kBytesMax)(authority_);
  auto events = std::make_shared<Events>();
  std::shared_ptr<ClientStream> stream = connection->OpenStream("/test.Echo/Stream", events);
  const std::string large(size_t{1} << 20, 'x');
  const std::vector<std::string> sent = {"a", "", large};
  for (size_t i = 0; i < sent.size(); ++i) {
    stream->Write(SliceList(sent[i]));
    ASSERT_EQ(events->WaitWritten(i + 1), i + 1);
  }
  EXPECT_EQ(events->WaitMessages(3), sent);
  stream->Write(SliceList("stop"));
  const absl::Status end = events->WaitEnd();
  EXPECT_EQ(end.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(base::Message(end), "told to stop");
  stream->Write(SliceList("late"));
}

TEST_F(GrpcClient, AnAddressWithoutAListenerEndsTheStream) {
  engine_->Stop(milliseconds(0));
  std::unique_ptr<ClientConnection> connection = GrpcConnector(kBytesMax)(authority_);
  auto events = std::make_shared<Events>();
  std::shared_ptr<ClientStream> stream = connection->OpenStream("/test.Echo/Stream", events);
  stream->Write(SliceList("a"));
  EXPECT_EQ(events->WaitEnd().code(), absl::StatusCode::kUnavailable);
}

TEST_F(GrpcClient, AStreamOutlivesItsConnectionAndEndsWhenCancelled) {
  auto events = std::make_shared<Events>();
  std::shared_ptr<ClientStream> stream =
      GrpcConnector(kBytesMax)(authority_)->OpenStream("/test.Echo/Stream", events);
  stream->Write(SliceList("a"));
  EXPECT_EQ(events->WaitMessages(1).size(), 1u);
  stream->Cancel();
  EXPECT_EQ(events->WaitEnd().code(), absl::StatusCode::kCancelled);
}

TEST_F(GrpcClient, CallsAreAnsweredRefusedOrTimeOut) {
  std::unique_ptr<ClientConnection> connection = GrpcConnector(kBytesMax)(authority_);
  EXPECT_EQ(Call(*connection, "Unary", "hello", milliseconds(20'000)).value_or("-"), "hello");
  const absl::Status refused = Call(*connection, "Unary", "fail", milliseconds(20'000)).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(base::Message(refused), "no such thing");
  EXPECT_EQ(Call(*connection, "Never", "", milliseconds(50)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace cairn::rpc
