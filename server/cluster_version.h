// Which version a cluster has, and whether it may go back to the one before.
//
// Pure: values in, decisions out; any thread. Versions are those of the etcd whose contract a
// server speaks. The cluster's version is what all members speak, with its last number 0; the
// leader raises it when everyone can, and lowers it when an operator prepares a downgrade, by one
// minor version. It gates downgrades and nothing else: all that members propose is in every version
// that there has been. What a later version adds must wait until the cluster has come to it, since
// a member that meets an entry of a kind it does not know stops (command.h).
#ifndef CAIRN_SERVER_CLUSTER_VERSION_H_
#define CAIRN_SERVER_CLUSTER_VERSION_H_

#include <absl/status/status.h>

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::server {

struct Version {
  uint32_t major_number = 0;
  uint32_t minor_number = 0;
  uint32_t patch_number = 0;

  friend auto operator<=>(const Version&, const Version&) = default;
};

// What a cluster has before anyone knows what its members speak: the lowest version there is.
inline constexpr Version kMinClusterVersion{3, 0, 0};

// "3.7.1"; what a semantic version may have behind a '-' or '+' is left out. None for other text.
std::optional<Version> ParseVersion(std::string_view text);
// The same without the last number: the cluster's version that belongs to a server's.
Version ClusterVersionOf(const Version& version);
// "3.7.0", and "3.7" as clients are told it.
std::string FullText(const Version& version);
std::string ShortText(const Version& version);

// What the cluster's version should become, none if it is right as it is. `members` are the
// versions of all members, none for one that is not known now; `current` and `downgrade_target` are
// what the cluster has, if it has any.
std::optional<Version> DecideClusterVersion(const std::optional<Version>& current,
                                            const std::vector<std::optional<Version>>& members,
                                            const std::optional<Version>& downgrade_target);

// The target of a downgrade as a client writes it, "3.6" or "3.6.0". None for other text.
std::optional<Version> ParseDowngradeTarget(std::string_view text);

// Whether a downgrade to `target` may begin: FAILED_PRECONDITION "cluster version not found during
// downgrade", INVALID_ARGUMENT "invalid downgrade target version" unless it is the minor version
// just below, FAILED_PRECONDITION "cluster has a downgrade job in progress".
absl::Status CheckDowngrade(const std::optional<Version>& current, const Version& target,
                            const std::optional<Version>& downgrade_target);

// Whether all members speak `target` now, so that the downgrade has come to its end.
bool IsDowngradeDone(const std::vector<std::optional<Version>>& members, const Version& target);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_CLUSTER_VERSION_H_
