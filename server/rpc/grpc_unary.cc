#include <absl/status/status.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "server/rpc/grpc_bytes.h"
#include "server/rpc/grpc_call.h"
#include "server/rpc/grpc_context.h"

namespace cairn::rpc {
namespace {

// Smaller answers leave with one write, or cost no more than the call that waits for them.
constexpr size_t kDueFromBytes = size_t{16} << 10;

// Counts two owners: gRPC until OnDone, and the service's handle.
class UnaryReactor final : public grpc::ServerUnaryReactor, public OpenCall {
 public:
  UnaryReactor(std::string_view path, const GrpcCallLimits& limits,
               grpc::CallbackServerContext& context, grpc::ByteBuffer& response)
      : path_(path), limits_(limits), context_(context), response_(response) {}

  void Start(const UnaryHandler& handler, grpc::ByteBuffer& request);

  OpenCallView View() const override {
    return {.path = path_, .peer = std::string(context_.Peer()), .began = began_};
  }

  std::function<void()> EndOfOverdue(std::chrono::steady_clock::time_point now) override {
    const std::chrono::steady_clock::duration due = due_.load(std::memory_order_relaxed);
    return now.time_since_epoch() < due ? nullptr : context_.End(OverdueStatus());
  }

  // Completes the call unless a cancellation was faster.
  void Answer(const SliceList& message) {
    notice_.Close();
    if (completed_.exchange(true)) return;
    if (message.size_bytes() >= kDueFromBytes) {
      const auto now = std::chrono::steady_clock::now().time_since_epoch();
      due_.store(now + SendTimeMax(static_cast<int64_t>(message.size_bytes())),
                 std::memory_order_relaxed);
    }
    response_ = ToByteBuffer(message);
    Finish(grpc::Status());
  }
  void Answer(const absl::Status& error) {
    notice_.Close();
    if (completed_.exchange(true)) return;
    Finish(ToGrpcStatus(error));
  }

  void Release() {
    if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  std::string_view path() const { return path_; }
  const GrpcCallContext& context() const { return context_; }
  const ReceivedMessage& request() const { return request_; }
  CancelNotice& notice() { return notice_; }

 private:
  ~UnaryReactor() override = default;

  void OnDone() override {
    limits_.open_calls.Remove(*this);
    limits_.gate.Leave();
    Release();
  }
  void OnCancel() override {
    context_.Detach();
    notice_.Cancel();
    // gRPC's part ends here; what the service answers later has no effect.
    Answer(absl::CancelledError());
  }
  // Neither reaction blocks, so gRPC need not hand every call's end to another thread.
  bool InternalInlineable() override { return true; }

  const std::string_view path_;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  const GrpcCallLimits& limits_;
  GrpcCallContext context_;
  // gRPC's, until the call is completed.
  grpc::ByteBuffer& response_;
  ReceivedMessage request_;
  CancelNotice notice_;
  std::atomic<bool> completed_ = false;
  // When the answer has to have left, if it is worth counting.
  std::atomic<std::chrono::steady_clock::duration> due_ =
      std::chrono::steady_clock::duration::max();
  std::atomic<int> owners_ = 2;
};

class UnaryHandle final : public UnaryCall {
 public:
  explicit UnaryHandle(UnaryReactor& reactor) : reactor_(reactor) {}
  ~UnaryHandle() override {
    if (!finished_) {
      reactor_.Answer(base::MakeStatus(absl::StatusCode::kInternal, kAbandonedText));
    }
    reactor_.Release();
  }

  std::string_view path() const override { return reactor_.path(); }
  std::optional<std::chrono::steady_clock::time_point> deadline() const override {
    return context().Deadline();
  }
  std::optional<std::string_view> Find(std::string_view key) const override {
    return context().Find(key);
  }
  std::string_view peer() const override { return context().Peer(); }
  bool cancelled() const override { return reactor_.notice().cancelled(); }
  void OnCancel(std::function<void()> callback) override {
    reactor_.notice().Set(std::move(callback));
  }
  std::string_view request() const override { return reactor_.request().bytes(); }

  void Finish(SliceList response) override {
    CAIRN_CHECK(!std::exchange(finished_, true), "a call was finished twice");
    reactor_.Answer(response);
  }
  void Finish(absl::Status error) override {
    CAIRN_CHECK(!std::exchange(finished_, true), "a call was finished twice");
    CAIRN_CHECK(!error.ok());
    reactor_.Answer(error);
  }

 private:
  // gRPC may have let go of a finished call.
  const GrpcCallContext& context() const {
    CAIRN_CHECK(!finished_);
    return reactor_.context();
  }

  UnaryReactor& reactor_;
  bool finished_ = false;
};

void UnaryReactor::Start(const UnaryHandler& handler, grpc::ByteBuffer& request) {
  limits_.open_calls.Add(*this);
  auto handle = std::make_unique<UnaryHandle>(*this);
  absl::Status taken = limits_.gate.Enter() ? absl::OkStatus() : limits_.stopping;
  if (taken.ok()) taken = request_.Take(request, limits_.max_message_bytes);
  if (taken.ok()) {
    handler(std::move(handle));
  } else {
    handle->Finish(taken);
  }
}

}  // namespace

grpc::ServerUnaryReactor* StartGrpcUnary(std::string_view path, const UnaryHandler& handler,
                                         const GrpcCallLimits& limits,
                                         grpc::CallbackServerContext& context,
                                         const grpc::ByteBuffer& request,
                                         grpc::ByteBuffer& response) {
  auto* reactor = new UnaryReactor(path, limits, context, response);
  // gRPC passes the request as constant for the sake of parsed messages; the bytes are ours to
  // take.
  reactor->Start(handler, const_cast<grpc::ByteBuffer&>(request));
  return reactor;
}

}  // namespace cairn::rpc
