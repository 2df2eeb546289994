// The first transport: a service table served by the distribution's grpc++ (callback API).
//
// Owned by whoever runs the server; Start and Stop come from one thread. Handlers run on gRPC's
// threads. Messages pass as raw bytes, so gRPC never sees a Protobuf. It never looks into a message
// and knows no service by name.
#ifndef CAIRN_SERVER_RPC_GRPC_ENGINE_H_
#define CAIRN_SERVER_RPC_GRPC_ENGINE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/rpc/call.h"
#include "server/rpc/open_calls.h"
#include "server/rpc/service_table.h"

namespace cairn::rpc {

// etcd's default of --max-request-bytes, and what its gRPC layer grants on top for the envelope.
inline constexpr int64_t kDefaultMaxRequestBytes = int64_t{3} << 19;
inline constexpr int64_t kRequestEnvelopeBytes = int64_t{512} << 10;

struct ListenAddress {
  // What to bind: "127.0.0.1:2379", "[::1]:2379", "localhost:2379", ":2379" (every interface) or
  // "unix:/path". Port 0 takes a free one.
  std::string address;
  // How the user wrote it, for messages: "--listen-client-urls=http://127.0.0.1:2379".
  std::string flag;
};

struct GrpcEngineOptions {
  std::vector<ListenAddress> listen;
  // A message of more than this plus kRequestEnvelopeBytes is refused with RESOURCE_EXHAUSTED in
  // grpc-go's words.
  int64_t max_request_bytes = kDefaultMaxRequestBytes;
  // Per connection (etcd: --max-concurrent-streams).
  uint32_t max_concurrent_streams = UINT32_MAX;
  int64_t stream_high_water_bytes = kStreamHighWaterBytes;
  // What a call is answered with that comes while the engine stops; an error.
  absl::Status stopping = absl::UnavailableError("the server is stopping");
  // Where this engine, and no other, notes its open calls; outlives it. Null: a book of its own.
  OpenCalls* open_calls = nullptr;
};

class GrpcEngine {
 public:
  // Listens on every address and serves `table`, which outlives the engine. An address that cannot
  // be bound is UNAVAILABLE naming its flag, and nothing listens then; INVALID_ARGUMENT if there is
  // no address or one has no form.
  static absl::StatusOr<std::unique_ptr<GrpcEngine>> Start(const ServiceTable& table,
                                                           const GrpcEngineOptions& options);
  // Stops at once if Stop was not called.
  ~GrpcEngine();
  GrpcEngine(const GrpcEngine&) = delete;
  GrpcEngine& operator=(const GrpcEngine&) = delete;

  // The port of each address, in order; 0 for a Unix socket.
  const std::vector<int>& ports() const;

  // Refuses new calls, lets those in flight finish for at most `grace`, closes the connections,
  // cancels the rest and waits until gRPC has let go of them. Streams whose services wait for their
  // clients are no work in flight: they end at once, with `stopping`. Takes no longer than the
  // calls do, plus a short goodbye, however many connections lie idle. Calls that their services
  // still hold may be finished afterwards, without effect. `on_grace_over` runs after the wait and
  // before what is left is cancelled: what ends on its word is still answered. Blocks; a second
  // call returns at once.
  void Stop(
      std::chrono::milliseconds grace, const std::function<void()>& on_grace_over = [] {});

 private:
  struct Impl;
  explicit GrpcEngine(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace cairn::rpc

#endif  // CAIRN_SERVER_RPC_GRPC_ENGINE_H_
