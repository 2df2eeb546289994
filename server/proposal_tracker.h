// Who waits for which proposal, and until when.
//
// RPC threads add waiters, the apply thread completes them by their id, the node thread expires and
// refuses them. Every waiter is called exactly once, outside the lock, on the thread that ended its
// wait. Bounded by the payload that is waited for.
#ifndef CAIRN_SERVER_PROPOSAL_TRACKER_H_
#define CAIRN_SERVER_PROPOSAL_TRACKER_H_

#include <absl/base/thread_annotations.h>
#include <absl/container/flat_hash_map.h>
#include <absl/functional/function_ref.h>
#include <absl/status/status.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "server/node.h"

namespace cairn::server {

class ProposalTracker {
 public:
  using Id = uint64_t;
  using Time = std::chrono::steady_clock::time_point;

  // Refuses what would take the payload that is waited for above `waited_bytes_max`.
  explicit ProposalTracker(size_t waited_bytes_max) : waited_bytes_max_(waited_bytes_max) {}

  // Remembers `done` under `id`, which is new. False, with `done` untouched, when over the bound or
  // stopped. Deadlines must not fall from one call to the next: all waits are equally long.
  bool Add(Id id, size_t payload_bytes, Time deadline, Node::ProposeDone& done);

  // Calls the waiters that are still there with their outcomes.
  void Complete(std::vector<std::pair<Id, Node::Outcome>> outcomes);
  // Calls one waiter, if it is still there, with an error.
  void Fail(Id id, const absl::Status& error);
  // Calls every waiter whose deadline is at or before `now` with error_of(deadline).
  void Expire(Time now, absl::FunctionRef<absl::Status(Time deadline)> error_of);
  // Calls every waiter with `error` and takes no more.
  void Stop(const absl::Status& error);

  // True while some proposal is waited for.
  bool has_waiters() const;

 private:
  struct Waiter {
    Node::ProposeDone done;
    size_t payload_bytes = 0;
  };

  // Moves the waiter of `id`, if any, to `taken`.
  void Take(Id id, std::vector<Node::ProposeDone>& taken) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t waited_bytes_max_;
  mutable base::Mutex mutex_;
  absl::flat_hash_map<Id, Waiter> waiters_ ABSL_GUARDED_BY(mutex_);
  size_t waited_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  // In the order of the deadlines; may name waiters that are long completed.
  std::deque<std::pair<Time, Id>> deadlines_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_PROPOSAL_TRACKER_H_
