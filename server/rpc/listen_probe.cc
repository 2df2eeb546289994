#include "server/rpc/listen_probe.h"

#include <absl/status/status.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"

namespace cairn::rpc {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";

class Socket {
 public:
  explicit Socket(int family) : fd_(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

absl::Status CannotListen(std::string_view flag, std::string_view address, int error) {
  const std::string_view remedy =
      error == EADDRINUSE      ? "; another process listens there: stop it or choose another port"
      : error == EADDRNOTAVAIL ? "; no interface of this machine has that address"
                               : "";
  return base::Error(absl::StatusCode::kUnavailable, "{}: cannot listen on {}: {}{}", flag, address,
                     std::strerror(error), remedy);
}

absl::Status ProbeUnix(std::string_view flag, std::string_view address) {
  const std::string_view path = address.substr(kUnixPrefix.size());
  sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(name.sun_path)) {
    return base::Error(absl::StatusCode::kInvalidArgument,
                       "{}: \"{}\" is no path of 1 to {} bytes for a socket", flag, path,
                       sizeof(name.sun_path) - 1);
  }
  std::memcpy(name.sun_path, path.data(), path.size());
  const Socket socket(AF_UNIX);
  // A file that nobody answers at is left over from a crash; the transport replaces it.
  if (connect(socket.fd(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0) {
    return CannotListen(flag, address, EADDRINUSE);
  }
  return absl::OkStatus();
}

// An errno value, or 0 if the address could be bound.
int TryBind(const addrinfo& info) {
  const Socket socket(info.ai_family);
  if (socket.fd() < 0) return errno;
  const int one = 1;
  // As the transport binds: over connections that linger, not over a listener.
  setsockopt(socket.fd(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if (bind(socket.fd(), info.ai_addr, info.ai_addrlen) != 0) return errno;
  if (listen(socket.fd(), 1) != 0) return errno;
  return 0;
}

}  // namespace

absl::Status ProbeListenAddress(std::string_view flag, std::string_view address) {
  if (address.starts_with(kUnixPrefix)) return ProbeUnix(flag, address);
  const size_t colon = address.rfind(':');
  uint16_t port_number = 0;
  const std::string_view port = colon == std::string_view::npos ? "" : address.substr(colon + 1);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), port_number);
  if (port.empty() || error != std::errc() || end != port.data() + port.size()) {
    return base::Error(absl::StatusCode::kInvalidArgument,
                       "{}: \"{}\" is not of the form host:port", flag, address);
  }
  std::string host(address.substr(0, colon));
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);

  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int failed =
      getaddrinfo(host.empty() ? nullptr : host.c_str(), std::string(port).c_str(), &hints, &found);
  if (failed != 0) {
    return base::Error(absl::StatusCode::kInvalidArgument, "{}: cannot resolve \"{}\": {}", flag,
                       host, gai_strerror(failed));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(found, freeaddrinfo);
  int last_error = 0;
  bool bound = false;
  for (const addrinfo* info = list.get(); info != nullptr; info = info->ai_next) {
    last_error = TryBind(*info);
    if (last_error == EADDRINUSE) return CannotListen(flag, address, last_error);
    bound = bound || last_error == 0;
  }
  // A family that the machine lacks (a name with an IPv6 address, no IPv6) is no fault.
  return bound ? absl::OkStatus() : CannotListen(flag, address, last_error);
}

}  // namespace cairn::rpc
