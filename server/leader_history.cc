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
  const bool has_leader = leader_ != MemberId(0);
  if (!has_leader && started >= lost_) return api::Error::kDeadlineExceeded;
  if (elected_.has_value() && started < *elected_ &&
      started > *elected_ - kElectionTimeouts * election_timeout_) {
    return api::Error::kTimeoutLeaderFailure;
  }
  return has_leader && !was_connected ? api::Error::kTimeoutConnectionLost : api::Error::kTimeout;
}

}  // namespace cairn::server
