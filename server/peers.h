// How the node reaches the other members; what it does not know is by which wire.
//
// Implemented by peer/transport.h and by tests. Called by the node thread and the apply thread;
// nothing blocks.
#ifndef CAIRN_SERVER_PEERS_H_
#define CAIRN_SERVER_PEERS_H_

#include <vector>

#include "raft/messages.h"
#include "server/node.h"

namespace cairn::server {

class Peers {
 public:
  virtual ~Peers() = default;
  // Sends each message to its `to`, or drops it. Node thread.
  virtual void Send(std::vector<raft::Message> messages) = 0;
  // One heartbeat interval has passed. Node thread.
  virtual void Tick() = 0;
  // Who there is, this member included. Any thread.
  virtual void SetMembers(const Members& members) = 0;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_PEERS_H_
