// What the client sent beside its messages, kept so that it outlives gRPC's context of the call. Of
// the grpc++ engine alone; thread-safe.
#ifndef CAIRN_SERVER_RPC_GRPC_CONTEXT_H_
#define CAIRN_SERVER_RPC_GRPC_CONTEXT_H_

#include <absl/status/status.h>
#include <grpcpp/server_context.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/mutex.h"

namespace cairn::rpc {

class GrpcCallContext {
 public:
  // `context` stays valid until Detach.
  explicit GrpcCallContext(grpc::CallbackServerContext& context) : context_(&context) {}

  std::optional<std::chrono::steady_clock::time_point> Deadline() const;
  std::optional<std::string_view> Find(std::string_view key) const;
  std::string_view Peer() const;

  // What ends the call on gRPC's side with `status`, an error; null once detached. Whoever asks
  // knows that gRPC has not let go of the call yet; what is returned keeps as much of it as it
  // needs.
  std::function<void()> End(absl::Status status) const;

  // Copies what is not copied yet; gRPC's context is not touched any more.
  void Detach();

 private:
  using Metadata = std::vector<std::pair<std::string, std::string>>;

  const Metadata& LoadMetadata() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const std::string& LoadPeer() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable base::Mutex mutex_;
  // Null once detached.
  grpc::CallbackServerContext* context_ ABSL_GUARDED_BY(mutex_);
  // Copied when first asked for: most calls ask for little.
  mutable std::optional<Metadata> metadata_ ABSL_GUARDED_BY(mutex_);
  mutable std::optional<std::string> peer_ ABSL_GUARDED_BY(mutex_);
  std::optional<std::chrono::steady_clock::time_point> deadline_ ABSL_GUARDED_BY(mutex_);
};

// The one callback that a service may leave for the case that its call is cancelled. Thread-safe.
class CancelNotice {
 public:
  bool cancelled() const;
  // Runs `callback` when cancelled, at once if already, never once closed.
  void Set(std::function<void()> callback);
  void Cancel();
  // Drops the callback.
  void Close();

 private:
  mutable base::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::function<void()> callback_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::rpc

#endif  // CAIRN_SERVER_RPC_GRPC_CONTEXT_H_
