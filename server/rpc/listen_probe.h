// Finds out before the transport does whether an address can be bound, and says clearly why not.
//
// gRPC reports a failed bind as "no" (and a name of which only one address is taken as a success).
// The probe binds every address and lets go again, so another process may still be faster; the
// transport's own bind decides. Start-up only, any thread.
#ifndef CAIRN_SERVER_RPC_LISTEN_PROBE_H_
#define CAIRN_SERVER_RPC_LISTEN_PROBE_H_

#include <absl/status/status.h>

#include <string_view>

namespace cairn::rpc {

// `address` is "host:port", ":port" or "unix:/path". INVALID_ARGUMENT if it has no such form or its
// host is unknown, UNAVAILABLE if it cannot be bound; the text names `flag`, the address and the
// system's reason.
absl::Status ProbeListenAddress(std::string_view flag, std::string_view address);

}  // namespace cairn::rpc

#endif  // CAIRN_SERVER_RPC_LISTEN_PROBE_H_
