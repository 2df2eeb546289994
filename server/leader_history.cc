#include "server/leader_history.h"

namespace cairn::server {

void LeaderHistory::See(MemberId leader, Time now) {
  if (leader == leader_) return;
  leader_ = leader;
  if (leader == MemberId(0)) {
    lost_ = now;
  } else {
    elected_ = now;
  }
}

api::Error LeaderHistory::WhyTimedOut(Time started, bool was_connected) const {
  if (leader_ == MemberId(0) && started >= lost_) return api::Error::kDeadlineExceeded;
  if (elected_.has_value() && started < *elected_ &&
      started > *elected_ - kElectionTimeouts * election_timeout_) {
    return api::Error::kTimeoutLeaderFailure;
  }
  return was_connected ? api::Error::kTimeout : api::Error::kTimeoutConnectionLost;
}

}  // namespace cairn::server
