// client.h over the distribution's grpc++ (callback API).
//
// Stateless; any thread.
#ifndef CAIRN_SERVER_RPC_GRPC_CLIENT_H_
#define CAIRN_SERVER_RPC_GRPC_CLIENT_H_

#include <cstddef>

#include "server/rpc/client.h"

namespace cairn::rpc {

// Connections of their own: two to one address share nothing, so that what is large on one does not
// delay what is urgent on the other. `response_bytes_max` bounds one received message.
Connector GrpcConnector(size_t response_bytes_max);

}  // namespace cairn::rpc

#endif  // CAIRN_SERVER_RPC_GRPC_CLIENT_H_
