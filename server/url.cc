#include "server/url.h"

#include <fmt/format.h>

#include <charconv>
#include <system_error>

#include "base/status.h"

namespace cairn::server {

std::string Url::authority() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                             : fmt::format("[{}]:{}", host, port);
}

std::string Url::text() const { return fmt::format("{}://{}", scheme, authority()); }

absl::StatusOr<Url> ParseUrl(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return base::Error(absl::StatusCode::kInvalidArgument, "\"{}\" {}", text, why);
  };
  const size_t separator = text.find("://");
  if (separator == std::string_view::npos) return bad("is not a URL: scheme://host:port");
  Url url;
  url.scheme = std::string(text.substr(0, separator));
  if (url.scheme != "http" && url.scheme != "https") return bad("has neither http nor https");
  std::string_view rest = text.substr(separator + 3);
  if (!rest.empty() && rest.back() == '/') rest.remove_suffix(1);
  if (rest.find_first_of("/?#@ ") != std::string_view::npos) {
    return bad("must hold a host and a port only");
  }
  const size_t colon = rest.rfind(':');
  if (colon == std::string_view::npos) return bad("has no port");
  std::string_view host = rest.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return bad("needs brackets around an IPv6 address");
  }
  if (host.empty()) return bad("has no host");
  url.host = std::string(host);
  const std::string_view port = rest.substr(colon + 1);
  const auto [end, problem] = std::from_chars(port.data(), port.data() + port.size(), url.port);
  if (port.empty() || problem != std::errc() || end != port.data() + port.size()) {
    return bad("has no port number below 65536");
  }
  return url;
}

}  // namespace cairn::server
