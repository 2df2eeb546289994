// How the node reaches the other members; what it does not know is by which wire.
//
// Implemented by peer/transport.h and by tests. Called by the node thread and the apply thread;
// nothing blocks.
#ifndef CAIRN_SERVER_PEERS_H_
#define CAIRN_SERVER_PEERS_H_

#include <absl/functional/any_invocable.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "raft/messages.h"
#include "server/node.h"

namespace cairn::server {

class Peers {
 public:
  using CallDone = absl::AnyInvocable<void(absl::StatusOr<std::string> response)>;

  virtual ~Peers() = default;
  // Sends each message to its `to`, or drops it. Node thread.
  virtual void Send(std::vector<raft::Message> messages) = 0;
  // One heartbeat interval has passed. Node thread.
  virtual void Tick() = 0;
  // Who there is, this member included. Any thread.
  virtual void SetMembers(const Members& members) = 0;
  // Calls `method` of cairn.peer.Peer on a member. UNAVAILABLE when there is no connection. `done`
  // runs once, perhaps before this returns. Any thread.
  virtual void Call(MemberId to, std::string_view method, std::string request,
                    std::chrono::milliseconds timeout, CallDone done) = 0;
  // For how long `id` has been answering without a break, in milliseconds; none: it does not. Any
  // thread.
  virtual std::optional<int64_t> ConnectedMs(MemberId id) const = 0;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_PEERS_H_
