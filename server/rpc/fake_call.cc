#include "server/rpc/fake_call.h"

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "base/check.h"
#include "base/mutex.h"
#include "base/status.h"

namespace cairn::rpc {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

absl::Status Abandoned() { return base::MakeStatus(absl::StatusCode::kInternal, kAbandonedText); }

std::optional<std::string_view> FindIn(const FakeCallOptions& options, std::string_view key) {
  const auto it = options.metadata.find(key);
  if (it == options.metadata.end()) return std::nullopt;
  return it->second;
}

void RunIfSet(const std::function<void()>& callback) {
  if (callback) callback();
}

}  // namespace

struct FakeUnaryCall::State {
  State(std::string request_in, FakeCallOptions options_in)
      : request(std::move(request_in)), options(std::move(options_in)) {}

  void Answer(absl::StatusOr<std::string> value) {
    std::function<void()> dropped;
    base::MutexLock lock(mutex);
    CAIRN_CHECK(!answer.has_value(), "a call was finished twice");
    answer = std::move(value);
    dropped = std::exchange(cancel_callback, nullptr);
    changed.SignalAll();
  }

  const std::string request;
  const FakeCallOptions options;
  base::Mutex mutex;
  base::ConditionVariable changed;
  bool taken ABSL_GUARDED_BY(mutex) = false;
  bool cancelled ABSL_GUARDED_BY(mutex) = false;
  std::function<void()> cancel_callback ABSL_GUARDED_BY(mutex);
  std::optional<absl::StatusOr<std::string>> answer ABSL_GUARDED_BY(mutex);
};

namespace {

class UnaryFake : public UnaryCall {
 public:
  explicit UnaryFake(std::shared_ptr<FakeUnaryCall::State> state) : state_(std::move(state)) {}
  ~UnaryFake() override {
    if (!finished_) state_->Answer(Abandoned());
  }

  std::string_view path() const override { return state_->options.path; }
  std::optional<SteadyTime> deadline() const override { return state_->options.deadline; }
  std::optional<std::string_view> Find(std::string_view key) const override {
    return FindIn(state_->options, key);
  }
  std::string_view peer() const override { return state_->options.peer; }
  bool cancelled() const override {
    base::MutexLock lock(state_->mutex);
    return state_->cancelled;
  }
  void OnCancel(std::function<void()> callback) override {
    {
      base::MutexLock lock(state_->mutex);
      CAIRN_CHECK(state_->cancel_callback == nullptr);
      if (!state_->cancelled) {
        state_->cancel_callback = std::move(callback);
        return;
      }
    }
    callback();
  }
  std::string_view request() const override { return state_->request; }
  void Finish(SliceList response) override { FinishOnce(response.Flatten()); }
  void Finish(absl::Status error) override {
    CAIRN_CHECK(!error.ok());
    FinishOnce(std::move(error));
  }

 private:
  void FinishOnce(absl::StatusOr<std::string> answer) {
    finished_ = true;
    state_->Answer(std::move(answer));
  }

  const std::shared_ptr<FakeUnaryCall::State> state_;
  bool finished_ = false;
};

}  // namespace

FakeUnaryCall::FakeUnaryCall(std::string request, FakeCallOptions options)
    : state_(std::make_shared<State>(std::move(request), std::move(options))) {}

std::unique_ptr<UnaryCall> FakeUnaryCall::TakeCall() {
  base::MutexLock lock(state_->mutex);
  CAIRN_CHECK(!state_->taken);
  state_->taken = true;
  return std::make_unique<UnaryFake>(state_);
}

void FakeUnaryCall::Cancel() {
  std::function<void()> callback;
  {
    base::MutexLock lock(state_->mutex);
    state_->cancelled = true;
    callback = std::exchange(state_->cancel_callback, nullptr);
  }
  RunIfSet(callback);
}

bool FakeUnaryCall::finished() const { return answer().has_value(); }

std::optional<absl::StatusOr<std::string>> FakeUnaryCall::answer() const {
  base::MutexLock lock(state_->mutex);
  return state_->answer;
}

absl::StatusOr<std::string> FakeUnaryCall::Wait(std::chrono::milliseconds timeout) {
  const SteadyTime limit = std::chrono::steady_clock::now() + timeout;
  base::MutexLock lock(state_->mutex);
  while (!state_->answer.has_value()) {
    if (!state_->changed.WaitUntil(state_->mutex, limit) && !state_->answer.has_value()) {
      return base::MakeStatus(absl::StatusCode::kDeadlineExceeded, "no answer");
    }
  }
  return *state_->answer;
}

struct FakeStreamCall::State {
  explicit State(FakeCallOptions options_in)
      : options(std::move(options_in)), high_water_bytes(options.high_water_bytes) {}

