// Names of environment variables: which stand for flags, and which etcd would act on though there
// is no such flag here.
//
// Pure. Never reads the environment itself.
#ifndef CAIRN_SERVER_ENVIRONMENT_H_
#define CAIRN_SERVER_ENVIRONMENT_H_

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::server {

// Looks a variable up in the environment; null when it is not set.
using EnvironmentLookup = std::function<const char*(const char* name)>;

// CAIRN_ and ETCD_: the first one counts where both are set.
inline constexpr const char* kEnvironmentPrefixes[] = {"CAIRN_", "ETCD_"};

// The variable that stands for `flag` ("data-dir"), with the prefix.
std::string EnvironmentName(std::string_view prefix, std::string_view flag);

// A variable that asks for what an etcd would do and Cairn cannot: read another configuration,
// admit only whom a certificate names, find its cluster elsewhere. To go on without it would be to
// run as something else than was meant. Empty values and "false" ask for nothing.
std::optional<std::string> UnservedVariable(const EnvironmentLookup& environment);

// Variables of ours or etcd's that none of `flags` answers to, for a warning.
std::vector<std::string> UnknownEnvironment(const char* const* environment,
                                            std::span<const char* const> flags);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_ENVIRONMENT_H_
