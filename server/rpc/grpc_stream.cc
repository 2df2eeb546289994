#include <absl/status/status.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/mutex.h"
#include "base/status.h"
#include "server/rpc/grpc_bytes.h"
#include "server/rpc/grpc_call.h"
#include "server/rpc/grpc_context.h"

namespace cairn::rpc {
namespace {

// From here on, as queued, gRPC is not asked to hold a message back for the next: as much as it
// would hold back anyway.
constexpr int64_t kUnheldBytes = int64_t{64} << 10;

using Bidi = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

// No operation may start once the call has been finished. So reads start under the mutex, which
// gRPC allows: it runs reactions on its own threads only, never within a start. Writes and the end,
// of which there is one at a time, are chosen under it and start behind it: a write may send within
// its start, and whoever is told that it has left, or looks at the stream, would wait for that
// long.
class StreamReactor final : public Bidi,
                            public OpenCall,
                            public std::enable_shared_from_this<StreamReactor> {
 public:
  StreamReactor(std::string_view path, const GrpcCallLimits& limits,
                grpc::CallbackServerContext& context)
      : path_(path),
        limits_(limits),
        grpc_context_(context),
        context_(context),
        high_water_bytes_(limits.stream_high_water_bytes) {}

  // Keeps the reactor alive until gRPC is done with it.
  void HoldForGrpc(std::shared_ptr<StreamReactor> self) { self_ = std::move(self); }

  OpenCallView View() const override {
    return {.path = path_,
            .peer = std::string(context_.Peer()),
            .began = began_,
            .is_stream = true,
            .queued_bytes = queued_bytes()};
  }
  std::shared_ptr<OpenCall> Share() override { return shared_from_this(); }
  std::function<void()> EndOfOverdue(std::chrono::steady_clock::time_point now) override {
    {
      base::MutexLock lock(mutex_);
      if (!has_send_limit_ || !writing_ || now < write_due_) return nullptr;
    }
    return context_.End(OverdueStatus());
  }
  void LimitSendTime() {
    base::MutexLock lock(mutex_);
    has_send_limit_ = true;
  }
  void EndIfWaiting() override;
  void ReadNext(StreamCall::ReadCallback callback);
  bool Send(SliceList message);
  void SetWritable(std::function<void()> callback);
  void SetHighWaterBytes(int64_t bytes) {
    base::MutexLock lock(mutex_);
    high_water_bytes_ = bytes;
  }
  int64_t queued_bytes() const {
    base::MutexLock lock(mutex_);
    return queued_bytes_;
  }
  void Abort(absl::Status status) { EndByTransport(std::move(status), Unsent::kSend); }
  void AbortNow(absl::Status status);
  // The service's end of the call.
  void End(absl::Status status);
  bool ended() const {
    base::MutexLock lock(mutex_);
    return ended_by_service_;
  }

  std::string_view path() const { return path_; }
  const GrpcCallContext& context() const { return context_; }
  CancelNotice& notice() { return notice_; }

 private:
  struct Queued {
    SliceList message;
    int64_t cost_bytes = 0;
  };

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override {
    // Another owner of the handle may still ask who called.
    context_.Detach();
    limits_.open_calls.Remove(*this);
    limits_.gate.Leave();
    self_.reset();
  }

  // The call ends for a reason that is not the service's.
  enum class Unsent { kSend, kDrop };
  void EndByTransport(absl::Status status, Unsent unsent);
  // What is to be started next.
  struct Operation {
    enum class Kind { kNone, kWrite, kFinish };
    Kind kind = Kind::kNone;
    grpc::WriteOptions options;
    grpc::Status status;
  };
  // The next write, or the end of the call when nothing is left to write. Until it is started, and
  // a write done, there is none.
  [[nodiscard]] Operation TakeNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Start(const Operation& operation) ABSL_LOCKS_EXCLUDED(mutex_);
  bool WritableLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return ended_by_transport_ || queued_bytes_ <= high_water_bytes_ / 2;
  }

  const std::string_view path_;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  const GrpcCallLimits& limits_;
  grpc::CallbackServerContext& grpc_context_;
  GrpcCallContext context_;
  CancelNotice notice_;
  std::shared_ptr<StreamReactor> self_;

  mutable base::Mutex mutex_;
  // Set while a read is asked for; gRPC fills the buffer meanwhile.
  StreamCall::ReadCallback read_callback_ ABSL_GUARDED_BY(mutex_);
  grpc::ByteBuffer read_buffer_;
  bool half_closed_ ABSL_GUARDED_BY(mutex_) = false;

