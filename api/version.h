// Which Cairn this is, and which etcd it answers as.
#ifndef CAIRN_API_VERSION_H_
#define CAIRN_API_VERSION_H_

#include <string_view>

namespace cairn::api {

// Cairn's own version: --version, the banner, the logs.
inline constexpr std::string_view kCairnVersion = "0.1.0";

// What Status.version says. Clients parse it as a semantic version and decide by it what they may
// ask, so it is the etcd release whose contract api/ holds.
inline constexpr std::string_view kEtcdVersion = "3.7.0";

// Status.storageVersion: the etcd minor release whose stored messages ours equal.
inline constexpr std::string_view kStorageVersion = "3.7.0";

}  // namespace cairn::api

#endif  // CAIRN_API_VERSION_H_
