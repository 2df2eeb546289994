// What a leader does about the members unasked: ends a joint phase, promotes learners that have
// caught up.
//
// Node thread only. Everything goes through the log like a client's change, with nobody waiting for
// it; what the core refuses now is tried again at the next tick.
#ifndef CAIRN_SERVER_MEMBERSHIP_DRIVER_H_
#define CAIRN_SERVER_MEMBERSHIP_DRIVER_H_

#include "base/ids.h"
#include "server/membership_change.h"
#include "server/node.h"
#include "server/node_core.h"

namespace cairn::server {

class MembershipDriver {
 public:
  // `core` outlives this object. `promotes_learners`: --auto-promote-learners.
  MembershipDriver(NodeCore& core, bool promotes_learners)
      : core_(core), promotes_learners_(promotes_learners) {}

  // A heartbeat interval has passed; `members` are those applied so far.
  void Tick(const Members& members);

 private:
  void Propose(const MembershipChange& change);

  NodeCore& core_;
  const bool promotes_learners_;
  // What was committed at the last tick, in this member's lead.
  Index commit_before_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_MEMBERSHIP_DRIVER_H_