  int64_t high_water_bytes_ ABSL_GUARDED_BY(mutex_);
  std::deque<Queued> queue_ ABSL_GUARDED_BY(mutex_);
  // The queue and the write under way.
  int64_t queued_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t writing_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  // When the write under way has to have ended, if that is limited.
  bool has_send_limit_ ABSL_GUARDED_BY(mutex_) = false;
  std::chrono::steady_clock::time_point write_due_ ABSL_GUARDED_BY(mutex_);
  grpc::ByteBuffer write_buffer_;
  std::function<void()> writable_callback_ ABSL_GUARDED_BY(mutex_);

  bool ended_by_service_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_by_transport_ ABSL_GUARDED_BY(mutex_) = false;
  // What to end with once the queue is empty.
  std::optional<absl::Status> final_status_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

void StreamReactor::EndIfWaiting() {
  {
    base::MutexLock lock(mutex_);
    if (read_callback_ == nullptr || final_status_.has_value()) return;
  }
  EndByTransport(limits_.stopping, Unsent::kSend);
}

void StreamReactor::ReadNext(StreamCall::ReadCallback callback) {
  ReadResult result = ReadResult::kCancelled;
  bool is_stopping = false;
  {
    base::MutexLock lock(mutex_);
    CAIRN_CHECK(read_callback_ == nullptr, "two reads at a time");
    if (!final_status_.has_value()) {
      is_stopping = !half_closed_ && limits_.gate.is_closed();
      if (!half_closed_ && !is_stopping) {
        read_callback_ = std::move(callback);
        StartRead(&read_buffer_);
        return;
      }
      if (half_closed_) result = ReadResult::kEnd;
    }
  }
  // The stop may have looked for waiting streams before this one began to wait.
  if (is_stopping) EndByTransport(limits_.stopping, Unsent::kSend);
  callback(result, {});
}

void StreamReactor::OnReadDone(bool ok) {
  StreamCall::ReadCallback callback;
  ReceivedMessage message;
  ReadResult result = ReadResult::kCancelled;
  absl::Status taken;
  {
    base::MutexLock lock(mutex_);
    callback = std::exchange(read_callback_, nullptr);
    if (ok) {
      taken = message.Take(read_buffer_, limits_.max_message_bytes);
    } else if (!grpc_context_.IsCancelled()) {
      half_closed_ = true;
    }
    if (!final_status_.has_value() && taken.ok()) {
      if (ok) {
        result = ReadResult::kMessage;
      } else if (half_closed_) {
        result = ReadResult::kEnd;
      }
    }
  }
  if (!taken.ok()) EndByTransport(taken, Unsent::kDrop);
  callback(result, message.bytes());
}

bool StreamReactor::Send(SliceList message) {
  Operation next;
  bool has_room = true;
  {
    base::MutexLock lock(mutex_);
    CAIRN_CHECK(!ended_by_service_, "a write after Finish");
    if (ended_by_transport_) return true;
    const int64_t cost_bytes =
        static_cast<int64_t>(message.size_bytes()) + kQueuedMessageOverheadBytes;
    queued_bytes_ += cost_bytes;
    queue_.push_back({.message = std::move(message), .cost_bytes = cost_bytes});
    next = TakeNext();
    has_room = queued_bytes_ <= high_water_bytes_;
  }
  Start(next);
  return has_room;
}

StreamReactor::Operation StreamReactor::TakeNext() {
  Operation next;
  if (closed_ || writing_) return next;
  if (!queue_.empty()) {
    write_buffer_ = ToByteBuffer(queue_.front().message);
    writing_bytes_ = queue_.front().cost_bytes;
    if (has_send_limit_) {
      write_due_ = std::chrono::steady_clock::now() + SendTimeMax(writing_bytes_);
    }
    queue_.pop_front();
    writing_ = true;
    next.kind = Operation::Kind::kWrite;
    // More is coming: one system call may then carry several messages. Large ones gain nothing, and
    // everybody else waits while the kernel copies them.
    if (!queue_.empty() && writing_bytes_ < kUnheldBytes) next.options.set_buffer_hint();
  } else if (final_status_.has_value()) {
    closed_ = true;
    next.kind = Operation::Kind::kFinish;
    next.status = ToGrpcStatus(*final_status_);
  }
  return next;
}

void StreamReactor::Start(const Operation& operation) {
  switch (operation.kind) {
    case Operation::Kind::kNone:
      return;
    case Operation::Kind::kWrite:
      StartWrite(&write_buffer_, operation.options);
      return;
    case Operation::Kind::kFinish:
      Bidi::Finish(operation.status);
      return;
  }
}

void StreamReactor::OnWriteDone(bool /*ok*/) {
  std::function<void()> writable;
  Operation next;
  {
    base::MutexLock lock(mutex_);
    writing_ = false;
    queued_bytes_ -= std::exchange(writing_bytes_, 0);
    write_buffer_.Clear();
    // A failed write is followed by OnCancel, which empties the queue.
    next = TakeNext();
    if (WritableLocked()) writable = std::exchange(writable_callback_, nullptr);
  }
  Start(next);
  if (writable) writable();
}

void StreamReactor::SetWritable(std::function<void()> callback) {
  {
    base::MutexLock lock(mutex_);
    CAIRN_CHECK(writable_callback_ == nullptr, "OnWritable was called twice");
    if (!WritableLocked()) {
      writable_callback_ = std::move(callback);
      return;
    }
  }
  callback();
}

void StreamReactor::End(absl::Status status) {
  notice_.Close();
  std::function<void()> dropped;
  Operation next;
  {
    base::MutexLock lock(mutex_);
    CAIRN_CHECK(!std::exchange(ended_by_service_, true), "a call was finished twice");
    dropped = std::exchange(writable_callback_, nullptr);
    if (ended_by_transport_) return;
    final_status_ = std::move(status);
    next = TakeNext();
  }
  Start(next);
}

void StreamReactor::EndByTransport(absl::Status status, Unsent unsent) {
  std::function<void()> writable;
  std::deque<Queued> dropped;
  {
    base::MutexLock lock(mutex_);
    if (unsent == Unsent::kDrop) {
      dropped.swap(queue_);
      queued_bytes_ = writing_bytes_;
    }
    if (std::exchange(ended_by_transport_, true)) return;
    if (!final_status_.has_value()) final_status_ = std::move(status);
    writable = std::exchange(writable_callback_, nullptr);
  }
  // What the service may still ask for is copied before gRPC may let go of the call.
  context_.Detach();
  Operation next;
  {
    base::MutexLock lock(mutex_);
    next = TakeNext();
  }
  Start(next);
  notice_.Cancel();
  if (writable) writable();
}

void StreamReactor::AbortNow(absl::Status status) {
  std::function<void()> end;
  {
    base::MutexLock lock(mutex_);
    // A write that the client does not take ends with the call alone. Without one the status leaves
    // as always.
    if (writing_) end = context_.End(status);
  }
  EndByTransport(std::move(status), Unsent::kDrop);
  if (end) end();
}

void StreamReactor::OnCancel() { EndByTransport(absl::CancelledError(), Unsent::kDrop); }

class StreamHandle final : public StreamCall {
 public:
  explicit StreamHandle(std::shared_ptr<StreamReactor> reactor) : reactor_(std::move(reactor)) {}
  ~StreamHandle() override {
    if (!reactor_->ended()) {
      reactor_->End(base::MakeStatus(absl::StatusCode::kInternal, kAbandonedText));
    }
  }

