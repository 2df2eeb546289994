#include "server/peer/greeting.h"

#include <fmt/format.h>

#include <string_view>

#include "api/version.h"
#include "base/status.h"

namespace cairn::server {

namespace {

constexpr std::string_view kRemovedText =
    "the member has been permanently removed from the cluster";

}  // namespace

peer::Greeting MakeGreeting(const PeerIdentity& identity, MemberId to) {
  peer::Greeting greeting;
  greeting.set_cluster_id(identity.cluster.value());
  greeting.set_from_member_id(identity.self.value());
  greeting.set_to_member_id(to.value());
  greeting.set_protocol_version_min(kPeerProtocolVersionMin);
  greeting.set_protocol_version_max(kPeerProtocolVersionMax);
  for (const std::string& url : identity.peer_urls) greeting.add_peer_urls(url);
  greeting.set_server_version(std::string(api::kEtcdVersion));
  return greeting;
}

absl::Status CheckGreeting(const PeerIdentity& identity, const peer::Greeting& greeting) {
  if (greeting.cluster_id() != identity.cluster.value()) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "cluster ID mismatch: {:x} is a member of cluster {:x}, {:x} of {:x}; check "
                       "--initial-cluster-token and --initial-cluster of both",
                       greeting.from_member_id(), greeting.cluster_id(), identity.self,
                       identity.cluster);
  }
  if (greeting.to_member_id() != identity.self.value()) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "member ID mismatch: {:x} looks for {:x} here, but this is {:x}; check the "
                       "peer URLs in the member list",
                       greeting.from_member_id(), greeting.to_member_id(), identity.self);
  }
  if (greeting.from_member_id() == 0 || greeting.from_member_id() == identity.self.value()) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "a peer that calls itself {:x}, as this member or nobody is called",
                       greeting.from_member_id());
  }
  if (greeting.protocol_version_min() > kPeerProtocolVersionMax ||
      greeting.protocol_version_max() < kPeerProtocolVersionMin) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "incompatible version: {:x} speaks peer protocol {} to {}, {:x} speaks {} "
                       "to {}",
                       greeting.from_member_id(), greeting.protocol_version_min(),
                       greeting.protocol_version_max(), identity.self, kPeerProtocolVersionMin,
                       kPeerProtocolVersionMax);
  }
  return absl::OkStatus();
}

absl::Status RemovedStatus(MemberId member, ClusterId cluster) {
  return base::Error(absl::StatusCode::kFailedPrecondition, "{}: {:x} of cluster {:x}",
                     kRemovedText, member, cluster);
}

bool IsRemovedStatus(const absl::Status& status) {
  return status.code() == absl::StatusCode::kFailedPrecondition &&
         base::Message(status).starts_with(kRemovedText);
}

}  // namespace cairn::server
