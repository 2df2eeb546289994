#include "server/rpc/grpc_client.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_callback.h>
#include <grpcpp/support/status.h>

#include <algorithm>
#include <climits>
#include <utility>

#include "base/mutex.h"
#include "base/status.h"
#include "server/rpc/grpc_bytes.h"
#include "server/rpc/grpc_log.h"
#include "server/rpc/grpc_threads.h"

namespace cairn::rpc {

namespace {

using Bidi = grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

// A connection is let go of when it fails, and made anew by whoever wants it, at their own pace; so
// gRPC's pauses between attempts never come into play.
constexpr int kConnectTimeoutMs = 2000;

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return base::MakeStatus(static_cast<absl::StatusCode>(status.error_code()),
                          status.error_message());
}

// Operations are started under the mutex, because none may start after the end; gRPC never runs a
// reaction within a start.
class GrpcClientStream final : public ClientStream,
                               public Bidi,
                               public std::enable_shared_from_this<GrpcClientStream> {
 public:
  GrpcClientStream(std::shared_ptr<grpc::Channel> channel,
                   std::shared_ptr<ClientStreamEvents> events, size_t response_bytes_max)
      : channel_(std::move(channel)),
        stub_(channel_),
        events_(std::move(events)),
        response_bytes_max_(response_bytes_max) {}

  void Start(std::string_view path) {
    self_ = shared_from_this();
    stub_.PrepareBidiStreamingCall(&context_, std::string(path), grpc::StubOptions(), this);
    // Writes come from outside of reactions: the hold keeps the end away while one may start.
    AddHold();
    StartRead(&read_buffer_);
    StartCall();
  }

  void Write(SliceList message) override {
    base::MutexLock lock(mutex_);
    if (ended_) return;
    write_buffer_ = ToByteBuffer(message);
    StartWrite(&write_buffer_);
  }

  void Cancel() override { context_.TryCancel(); }

 private:
  void OnReadDone(bool ok) override {
    if (ok) {
      ReceivedMessage message;
      if (message.Take(read_buffer_, response_bytes_max_).ok()) {
        events_->OnMessage(message.bytes());
        StartRead(&read_buffer_);
        return;
      }
      context_.TryCancel();
    }
    EndWrites();
  }
  void OnWriteDone(bool ok) override {
    if (ok) {
      events_->OnWritten();
    } else {
      context_.TryCancel();
      EndWrites();
    }
  }
  void OnDone(const grpc::Status& status) override {
    events_->OnEnd(FromGrpcStatus(status));
    self_.reset();
  }

  void EndWrites() {
    {
      base::MutexLock lock(mutex_);
      if (ended_) return;
      ended_ = true;
    }
    RemoveHold();
  }

  const std::shared_ptr<grpc::Channel> channel_;
  grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer> stub_;
  const std::shared_ptr<ClientStreamEvents> events_;
  const size_t response_bytes_max_;
  grpc::ClientContext context_;
  grpc::ByteBuffer read_buffer_;
  grpc::ByteBuffer write_buffer_;
  base::Mutex mutex_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  // gRPC's share, until OnDone.
  std::shared_ptr<GrpcClientStream> self_;
};

struct UnaryState {
  explicit UnaryState(std::shared_ptr<grpc::Channel> used_channel)
      : channel(std::move(used_channel)), stub(channel) {}

  const std::shared_ptr<grpc::Channel> channel;
  grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer> stub;
  grpc::ClientContext context;
  grpc::ByteBuffer request;
  grpc::ByteBuffer response;
  ClientConnection::CallDone done;
};

class GrpcConnection final : public ClientConnection {
 public:
  GrpcConnection(const std::string& authority, size_t response_bytes_max)
      : response_bytes_max_(response_bytes_max) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    // Members are reached directly, whatever the environment says about proxies.
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);
    arguments.SetMaxReceiveMessageSize(
        static_cast<int>(std::min<size_t>(response_bytes_max, INT_MAX)));
    arguments.SetMaxSendMessageSize(INT_MAX);
    channel_ = grpc::CreateCustomChannel(authority, grpc::InsecureChannelCredentials(), arguments);
  }

  std::shared_ptr<ClientStream> OpenStream(std::string_view path,
                                           std::shared_ptr<ClientStreamEvents> events) override {
    auto stream =
        std::make_shared<GrpcClientStream>(channel_, std::move(events), response_bytes_max_);
    stream->Start(path);
    return stream;
  }

  void Call(std::string_view path, SliceList request, std::chrono::milliseconds timeout,
            CallDone done) override {
    auto state = std::make_shared<UnaryState>(channel_);
    state->context.set_deadline(std::chrono::system_clock::now() + timeout);
    state->request = ToByteBuffer(request);
    state->done = std::move(done);
    state->stub.UnaryCall(&state->context, std::string(path), grpc::StubOptions(), &state->request,
                          &state->response,
                          [state, bytes_max = response_bytes_max_](const grpc::Status& status) {
                            Answer(*state, status, bytes_max);
                          });
  }

 private:
  static void Answer(UnaryState& state, const grpc::Status& status, size_t bytes_max) {
    if (!status.ok()) {
      std::move(state.done)(FromGrpcStatus(status));
      return;
    }
    ReceivedMessage message;
    if (absl::Status taken = message.Take(state.response, bytes_max); !taken.ok()) {
      std::move(state.done)(std::move(taken));
      return;
    }
    std::move(state.done)(std::string(message.bytes()));
  }

  const size_t response_bytes_max_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace

Connector GrpcConnector(size_t response_bytes_max) {
  TakeGrpcLog();
  TameCallbackThreads();
  return [response_bytes_max](const std::string& authority) {
    return std::make_unique<GrpcConnection>(authority, response_bytes_max);
  };
}

}  // namespace cairn::rpc