  std::string_view path() const override { return reactor_->path(); }
  std::optional<std::chrono::steady_clock::time_point> deadline() const override {
    return reactor_->context().Deadline();
  }
  std::optional<std::string_view> Find(std::string_view key) const override {
    return reactor_->context().Find(key);
  }
  std::string_view peer() const override { return reactor_->context().Peer(); }
  bool cancelled() const override { return reactor_->notice().cancelled(); }
  void OnCancel(std::function<void()> callback) override {
    reactor_->notice().Set(std::move(callback));
  }

  void Read(ReadCallback callback) override { reactor_->ReadNext(std::move(callback)); }
  bool Write(SliceList message) override { return reactor_->Send(std::move(message)); }
  void OnWritable(std::function<void()> callback) override {
    reactor_->SetWritable(std::move(callback));
  }
  void Abort(absl::Status status) override { reactor_->Abort(std::move(status)); }
  void AbortNow(absl::Status status) override { reactor_->AbortNow(std::move(status)); }
  void SetHighWaterBytes(int64_t bytes) override { reactor_->SetHighWaterBytes(bytes); }
  void LimitSendTime() override { reactor_->LimitSendTime(); }
  int64_t queued_bytes() const override { return reactor_->queued_bytes(); }
  void Finish(absl::Status status) override { reactor_->End(std::move(status)); }

 private:
  const std::shared_ptr<StreamReactor> reactor_;
};

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StartGrpcStream(
    std::string_view path, const StreamHandler& handler, const GrpcCallLimits& limits,
    grpc::CallbackServerContext& context) {
  auto reactor = std::make_shared<StreamReactor>(path, limits, context);
  reactor->HoldForGrpc(reactor);
  limits.open_calls.Add(*reactor);
  auto handle = std::make_shared<StreamHandle>(reactor);
  if (limits.gate.Enter()) {
    handler(std::move(handle));
  } else {
    handle->Finish(limits.stopping);
  }
  return reactor.get();
}

}  // namespace cairn::rpc
