// What other members ask of this one: the receiving side of their streams (api/peer.proto).
//
// Made once by the server and registered in the table of the peer port; outlives every call on it.
// Handlers run on the transport's threads and never block. Knows no transport. A peer that is not
// of this cluster, looks for another member, was removed, or shares no version is refused with the
// reason; one that sends what no member writes has its stream ended.
#ifndef CAIRN_SERVER_PEER_SERVICE_H_
#define CAIRN_SERVER_PEER_SERVICE_H_

#include <functional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "raft/messages.h"
#include "server/peer/greeting.h"
#include "server/rpc/service_table.h"

namespace cairn::server {

struct PeerServiceOptions {
  PeerIdentity identity;
  // Whether a member was removed from the cluster, as far as it is applied here.
  std::function<bool(MemberId id)> is_removed;
  // A peer has greeted, and listens at `peer_urls`.
  std::function<void(MemberId from, const std::vector<std::string>& peer_urls)> on_greeting;
  // Takes messages that have arrived, in order; never blocks.
  std::function<void(std::vector<raft::Message> messages)> deliver;
};

class PeerService {
 public:
  explicit PeerService(PeerServiceOptions options);
  PeerService(const PeerService&) = delete;
  PeerService& operator=(const PeerService&) = delete;

  void Register(rpc::ServiceTable& table);

 private:
  const PeerServiceOptions options_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_PEER_SERVICE_H_
