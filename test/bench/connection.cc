#include "test/bench/connection.h"

#include <absl/synchronization/mutex.h>
#include <fcntl.h>
#include <grpc/grpc.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/status.h"

namespace cairn::bench {
namespace {

// SETTINGS_INITIAL_WINDOW_SIZE of RFC 9113, section 6.5.2.
constexpr int kInitialWindowBytes = 65535;
// Between two attempts to reach a server that is away, and the longest one may take.
constexpr int kReconnectMs = 100;

absl::StatusOr<int> ConnectSocket(const std::string& endpoint) {
  const size_t colon = endpoint.rfind(':');
  if (colon == endpoint.npos) {
    return base::Error(absl::StatusCode::kInvalidArgument, "{}: not HOST:PORT", endpoint);
  }
  const addrinfo hints{.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  addrinfo* address = nullptr;
  const int unknown = getaddrinfo(endpoint.substr(0, colon).c_str(),
                                  endpoint.substr(colon + 1).c_str(), &hints, &address);
  if (unknown != 0) {
    return base::Error(absl::StatusCode::kInvalidArgument, "{}: {}", endpoint,
                       gai_strerror(unknown));
  }
  const int file = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int failed =
      file < 0 || connect(file, address->ai_addr, address->ai_addrlen) != 0 ? errno : 0;
  freeaddrinfo(address);
  if (failed != 0) {
    if (file >= 0) close(file);
    return base::Error(absl::StatusCode::kUnavailable, "{}: {}", endpoint, strerror(failed));
  }
  const int on = 1;
  setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  fcntl(file, F_SETFL, O_NONBLOCK);
  return file;
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const std::string& endpoint,
                                                       ReadAhead read_ahead) {
  CAIRN_ASSIGN_OR_RETURN(const int file, ConnectSocket(endpoint));
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_MINIMAL_STACK, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_CHANNELZ, 0);
  arguments.SetMaxReceiveMessageSize(-1);
  if (read_ahead == ReadAhead::kLeast) {
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kInitialWindowBytes);
  }
  return grpc::CreateCustomInsecureChannelFromFd(endpoint, file, arguments);
}

std::vector<std::string> SplitEndpoints(const std::string& endpoints) {
  std::vector<std::string> split;
  size_t start = 0;
  for (size_t comma; (comma = endpoints.find(',', start)) != endpoints.npos; start = comma + 1) {
    split.push_back(endpoints.substr(start, comma - start));
  }
  split.push_back(endpoints.substr(start));
  return split;
}

absl::StatusOr<std::vector<std::unique_ptr<grpc::GenericStub>>> ConnectStubs(
    const std::string& endpoints, uint32_t count, ReadAhead read_ahead) {
  const std::vector<std::string> split = SplitEndpoints(endpoints);
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs;
  for (uint32_t i = 0; i < count; ++i) {
    CAIRN_ASSIGN_OR_RETURN(auto channel, Connect(split[i % split.size()], read_ahead));
    stubs.push_back(std::make_unique<grpc::GenericStub>(std::move(channel)));
  }
  return stubs;
}

std::vector<std::unique_ptr<grpc::GenericStub>> ReconnectingStubs(const std::string& endpoints) {
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs;
  for (const std::string& endpoint : SplitEndpoints(endpoints)) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectMs);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kReconnectMs);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMs);
    stubs.push_back(std::make_unique<grpc::GenericStub>(
        grpc::CreateCustomChannel(endpoint, grpc::InsecureChannelCredentials(), arguments)));
  }
  return stubs;
}

void DisableLockOrderCheck() {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

}  // namespace cairn::bench
