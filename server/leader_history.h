// Which of etcd's three texts a proposal gets that was not answered in time.
//
// Remembers when this member last heard of a leader and when it lost it. Owned by the node thread,
// which shows it every change. Pure: the caller brings the clock. Knows nothing of proposals.
#ifndef CAIRN_SERVER_LEADER_HISTORY_H_
#define CAIRN_SERVER_LEADER_HISTORY_H_

#include <chrono>
#include <optional>

#include "api/errors.h"
#include "base/ids.h"

namespace cairn::server {

class LeaderHistory {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // A proposal that began so many election timeouts before the leader was elected, or later, may
  // have been lost with the one before (etcd's figure).
  static constexpr int kElectionTimeouts = 2;

  explicit LeaderHistory(std::chrono::milliseconds election_timeout)
      : election_timeout_(election_timeout) {}

  // `leader` is 0 when none is known. `now` never falls.
  void See(MemberId leader, Time now);
  MemberId leader() const { return leader_; }

  // For a proposal that began at `started`. `was_connected`: this member has been connected to the
  // leader, or to a quorum if it leads, ever since; without a leader it does not count, as in etcd.
  // kDeadlineExceeded when there has been no leader since, so that nobody can have heard of the
  // proposal; all others may still be applied.
  api::Error WhyTimedOut(Time started, bool was_connected) const;

 private:
  const std::chrono::milliseconds election_timeout_;
  MemberId leader_;
  // When the last leader was heard of.
  std::optional<Time> elected_;
  // Since when there has been none; counts while leader_ is 0.
  Time lost_ = Time::min();
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_LEADER_HISTORY_H_
