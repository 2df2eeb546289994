// Between slices and gRPC's byte buffers, and between the two kinds of status. Of the grpc++ engine
// alone; stateless.
#ifndef CAIRN_SERVER_RPC_GRPC_BYTES_H_
#define CAIRN_SERVER_RPC_GRPC_BYTES_H_

#include <absl/status/status.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "server/rpc/slice.h"

namespace cairn::rpc {

// The message as gRPC sends it. Large slices stay shared until gRPC has sent them.
grpc::ByteBuffer ToByteBuffer(const SliceList& message);

// A received message, contiguous. Points into the buffer if that is in one piece, as small messages
// are, and copies otherwise. Not copyable: the view may point into itself.
class ReceivedMessage {
 public:
  ReceivedMessage() = default;
  ReceivedMessage(const ReceivedMessage&) = delete;
  ReceivedMessage& operator=(const ReceivedMessage&) = delete;

  // Takes the contents of `buffer`. UNIMPLEMENTED for a compressed message, RESOURCE_EXHAUSTED for
  // one of more than `max_bytes`, both in grpc-go's words; INTERNAL if the client sent none.
  absl::Status Take(grpc::ByteBuffer& buffer, size_t max_bytes);

  std::string_view bytes() const { return bytes_; }

 private:
  grpc::ByteBuffer buffer_;
  std::string flat_;
  std::string_view bytes_;
};

grpc::Status ToGrpcStatus(const absl::Status& status);

// "127.0.0.1:4711" of gRPC's "ipv4:127.0.0.1:4711", "[::1]:4711" of "ipv6:%5B::1%5D:4711", others
// as they are.
std::string PeerText(std::string_view grpc_peer);

}  // namespace cairn::rpc

#endif  // CAIRN_SERVER_RPC_GRPC_BYTES_H_
