// Members as clients are told of them: the answers of etcdserverpb.Cluster.
//
// Values in, values out; any thread.
#ifndef CAIRN_SERVER_MEMBER_RESPONSE_H_
#define CAIRN_SERVER_MEMBER_RESPONSE_H_

#include <string>

#include "server/membership_change.h"
#include "server/node.h"

namespace cairn::server {

// The serialized MemberListResponse without its header.
std::string ListResponse(const Members& members);

// The serialized response to a change of one step that was made, without its header: everyone after
// it, and whom it added.
std::string ChangeResponse(const MembershipChange& change, const Members& members);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_MEMBER_RESPONSE_H_
