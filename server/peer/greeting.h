// How a stream between members begins: who speaks to whom, and in which words.
//
// Pure; any thread.
#ifndef CAIRN_SERVER_PEER_GREETING_H_
#define CAIRN_SERVER_PEER_GREETING_H_

#include <absl/status/status.h>

#include <string>
#include <vector>

#include "api/peer.pb.h"
#include "base/ids.h"

namespace cairn::server {

// The version of api/peer.proto that this member speaks, lowest and highest.
inline constexpr uint32_t kPeerProtocolVersionMin = 1;
inline constexpr uint32_t kPeerProtocolVersionMax = 1;

struct PeerIdentity {
  ClusterId cluster;
  MemberId self;
  // Where this member listens for its peers, as the cluster knows it.
  std::vector<std::string> peer_urls;
};

peer::Greeting MakeGreeting(const PeerIdentity& identity, MemberId to);

// Whether `greeting` comes from a member of this cluster, is meant for this member, and can be
// understood: FAILED_PRECONDITION with the reason otherwise.
absl::Status CheckGreeting(const PeerIdentity& identity, const peer::Greeting& greeting);

// What a member is told that was removed from the cluster.
absl::Status RemovedStatus(MemberId member, ClusterId cluster);
// Whether `status` is such an answer.
bool IsRemovedStatus(const absl::Status& status);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_PEER_GREETING_H_
