// A blocking gRPC client on raw bytes, for the tests of the engine. Test only.
#ifndef CAIRN_SERVER_RPC_GRPC_TEST_CLIENT_H_
#define CAIRN_SERVER_RPC_GRPC_TEST_CLIENT_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/impl/client_unary_call.h>
#include <grpcpp/impl/rpc_method.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>
#include <grpcpp/support/sync_stream.h>

#include <climits>
#include <memory>
#include <string>
#include <vector>

namespace cairn::rpc {

inline grpc::ByteBuffer BufferOf(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

inline std::string BytesOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (buffer.Valid()) buffer.Dump(&slices);
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

class TestClient {
 public:
  using Stream = grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>;

  // A connection of its own to "host:port" or "unix:/path".
  explicit TestClient(const std::string& target) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetMaxReceiveMessageSize(INT_MAX);
    channel_ = grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
  }

  grpc::Status Unary(const char* path, const std::string& request, std::string* response,
                     grpc::ClientContext* context) {
    const grpc::internal::RpcMethod method(path, grpc::internal::RpcMethod::NORMAL_RPC, channel_);
    grpc::ByteBuffer received;
    const grpc::Status status = grpc::internal::BlockingUnaryCall(channel_.get(), method, context,
                                                                  BufferOf(request), &received);
    if (response != nullptr) *response = BytesOf(received);
    return status;
  }
  grpc::Status Unary(const char* path, const std::string& request,
                     std::string* response = nullptr) {
    grpc::ClientContext context;
    return Unary(path, request, response, &context);
  }

  std::unique_ptr<Stream> Start(const char* path, grpc::ClientContext* context) {
    const grpc::internal::RpcMethod method(path, grpc::internal::RpcMethod::BIDI_STREAMING,
                                           channel_);
    return std::unique_ptr<Stream>(
        grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(
            channel_.get(), method, context));
  }

  std::shared_ptr<grpc::Channel> channel() const { return channel_; }

 private:
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace cairn::rpc

#endif  // CAIRN_SERVER_RPC_GRPC_TEST_CLIENT_H_
