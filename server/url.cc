#include "server/url.h"

#include <fmt/format.h>

#include <charconv>
#include <system_error>

#include "base/status.h"
#include "base/utf8.h"

namespace cairn::server {

std::string Url::authority() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                             : fmt::format("[{}]:{}", host, port);
}

std::string Url::text() const { return fmt::format("{}://{}", scheme, authority()); }

absl::StatusOr<Url> ParseUrl(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return base::Error(absl::StatusCode::kInvalidArgument, "{}: {}", why, text);
  };
  if (!base::IsUtf8(text)) return bad("URL is no valid UTF-8");
  constexpr std::string_view kNoScheme = "URL scheme must be http, https, unix, or unixs";
  constexpr std::string_view kNoHostPort = "URL address does not have the form \"host:port\"";
  const size_t separator = text.find("://");
  if (separator == std::string_view::npos) return bad(kNoScheme);
  Url url;
  url.scheme = std::string(text.substr(0, separator));
  if (url.scheme == "unix" || url.scheme == "unixs") return bad("unix sockets are not served");
  if (url.scheme != "http" && url.scheme != "https") return bad(kNoScheme);
  std::string_view rest = text.substr(separator + 3);
  if (!rest.empty() && rest.back() == '/') rest.remove_suffix(1);
  if (rest.find('/') != std::string_view::npos) return bad("URL must not contain a path");
  if (rest.find_first_of("?#@ ") != std::string_view::npos) {
    return bad("URL must hold a host and a port only");
  }
  const size_t colon = rest.rfind(':');
  if (colon == std::string_view::npos) return bad(kNoHostPort);
  std::string_view host = rest.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return bad("URL needs brackets around an IPv6 address");
  }
  if (host.empty()) return bad("URL has no host");
  url.host = std::string(host);
  const std::string_view port = rest.substr(colon + 1);
  const auto [end, problem] = std::from_chars(port.data(), port.data() + port.size(), url.port);
  if (port.empty() || problem != std::errc() || end != port.data() + port.size()) {
    return bad("URL has no port number below 65536");
  }
  return url;
}

}  // namespace cairn::server
