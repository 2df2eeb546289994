// Joining a cluster that is there: what its members say, against what the flags say.
//
// Main thread only, before anything else runs. How a member is asked is a parameter: the server
// brings gRPC, tests bring answers. Errors are etcd's where it has them.
#ifndef CAIRN_SERVER_JOIN_H_
#define CAIRN_SERVER_JOIN_H_

#include <absl/status/statusor.h>

#include <functional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "server/config.h"
#include "server/node.h"

namespace cairn::server {

// A cluster as one of its members knows it.
struct ExistingCluster {
  ClusterId id;
  Members members;
};

// Asks whoever listens at a peer URL, and waits for the answer.
using AskMembers = std::function<absl::StatusOr<ExistingCluster>(const std::string& peer_url)>;

// Asks the other members that `config` names, one URL after the other, until one answers.
// UNAVAILABLE when none does.
absl::StatusOr<ExistingCluster> FindCluster(const Config& config, const AskMembers& ask);

// The id under which `existing` expects the member that `config` describes. Both must name the same
// members, told by their peer URLs. FAILED_PRECONDITION otherwise, and when the member has been
// running before: its data is gone, and with it what it has promised.
absl::StatusOr<MemberId> FindOwnId(const Config& config, const ExistingCluster& existing);

// For a member of a new cluster, which is to be `self` there: FAILED_PRECONDITION when one of the
// others says that it has been running before. Nobody answering is fine, for so a cluster begins.
absl::Status CheckNotBootstrapped(const Config& config, MemberId self, const AskMembers& ask);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_JOIN_H_
