#include "server/environment.h"

#include <algorithm>
#include <cctype>

namespace cairn::server {

namespace {

// Flags of etcd that are not served here and change what a member is, not how it does its work.
constexpr const char* kUnservedFlags[] = {
    "config-file",
    "cert-file",
    "key-file",
    "client-cert-auth",
    "client-crl-file",
    "client-cert-allowed-hostname",
    "trusted-ca-file",
    "auto-tls",
    "peer-cert-file",
    "peer-key-file",
    "peer-client-cert-auth",
    "peer-crl-file",
    "peer-cert-allowed-cn",
    "peer-cert-allowed-hostname",
    "peer-trusted-ca-file",
    "peer-auto-tls",
    "discovery",
    "discovery-srv",
    "discovery-token",
    "discovery-endpoints",
};

}  // namespace

std::string EnvironmentName(std::string_view prefix, std::string_view flag) {
  std::string name(prefix);
  for (const char c : flag) {
    name.push_back(c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c))));
  }
  return name;
}

std::optional<std::string> UnservedVariable(const EnvironmentLookup& environment) {
  for (const char* flag : kUnservedFlags) {
    for (const char* prefix : kEnvironmentPrefixes) {
      std::string name = EnvironmentName(prefix, flag);
      const char* value = environment(name.c_str());
      if (value == nullptr || *value == '\0' || std::string_view(value) == "false") continue;
      return name;
    }
  }
  return std::nullopt;
}

std::vector<std::string> UnknownEnvironment(const char* const* environment,
                                            std::span<const char* const> flags) {
  std::vector<std::string> unknown;
  for (; *environment != nullptr; ++environment) {
    const std::string_view variable(*environment);
    const std::string name(variable.substr(0, variable.find('=')));
    const auto begins = [&](const char* prefix) { return name.starts_with(prefix); };
    if (std::none_of(std::begin(kEnvironmentPrefixes), std::end(kEnvironmentPrefixes), begins)) {
      continue;
    }
    const bool is_known = std::any_of(flags.begin(), flags.end(), [&](const char* flag) {
      return name == EnvironmentName(kEnvironmentPrefixes[0], flag) ||
             name == EnvironmentName(kEnvironmentPrefixes[1], flag);
    });
    if (!is_known) unknown.push_back(name);
  }
  return unknown;
}

}  // namespace cairn::server
