// What other members, and those that are to become one, ask about the members: the unary rpcs of
// api/peer.proto.
//
// Made once by the server and registered in the table of the peer port; outlives every call on it.
// Handlers run on the transport's threads and never block. Knows no transport.
#ifndef CAIRN_SERVER_PEER_MEMBER_SERVICE_H_
#define CAIRN_SERVER_PEER_MEMBER_SERVICE_H_

#include <absl/status/statusor.h>

#include <memory>
#include <string_view>

#include "api/peer.pb.h"
#include "server/join.h"
#include "server/member_changer.h"
#include "server/node.h"
#include "server/rpc/call.h"
#include "server/rpc/service_table.h"

namespace cairn::server {

class PeerMemberService {
 public:
  // `node` outlives this object.
  PeerMemberService(Node& node, MemberChangerOptions options)
      : node_(node), changer_(node, options) {}
  PeerMemberService(const PeerMemberService&) = delete;
  PeerMemberService& operator=(const PeerMemberService&) = delete;

  void Register(rpc::ServiceTable& table);

 private:
  void Members(std::unique_ptr<rpc::UnaryCall> call);
  void Promote(std::unique_ptr<rpc::UnaryCall> call, const peer::PromoteRequest& request);

  Node& node_;
  MemberChanger changer_;
};

// What an answer to Members says. DATA_LOSS for bytes that no member sends.
absl::StatusOr<ExistingCluster> DecodeMembersResponse(std::string_view bytes);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_PEER_MEMBER_SERVICE_H_
