#include "server/rpc/proto.h"

#include <absl/status/status.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message_lite.h>

#include <climits>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"

namespace cairn::rpc {

absl::Status UndecodableRequest(std::string_view bytes, std::string_view type) {
  return base::Error(absl::StatusCode::kInternal,
                     "grpc: error unmarshalling request: {} bytes are no valid {}", bytes.size(),
                     type);
}

absl::Status Parse(std::string_view bytes, google::protobuf::MessageLite& message) {
  if (bytes.size() > INT_MAX ||
      !message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return UndecodableRequest(bytes, message.GetTypeName());
  }
  return absl::OkStatus();
}

Slice Encode(const google::protobuf::MessageLite& message) {
  std::string bytes;
  message.SerializeToString(&bytes);
  return Slice::FromString(std::move(bytes));
}

void AddUnimplementedRest(const google::protobuf::ServiceDescriptor& service, ServiceTable& table) {
  for (int i = 0; i < service.method_count(); ++i) {
    const google::protobuf::MethodDescriptor& method = *service.method(i);
    if (table.Has(service.full_name(), method.name())) continue;
    if (method.client_streaming() || method.server_streaming()) {
      table.AddUnimplementedStream(service.full_name(), method.name());
    } else {
      table.AddUnimplementedUnary(service.full_name(), method.name());
    }
  }
}

}  // namespace cairn::rpc
