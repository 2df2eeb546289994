// A URL of the kind that flags and members have.
//
// Pure: no thread, clock, file or socket.
#ifndef CAIRN_SERVER_URL_H_
#define CAIRN_SERVER_URL_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace cairn::server {

// scheme://host:port, nothing else.
struct Url {
  std::string scheme;
  std::string host;  // Without the brackets of an IPv6 address.
  uint16_t port = 0;

  // As it was written: scheme://host:port.
  std::string text() const;
  // host:port, with brackets around an IPv6 address.
  std::string authority() const;

  friend bool operator==(const Url&, const Url&) = default;
};

// INVALID_ARGUMENT, naming `text`, for anything but http(s)://host:port, in etcd's words where it
// has some. A slash at the end is overlooked.
absl::StatusOr<Url> ParseUrl(std::string_view text);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_URL_H_
