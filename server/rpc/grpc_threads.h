// gRPC's callback threads: no more than are of use, and never all asleep.
//
// gRPC 1.51 runs what arrives, and most callbacks, on half as many threads as the machine has
// cores, but on two at least and 16 at most. Three of its ways are mended here, for which it has no
// option:
//  - The thread that waits at the sockets wakes another one to wait in its place before it takes a
//    call: with a core or two that is a switch of threads for every second call, to no one's gain
//    (figures: README.md).
//  - A thread without anything to do for a second sleeps for 100 ms and looks at no socket
//    meanwhile: whoever calls then, when all of them do, waits as long.
//  - The threads end with the last channel or server that used them, and the process aborts when
//    that happens at a bad moment ("prior > 0" in grpc_cq_internal_unref: a start that asks the
//    other members first lets go of one channel after the other).
#ifndef CAIRN_SERVER_RPC_GRPC_THREADS_H_
#define CAIRN_SERVER_RPC_GRPC_THREADS_H_

namespace cairn::rpc {

// From now until the process ends there are callback threads, one always awake, and on a machine
// with fewer than four cores there is only one: so no callback may wait for another. Returns when
// that is so. Any thread but gRPC's; more than once does no harm.
void TameCallbackThreads();

}  // namespace cairn::rpc

#endif  // CAIRN_SERVER_RPC_GRPC_THREADS_H_