  int64_t CostOf(const std::string& message) const {
    return static_cast<int64_t>(message.size()) + kQueuedMessageOverheadBytes;
  }
  bool ended() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return cancelled || status.has_value();
  }

  // Hands what there is to the pending read, if any.
  void DeliverRead() {
    std::function<void()> run;
    {
      base::MutexLock lock(mutex);
      if (read_callback == nullptr) return;
      if (ended()) {
        run = [callback = std::move(read_callback)] { callback(ReadResult::kCancelled, {}); };
      } else if (!incoming.empty()) {
        run = [callback = std::move(read_callback), message = std::move(incoming.front())] {
          callback(ReadResult::kMessage, message);
        };
        incoming.pop_front();
      } else if (half_closed) {
        run = [callback = std::move(read_callback)] { callback(ReadResult::kEnd, {}); };
      } else {
        return;
      }
      read_callback = nullptr;
    }
    run();
  }

  void End(absl::Status value) {
    std::function<void()> dropped_cancel;
    std::function<void()> dropped_writable;
    {
      base::MutexLock lock(mutex);
      CAIRN_CHECK(!status.has_value(), "a call was finished twice");
      status = abort_status.value_or(std::move(value));
      dropped_cancel = std::exchange(cancel_callback, nullptr);
      dropped_writable = std::exchange(writable_callback, nullptr);
      changed.SignalAll();
    }
    DeliverRead();
  }

  enum class Unsent { kSend, kDrop };
  void Abort(absl::Status value, Unsent unsent) {
    std::function<void()> cancel;
    std::function<void()> writable;
    {
      base::MutexLock lock(mutex);
      if (ended()) return;
      cancelled = true;
      abort_status = std::move(value);
      if (unsent == Unsent::kDrop) {
        outgoing.clear();
        queued_bytes = 0;
      }
      cancel = std::exchange(cancel_callback, nullptr);
      writable = std::exchange(writable_callback, nullptr);
      changed.SignalAll();
    }
    if (cancel) cancel();
    if (writable) writable();
    DeliverRead();
  }

  std::optional<std::string> TakeOutgoing(std::function<void()>& writable)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (outgoing.empty()) return std::nullopt;
    std::string message = std::move(outgoing.front());
    outgoing.pop_front();
    queued_bytes -= CostOf(message);
    if (queued_bytes <= high_water_bytes / 2) {
      writable = std::exchange(writable_callback, nullptr);
    }
    return message;
  }

  const FakeCallOptions options;
  base::Mutex mutex;
  base::ConditionVariable changed;
  bool taken ABSL_GUARDED_BY(mutex) = false;
  bool cancelled ABSL_GUARDED_BY(mutex) = false;
  bool half_closed ABSL_GUARDED_BY(mutex) = false;
  std::function<void()> cancel_callback ABSL_GUARDED_BY(mutex);
  std::function<void()> writable_callback ABSL_GUARDED_BY(mutex);
  StreamCall::ReadCallback read_callback ABSL_GUARDED_BY(mutex);
  std::deque<std::string> incoming ABSL_GUARDED_BY(mutex);
  std::deque<std::string> outgoing ABSL_GUARDED_BY(mutex);
  int64_t queued_bytes ABSL_GUARDED_BY(mutex) = 0;
  int64_t high_water_bytes ABSL_GUARDED_BY(mutex);
  // What the client hears whatever the service ends the call with.
  std::optional<absl::Status> abort_status ABSL_GUARDED_BY(mutex);
  std::optional<absl::Status> status ABSL_GUARDED_BY(mutex);
};

namespace {

class StreamFake : public StreamCall {
 public:
  explicit StreamFake(std::shared_ptr<FakeStreamCall::State> state) : state_(std::move(state)) {}
  ~StreamFake() override {
    bool finished;
    {
      base::MutexLock lock(state_->mutex);
      finished = state_->status.has_value();
    }
    if (!finished) state_->End(Abandoned());
  }

  std::string_view path() const override { return state_->options.path; }
  std::optional<SteadyTime> deadline() const override { return state_->options.deadline; }
  std::optional<std::string_view> Find(std::string_view key) const override {
    return FindIn(state_->options, key);
  }
  std::string_view peer() const override { return state_->options.peer; }
  bool cancelled() const override {
    base::MutexLock lock(state_->mutex);
    return state_->cancelled;
  }
  void OnCancel(std::function<void()> callback) override {
    {
      base::MutexLock lock(state_->mutex);
      CAIRN_CHECK(state_->cancel_callback == nullptr);
      if (!state_->cancelled) {
        if (!state_->status.has_value()) state_->cancel_callback = std::move(callback);
        return;
      }
    }
    callback();
  }

