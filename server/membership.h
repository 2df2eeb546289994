// Who is in a new cluster: ids as etcd derives them, and the entries that its log begins with.
//
// Values in, values out; any thread. What a change does to a cluster: membership_change.h.
#ifndef CAIRN_SERVER_MEMBERSHIP_H_
#define CAIRN_SERVER_MEMBERSHIP_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "raft/types.h"
#include "server/config.h"
#include "server/node.h"

namespace cairn::server {

// The first eight bytes, big endian, of the SHA-1 of the sorted peer URLs and the token, as etcd
// derives the id of a member of a new cluster.
MemberId DeriveMemberId(std::vector<std::string> peer_urls, std::string_view cluster_token);

// The id of a member that is added at `unix_seconds` (etcd leaves the token out here).
MemberId DeriveAddedMemberId(std::vector<std::string> peer_urls, int64_t unix_seconds);

// The same of the members' ids, big endian, in rising order.
ClusterId DeriveClusterId(std::vector<MemberId> members);

// The members of a new cluster, sorted by id. Names are empty: each member publishes its own.
Members InitialMembers(const std::vector<InitialMember>& initial_cluster, std::string_view token);

// The log that every member of a new cluster starts with: one configuration entry per member at
// term 1, in the order of their ids, byte-equal everywhere.
std::vector<raft::Entry> BootstrapEntries(const Members& members);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_MEMBERSHIP_H_
