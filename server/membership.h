// Who is in the cluster: ids as etcd derives them, the bootstrap entries, the effect of a change.
//
// Pure. The rows themselves live in the state and move with the entry that changes them; the
// applier calls ApplyChange and stores what comes out.
#ifndef CAIRN_SERVER_MEMBERSHIP_H_
#define CAIRN_SERVER_MEMBERSHIP_H_

#include <absl/status/statusor.h>

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

// The same of the members' ids, big endian, in rising order.
ClusterId DeriveClusterId(std::vector<MemberId> members);

// The members of a new cluster, sorted by id. Names are empty: each member publishes its own.
Members InitialMembers(const std::vector<InitialMember>& initial_cluster, std::string_view token);

// The log that every member of a new cluster starts with: one configuration entry per member at
// term 1, in the order of their ids, byte-equal everywhere.
std::vector<raft::Entry> BootstrapEntries(const Members& members);

// What the cluster looks like after an entry.
struct Membership {
  Members members;
  raft::Configuration configuration;
};

// `before` changed by the configuration entry `data`. DATA_LOSS for bytes that no version wrote,
// UNIMPLEMENTED for a kind of change that this version does not know: the member stops on either.
absl::StatusOr<Membership> ApplyChange(Membership before, std::string_view data);

// The rows of the state, and back. Decoding fails with DATA_LOSS.
std::string EncodeMember(const Member& member);
absl::StatusOr<Member> DecodeMember(std::string_view bytes);
std::string EncodeConfiguration(const raft::Configuration& configuration);
absl::StatusOr<raft::Configuration> DecodeConfiguration(std::string_view bytes);

// The body of a kPublishMember command, and back.
struct PublishedAttributes {
  MemberId id;
  std::string name;
  std::vector<std::string> client_urls;
};
std::string EncodePublished(const PublishedAttributes& attributes);
absl::StatusOr<PublishedAttributes> DecodePublished(std::string_view bytes);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_MEMBERSHIP_H_