  void Read(ReadCallback callback) override {
    {
      base::MutexLock lock(state_->mutex);
      CAIRN_CHECK(state_->read_callback == nullptr, "two reads at a time");
      state_->read_callback = std::move(callback);
    }
    state_->DeliverRead();
  }
  bool Write(SliceList message) override {
    std::string bytes = message.Flatten();
    base::MutexLock lock(state_->mutex);
    CAIRN_CHECK(!state_->status.has_value(), "a write after Finish");
    if (state_->cancelled) return true;
    state_->queued_bytes += state_->CostOf(bytes);
    state_->outgoing.push_back(std::move(bytes));
    state_->changed.SignalAll();
    return state_->queued_bytes <= state_->high_water_bytes;
  }
  void OnWritable(std::function<void()> callback) override {
    {
      base::MutexLock lock(state_->mutex);
      CAIRN_CHECK(state_->writable_callback == nullptr);
      if (!state_->cancelled && state_->queued_bytes > state_->high_water_bytes / 2) {
        state_->writable_callback = std::move(callback);
        return;
      }
    }
    callback();
  }
  void SetHighWaterBytes(int64_t bytes) override {
    base::MutexLock lock(state_->mutex);
    state_->high_water_bytes = bytes;
  }
  void LimitSendTime() override {}
  int64_t queued_bytes() const override {
    base::MutexLock lock(state_->mutex);
    return state_->queued_bytes;
  }
  void Abort(absl::Status status) override {
    state_->Abort(std::move(status), FakeStreamCall::State::Unsent::kSend);
  }
  void AbortNow(absl::Status status) override {
    state_->Abort(std::move(status), FakeStreamCall::State::Unsent::kDrop);
  }
  void Finish(absl::Status status) override { state_->End(std::move(status)); }

 private:
  const std::shared_ptr<FakeStreamCall::State> state_;
};

}  // namespace

FakeStreamCall::FakeStreamCall(FakeCallOptions options)
    : state_(std::make_shared<State>(std::move(options))) {}

std::shared_ptr<StreamCall> FakeStreamCall::TakeCall() {
  base::MutexLock lock(state_->mutex);
  CAIRN_CHECK(!state_->taken);
  state_->taken = true;
  return std::make_shared<StreamFake>(state_);
}

void FakeStreamCall::Send(std::string message) {
  {
    base::MutexLock lock(state_->mutex);
    CAIRN_CHECK(!state_->half_closed);
    state_->incoming.push_back(std::move(message));
  }
  state_->DeliverRead();
}

void FakeStreamCall::HalfClose() {
  {
    base::MutexLock lock(state_->mutex);
    state_->half_closed = true;
  }
  state_->DeliverRead();
}

void FakeStreamCall::Cancel() {
  std::function<void()> cancel_callback;
  std::function<void()> writable_callback;
  {
    base::MutexLock lock(state_->mutex);
    state_->cancelled = true;
    state_->outgoing.clear();
    state_->queued_bytes = 0;
    cancel_callback = std::exchange(state_->cancel_callback, nullptr);
    writable_callback = std::exchange(state_->writable_callback, nullptr);
    state_->changed.SignalAll();
  }
  RunIfSet(cancel_callback);
  RunIfSet(writable_callback);
  state_->DeliverRead();
}

std::optional<std::string> FakeStreamCall::Receive() {
  return WaitReceive(std::chrono::milliseconds(0));
}

std::optional<std::string> FakeStreamCall::WaitReceive(std::chrono::milliseconds timeout) {
  const SteadyTime limit = std::chrono::steady_clock::now() + timeout;
  std::function<void()> writable;
  std::optional<std::string> message;
  {
    base::MutexLock lock(state_->mutex);
    while (state_->outgoing.empty() && !state_->ended() &&
           std::chrono::steady_clock::now() < limit) {
      state_->changed.WaitUntil(state_->mutex, limit);
    }
    message = state_->TakeOutgoing(writable);
  }
  RunIfSet(writable);
  return message;
}

int64_t FakeStreamCall::queued_bytes() const {
  base::MutexLock lock(state_->mutex);
  return state_->queued_bytes;
}

std::optional<absl::Status> FakeStreamCall::status() const {
  base::MutexLock lock(state_->mutex);
  return state_->status;
}

absl::Status FakeStreamCall::WaitStatus(std::chrono::milliseconds timeout) {
  const SteadyTime limit = std::chrono::steady_clock::now() + timeout;
  base::MutexLock lock(state_->mutex);
  while (!state_->status.has_value()) {
    if (!state_->changed.WaitUntil(state_->mutex, limit) && !state_->status.has_value()) {
      return base::MakeStatus(absl::StatusCode::kDeadlineExceeded, "no status");
    }
  }
  return *state_->status;
}

absl::StatusOr<std::string> CallUnary(const ServiceTable& table, std::string_view path,
                                      std::string request, FakeCallOptions options) {
  const ServiceTable::Handler* handler = table.Find(path);
  if (handler == nullptr) return table.UnknownPath(path);
  const auto* unary = std::get_if<UnaryHandler>(handler);
  CAIRN_CHECK(unary != nullptr, "a stream was called as unary");
  options.path = path;
  FakeUnaryCall call(std::move(request), std::move(options));
  (*unary)(call.TakeCall());
  return call.Wait();
}

FakeStreamCall StartStream(const ServiceTable& table, std::string_view path,
                           FakeCallOptions options) {
  const ServiceTable::Handler* handler = table.Find(path);
  options.path = path;
  FakeStreamCall call(std::move(options));
  if (handler == nullptr) {
    call.TakeCall()->Finish(table.UnknownPath(path));
    return call;
  }
  const auto* stream = std::get_if<StreamHandler>(handler);
  CAIRN_CHECK(stream != nullptr, "a unary method was called as a stream");
  (*stream)(call.TakeCall());
  return call;
}

}  // namespace cairn::rpc
