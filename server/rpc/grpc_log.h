// What gRPC itself has to say, in the log of the process.
//
// Left alone, it writes to standard error, where whoever does not read would hold up its threads.
// Any thread.
#ifndef CAIRN_SERVER_RPC_GRPC_LOG_H_
#define CAIRN_SERVER_RPC_GRPC_LOG_H_

namespace cairn::rpc {

// From now on gRPC's lines go to glog. Before the first use of gRPC; more than once does no harm.
void TakeGrpcLog();

}  // namespace cairn::rpc

#endif  // CAIRN_SERVER_RPC_GRPC_LOG_H_
