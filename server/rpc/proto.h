// Protobuf on top of call.h: requests parsed, responses encoded, whole services filled up.
//
// Apart from call.h so that the core stays free of Protobuf. Stateless; any thread.
#ifndef CAIRN_SERVER_RPC_PROTO_H_
#define CAIRN_SERVER_RPC_PROTO_H_

#include <absl/status/status.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message_lite.h>

#include <memory>
#include <string_view>
#include <utility>

#include "server/rpc/call.h"
#include "server/rpc/service_table.h"

namespace cairn::rpc {

// What a request that is no message of `type` is answered with: INTERNAL with grpc-go's prefix. It
// comes before any other check, since nobody knows yet what was asked.
absl::Status UndecodableRequest(std::string_view bytes, std::string_view type);

// Fills `message` from `bytes`. UndecodableRequest if they are no such message.
absl::Status Parse(std::string_view bytes, google::protobuf::MessageLite& message);

// `message` encoded into one slice. Messages are at most 2^31-1 bytes.
Slice Encode(const google::protobuf::MessageLite& message);

// A handler that parses the request as `Request`, answers what cannot be parsed, and passes the
// rest to `handler(std::unique_ptr<UnaryCall>, Request)`.
template <typename Request, typename Handler>
UnaryHandler TypedUnary(Handler handler) {
  return [handler = std::move(handler)](std::unique_ptr<UnaryCall> call) {
    Request request;
    if (absl::Status status = Parse(call->request(), request); !status.ok()) {
      call->Finish(std::move(status));
      return;
    }
    handler(std::move(call), std::move(request));
  };
}

// The same for one request and a stream of answers: `handler(std::shared_ptr<StreamCall>,
// Request)`.
template <typename Request, typename Handler>
ServerStreamHandler TypedServerStream(Handler handler) {
  return [handler = std::move(handler)](std::shared_ptr<StreamCall> call, std::string_view bytes) {
    Request request;
    if (absl::Status status = Parse(bytes, request); !status.ok()) {
      call->Finish(std::move(status));
      return;
    }
    handler(std::move(call), std::move(request));
  };
}

// Adds every rpc of `service` that `table` does not have yet as UNIMPLEMENTED, naming itself.
void AddUnimplementedRest(const google::protobuf::ServiceDescriptor& service, ServiceTable& table);

}  // namespace cairn::rpc

#endif  // CAIRN_SERVER_RPC_PROTO_H_
