#include "server/rpc/grpc_engine.h"

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/synchronization/mutex.h>
#include <grpc/grpc.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/impl/codegen/server_callback_handlers.h>
#include <grpcpp/impl/rpc_service_method.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"
#include "server/rpc/grpc_bytes.h"
#include "server/rpc/grpc_call.h"
#include "server/rpc/grpc_log.h"
#include "server/rpc/grpc_threads.h"
#include "server/rpc/listen_probe.h"

namespace cairn::rpc {
namespace {

// etcd's keepalive (etcd-semantics.md section 13): a client that pings faster, or without a call
// under way, is sent away; an idle client is asked for a sign of life.
constexpr int kMinClientPingMs = 5'000;
constexpr int kServerPingMs = 2 * 60 * 60 * 1'000;
constexpr int kServerPingTimeoutMs = 20'000;
// Room for a signed token of several KiB; gRPC's 8 KiB are tight, Go's 16 MiB a gift to attackers.
constexpr int kMaxMetadataBytes = 64 << 10;
// What gRPC may hold for connections and calls (not messages) before it refuses more: some 10,000
// connections with 100 calls each.
constexpr size_t kTransportMemoryBytes = size_t{1} << 30;
// Clients that listen have closed their connections by then, the others are cut off.
constexpr std::chrono::milliseconds kGoodbye{100};
// A connection that has not greeted by then is closed.
constexpr int kHandshakeTimeoutMs = 20'000;

// The methods of the table, as gRPC knows services: each has its handler on raw bytes.
class TableService final : public grpc::Service {
 public:
  TableService(const ServiceTable& table, const GrpcCallLimits& limits) {
    int index = 0;
    for (const auto& [path, handler] : table.methods()) {
      if (const auto* unary = std::get_if<UnaryHandler>(&handler)) {
        AddUnary(index, path, *unary, limits);
      } else {
        AddStream(index, path, std::get<StreamHandler>(handler), limits);
      }
      ++index;
    }
  }

 private:
  // The table outlives the service, so its strings and handlers are referred to.
  void AddUnary(int index, const std::string& path, const UnaryHandler& handler,
                const GrpcCallLimits& limits) {
    AddMethod(new grpc::internal::RpcServiceMethod(path.c_str(),
                                                   grpc::internal::RpcMethod::NORMAL_RPC, nullptr));
    MarkMethodRawCallback(
        index, new grpc::internal::CallbackUnaryHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
                   [&path, &handler, &limits](grpc::CallbackServerContext* context,
                                              const grpc::ByteBuffer* request,
                                              grpc::ByteBuffer* response) {
                     return StartGrpcUnary(path, handler, limits, *context, *request, *response);
                   }));
  }
  void AddStream(int index, const std::string& path, const StreamHandler& handler,
                 const GrpcCallLimits& limits) {
    AddMethod(new grpc::internal::RpcServiceMethod(
        path.c_str(), grpc::internal::RpcMethod::BIDI_STREAMING, nullptr));
    MarkMethodRawCallback(
        index, new grpc::internal::CallbackBidiHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
                   [&path, &handler, &limits](grpc::CallbackServerContext* context) {
                     return StartGrpcStream(path, handler, limits, *context);
                   }));
  }
};

// Answers every path that the table does not have.
class UnknownService final : public grpc::CallbackGenericService {
 public:
  explicit UnknownService(const ServiceTable& table) : table_(table) {}

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    class Refusal final : public grpc::ServerGenericBidiReactor {
     public:
      explicit Refusal(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
      void OnDone() override { delete this; }
    };
    return new Refusal(table_.UnknownPath(context->method()));
  }

 private:
  const ServiceTable& table_;
};

void SetArguments(const GrpcEngineOptions& options, grpc::ServerBuilder& builder) {
  // Two servers on one port would each get half of the connections.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // No statistics, tracing and compression filters: they cost every small call.
  builder.AddChannelArgument(GRPC_ARG_MINIMAL_STACK, 1);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CHANNEL_TRACE_EVENT_MEMORY_PER_NODE, 0);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  // The size is checked by ReceivedMessage, in etcd's words; gRPC itself checks no earlier.
  builder.SetMaxReceiveMessageSize(-1);
  builder.SetMaxSendMessageSize(-1);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(
      GRPC_ARG_MAX_CONCURRENT_STREAMS,
      static_cast<int>(std::min<uint32_t>(options.max_concurrent_streams, INT_MAX)));
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeoutMs);

  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kMinClientPingMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kServerPingMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kServerPingTimeoutMs);

  grpc::ResourceQuota quota("cairn");
  quota.Resize(kTransportMemoryBytes);
  builder.SetResourceQuota(quota);
}

