#include "server/rpc/grpc_context.h"

#include <grpc/grpc.h>
#include <grpc/support/time.h>
#include <grpcpp/server_context.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/mutex.h"
#include "server/rpc/grpc_bytes.h"

namespace cairn::rpc {
namespace {

using std::chrono::steady_clock;

std::optional<steady_clock::time_point> ToSteady(gpr_timespec deadline) {
  const gpr_timespec infinite = gpr_inf_future(deadline.clock_type);
  if (gpr_time_cmp(deadline, infinite) == 0) return std::nullopt;
  const gpr_timespec left = gpr_time_sub(deadline, gpr_now(deadline.clock_type));
  return steady_clock::now() + std::chrono::seconds(left.tv_sec) +
         std::chrono::nanoseconds(left.tv_nsec);
}

}  // namespace

const GrpcCallContext::Metadata& GrpcCallContext::LoadMetadata() const {
  if (!metadata_.has_value()) {
    metadata_.emplace();
    for (const auto& [key, value] : context_->client_metadata()) {
      metadata_->emplace_back(std::string(key.data(), key.size()),
                              std::string(value.data(), value.size()));
    }
  }
  return *metadata_;
}

const std::string& GrpcCallContext::LoadPeer() const {
  if (!peer_.has_value()) peer_ = PeerText(context_->peer());
  return *peer_;
}

std::optional<steady_clock::time_point> GrpcCallContext::Deadline() const {
  base::MutexLock lock(mutex_);
  return context_ != nullptr ? ToSteady(context_->raw_deadline()) : deadline_;
}

std::optional<std::string_view> GrpcCallContext::Find(std::string_view key) const {
  base::MutexLock lock(mutex_);
  for (const auto& [have, value] : LoadMetadata()) {
    if (have == key) return value;
  }
  return std::nullopt;
}

std::string_view GrpcCallContext::Peer() const {
  base::MutexLock lock(mutex_);
  return LoadPeer();
}

std::function<void()> GrpcCallContext::End(absl::Status status) const {
  base::MutexLock lock(mutex_);
  if (context_ == nullptr) return nullptr;
  grpc_call* const call = context_->c_call();
  grpc_call_ref(call);
  const std::shared_ptr<grpc_call> share(call, grpc_call_unref);
  return [share, status = std::move(status)] {
    // gRPC copies the text.
    grpc_call_cancel_with_status(share.get(), static_cast<grpc_status_code>(status.code()),
                                 std::string(status.message()).c_str(), nullptr);
  };
}

void GrpcCallContext::Detach() {
  base::MutexLock lock(mutex_);
  if (context_ == nullptr) return;
  LoadMetadata();
  LoadPeer();
  deadline_ = ToSteady(context_->raw_deadline());
  context_ = nullptr;
}

bool CancelNotice::cancelled() const {
  base::MutexLock lock(mutex_);
  return cancelled_;
}

void CancelNotice::Set(std::function<void()> callback) {
  {
    base::MutexLock lock(mutex_);
    CAIRN_CHECK(callback_ == nullptr, "OnCancel was called twice");
    if (closed_) return;
    if (!cancelled_) {
      callback_ = std::move(callback);
      return;
    }
  }
  callback();
}

void CancelNotice::Cancel() {
  std::function<void()> callback;
  {
    base::MutexLock lock(mutex_);
    cancelled_ = true;
    callback = std::exchange(callback_, nullptr);
  }
  if (callback) callback();
}

void CancelNotice::Close() {
  std::function<void()> dropped;
  base::MutexLock lock(mutex_);
  closed_ = true;
  dropped = std::exchange(callback_, nullptr);
}

}  // namespace cairn::rpc
