// gRPC's byte buffers as text, and text as byte buffers.
//
// Holds nothing. Any thread.
#ifndef CAIRN_TEST_BENCH_BYTE_BUFFER_H_
#define CAIRN_TEST_BENCH_BYTE_BUFFER_H_

#include <grpcpp/support/byte_buffer.h>

#include <string>
#include <vector>

namespace cairn::bench {

inline std::string BytesOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Dump(&slices).ok()) return bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

inline grpc::ByteBuffer BufferOf(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace cairn::bench

#endif  // CAIRN_TEST_BENCH_BYTE_BUFFER_H_