// Whoever lets go of gRPC last joins its threads, and one of them, which finishes writes that a
// socket had no room for, looks up every 10 s only: a stop with one slow client would take as long.
// So gRPC stays until the process ends.
void KeepLibrary() {
  [[maybe_unused]] static const bool kept = [] {
    TakeGrpcLog();
    grpc_init();
    TameCallbackThreads();
    return true;
  }();
}

// gRPC's form of an address: an empty host is every interface.
std::string GrpcAddress(std::string_view address) {
  if (address.starts_with(':')) return fmt::format("[::]{}", address);
  return std::string(address);
}

}  // namespace

struct GrpcEngine::Impl {
  Impl(const ServiceTable& table, const GrpcEngineOptions& options)
      : limits{.max_message_bytes =
                   static_cast<size_t>(options.max_request_bytes + kRequestEnvelopeBytes),
               .stream_high_water_bytes = options.stream_high_water_bytes,
               .stopping = options.stopping,
               .gate = gate,
               .open_calls = options.open_calls == nullptr ? own_open_calls : *options.open_calls},
        service(table, limits),
        unknown(table) {}

  CallGate gate;
  OpenCalls own_open_calls;
  const GrpcCallLimits limits;
  TableService service;
  UnknownService unknown;
  std::vector<int> ports;
  // Null once stopped. Goes before what it serves.
  std::unique_ptr<grpc::Server> server;
};

GrpcEngine::GrpcEngine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

GrpcEngine::~GrpcEngine() { Stop(std::chrono::milliseconds(0)); }

absl::StatusOr<std::unique_ptr<GrpcEngine>> GrpcEngine::Start(const ServiceTable& table,
                                                              const GrpcEngineOptions& options) {
  if (options.listen.empty()) {
    return base::MakeStatus(absl::StatusCode::kInvalidArgument, "there is no address to listen on");
  }
  // The packaged Abseil, under gRPC's own locks, is built to look for deadlocks at every lock: some
  // percent of a call, in code that is not ours to debug. For the whole process.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  KeepLibrary();
  auto impl = std::make_unique<Impl>(table, options);
  grpc::ServerBuilder builder;
  SetArguments(options, builder);
  impl->ports.resize(options.listen.size());
  for (size_t i = 0; i < options.listen.size(); ++i) {
    const ListenAddress& listen = options.listen[i];
    CAIRN_RETURN_IF_ERROR(ProbeListenAddress(listen.flag, listen.address));
    builder.AddListeningPort(GrpcAddress(listen.address), grpc::InsecureServerCredentials(),
                             &impl->ports[i]);
  }
  builder.RegisterService(&impl->service);
  builder.RegisterCallbackGenericService(&impl->unknown);
  impl->server = builder.BuildAndStart();
  if (impl->server == nullptr) {
    const auto failed = std::find(impl->ports.begin(), impl->ports.end(), 0);
    const size_t i = failed == impl->ports.end() ? 0 : failed - impl->ports.begin();
    return base::Error(absl::StatusCode::kUnavailable, "{}: cannot listen on {}",
                       options.listen[i].flag, options.listen[i].address);
  }
  for (size_t i = 0; i < options.listen.size(); ++i) {
    if (options.listen[i].address.starts_with("unix:")) impl->ports[i] = 0;
  }
  return std::unique_ptr<GrpcEngine>(new GrpcEngine(std::move(impl)));
}

const std::vector<int>& GrpcEngine::ports() const { return impl_->ports; }

void GrpcEngine::Stop(std::chrono::milliseconds grace, const std::function<void()>& on_grace_over) {
  if (impl_->server == nullptr) return;
  impl_->gate.Close();
  impl_->limits.open_calls.EndWaiting();
  impl_->gate.Wait(grace);
  on_grace_over();
  impl_->server->Shutdown(std::chrono::system_clock::now() + std::min(grace, kGoodbye));
  impl_->server->Wait();
  impl_->server.reset();
}

}  // namespace cairn::rpc
