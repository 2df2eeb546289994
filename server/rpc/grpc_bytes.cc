#include "server/rpc/grpc_bytes.h"

#include <absl/container/inlined_vector.h>
#include <absl/status/status.h>
#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>
#include <grpcpp/support/status.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"

namespace cairn::rpc {
namespace {

grpc::Slice ToGrpcSlice(const Slice& slice) {
  const std::string_view bytes = slice.bytes();
  if (bytes.size() < kShareFromBytes) return grpc::Slice(bytes.data(), bytes.size());
  return grpc::Slice(
      const_cast<char*>(bytes.data()), bytes.size(),
      [](void* share) { delete static_cast<Slice*>(share); }, new Slice(slice));
}

// gRPC's own header asserts that a ByteBuffer is this one pointer. Reading it saves a reference
// count per call and is the only way to see whether a message came compressed.
const grpc_byte_buffer* RawBuffer(const grpc::ByteBuffer& buffer) {
  static_assert(sizeof(grpc::ByteBuffer) == sizeof(grpc_byte_buffer*));
  return *reinterpret_cast<grpc_byte_buffer* const*>(&buffer);
}

std::string_view EncodingName(grpc_compression_algorithm algorithm) {
  return algorithm == GRPC_COMPRESS_GZIP ? "gzip" : "deflate";
}

}  // namespace

grpc::ByteBuffer ToByteBuffer(const SliceList& message) {
  absl::InlinedVector<grpc::Slice, 2> slices;
  for (const Slice& slice : message.slices()) slices.push_back(ToGrpcSlice(slice));
  return grpc::ByteBuffer(slices.data(), slices.size());
}

absl::Status ReceivedMessage::Take(grpc::ByteBuffer& buffer, size_t max_bytes) {
  if (!buffer.Valid()) {
    return base::MakeStatus(absl::StatusCode::kInternal,
                            "the client ended the call without a request");
  }
  buffer_.Clear();
  buffer_.Swap(&buffer);
  const grpc_byte_buffer& raw = *RawBuffer(buffer_);
  if (raw.data.raw.compression != GRPC_COMPRESS_NONE) {
    // As etcd does: and a few bytes that unpack to gigabytes are refused before they are unpacked.
    return base::Error(absl::StatusCode::kUnimplemented,
                       "grpc: Decompressor is not installed for grpc-encoding \"{}\"",
                       EncodingName(raw.data.raw.compression));
  }
  const grpc_slice_buffer& slices = raw.data.raw.slice_buffer;
  if (slices.length > max_bytes) {
    return base::Error(absl::StatusCode::kResourceExhausted,
                       "grpc: received message larger than max ({} vs. {})", slices.length,
                       max_bytes);
  }
  if (slices.count == 1) {
    const grpc_slice& only = slices.slices[0];
    bytes_ = {reinterpret_cast<const char*>(GRPC_SLICE_START_PTR(only)), GRPC_SLICE_LENGTH(only)};
    return absl::OkStatus();
  }
  flat_.clear();
  flat_.reserve(slices.length);
  for (size_t i = 0; i < slices.count; ++i) {
    flat_.append(reinterpret_cast<const char*>(GRPC_SLICE_START_PTR(slices.slices[i])),
                 GRPC_SLICE_LENGTH(slices.slices[i]));
  }
  bytes_ = flat_;
  buffer_.Clear();
  return absl::OkStatus();
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status();
  // The numbers of both enumerations are those of the wire.
  return grpc::Status(static_cast<grpc::StatusCode>(status.raw_code()),
                      std::string(base::Message(status)));
}

std::string PeerText(std::string_view grpc_peer) {
  if (grpc_peer.starts_with("ipv4:")) return std::string(grpc_peer.substr(5));
  if (!grpc_peer.starts_with("ipv6:")) return std::string(grpc_peer);
  std::string text;
  for (size_t i = 5; i < grpc_peer.size(); ++i) {
    const std::string_view rest = grpc_peer.substr(i);
    if (rest.starts_with("%5B") || rest.starts_with("%5D") || rest.starts_with("%25")) {
      text += rest[2] == 'B' ? '[' : rest[2] == 'D' ? ']' : '%';
      i += 2;
    } else {
      text += rest[0];
    }
  }
  return text;
}

}  // namespace cairn::rpc
