// Calls of the grpc++ engine: the reactors that gRPC drives, and the service's handles to them.
//
// A reactor lives until gRPC is done with the call and the service has let go of its handle,
// whichever is later. When a call is cancelled the reactor takes leave of gRPC at once (after
// keeping what the service may still ask for), so that a service that is slow to notice never holds
// up a stop. Of the engine alone.
#ifndef CAIRN_SERVER_RPC_GRPC_CALL_H_
#define CAIRN_SERVER_RPC_GRPC_CALL_H_

#include <absl/status/status.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/status.h"
#include "server/rpc/call.h"
#include "server/rpc/call_gate.h"
#include "server/rpc/open_calls.h"

namespace cairn::rpc {

// What the calls of one engine share.
struct GrpcCallLimits {
  size_t max_message_bytes = 0;
  int64_t stream_high_water_bytes = 0;
  // What a call is answered with that comes while the engine stops; an error.
  absl::Status stopping;
  CallGate& gate;
  OpenCalls& open_calls;
};

// What the client of a call hears that is overdue (OpenCalls).
inline absl::Status OverdueStatus() {
  return base::MakeStatus(absl::StatusCode::kUnavailable, kOverdueText);
}

// Starts `handler` on a new call; `path`, `handler` and `limits` outlive it. What cannot be
// accepted is answered without the handler.
grpc::ServerUnaryReactor* StartGrpcUnary(std::string_view path, const UnaryHandler& handler,
                                         const GrpcCallLimits& limits,
                                         grpc::CallbackServerContext& context,
                                         const grpc::ByteBuffer& request,
                                         grpc::ByteBuffer& response);

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StartGrpcStream(
    std::string_view path, const StreamHandler& handler, const GrpcCallLimits& limits,
    grpc::CallbackServerContext& context);

}  // namespace cairn::rpc

#endif  // CAIRN_SERVER_RPC_GRPC_CALL_H_
