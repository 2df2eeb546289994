// The leases of a running member, for every thread: lease/lessor.h behind a lock, with a clock, and
// the keepalives that wait.
//
// The apply thread tells what changed (before anyone is answered), the node thread who leads and
// what became of proposals, RPC threads renew and look. Where another member leads, renewals are
// asked of it. A renewal takes the lock for one look-up;
// nothing under the lock waits or does I/O. A stream has one keepalive under way, which waits on
// when its client has gone; so the number of waiting ones is bounded here. Callbacks run without
// the lock, on the thread that ended the wait, and must not block.
#ifndef CAIRN_SERVER_LEASE_MANAGER_H_
#define CAIRN_SERVER_LEASE_MANAGER_H_

#include <absl/base/thread_annotations.h>
#include <absl/container/flat_hash_set.h>
#include <absl/functional/any_invocable.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "lease/lessor.h"

namespace cairn::server {

struct LeaseManagerOptions {
  lease::LessorOptions lessor;
  // How long a keepalive waits for an entry or for a leader (etcd: 5 s + 2 election timeouts).
  std::chrono::milliseconds wait{7000};
  // The monotonic clock, in milliseconds; a test brings its own.
  std::function<lease::Milliseconds()> now_ms;
  // Asks the member that leads to renew a lease; false if no other is known to lead. `done` runs
  // once, on any thread, perhaps before this returns and never after the manager has gone: with
  // what a RenewDone gets, or an error if the leader could not be asked. Empty: there are no other
  // members.
  using LeaderDone = std::function<void(absl::StatusOr<int64_t> ttl_s)>;
  std::function<bool(LeaseId id, LeaderDone done)> renew_on_leader;
  // Calls `done` with OK once this member has applied all that was acknowledged anywhere before
  // this call (Node::ReadBarrier); as above otherwise. A leader's applier may lag behind a grant
  // that another member has answered, and a leader that was deposed knows nothing of it, so only
  // behind a barrier is "no such lease" said. Empty: whatever was acknowledged is applied here.
  using BarrierDone = std::function<void(const absl::Status& status)>;
  std::function<void(BarrierDone done)> read_barrier;
};

class LeaseManager {
 public:
  // Revocations that wait for an end: each is looked at whenever something is applied.
  static constexpr size_t kEndsAwaitedMax = 1000;
  // Keepalives that wait: each holds its stream, some 11 KB of the transport's.
  static constexpr size_t kWaitersMax = 20'000;
  // Leases looked up under one lock: some ten microseconds.
  static constexpr size_t kLookStep = 256;

  // The whole time to live of the renewed lease, 0 if there is no such lease; or why that cannot be
  // told: UNAVAILABLE "no leader", "request timed out" or "server stopped", "too many requests".
  using RenewDone = absl::AnyInvocable<void(absl::StatusOr<int64_t> ttl_s)>;

  explicit LeaseManager(LeaseManagerOptions options);

  // --- The apply thread (and whoever starts the member) ---
  void Applied(Index applied, std::span<const lease::LeaseUpdate> updates);

  // --- The node thread ---
  void Promote();
  void Demote();
  // Who leads as far as this member knows; 0: nobody. What a former leader is still being asked is
  // asked of this one: who stands still answers nothing for long.
  void Follow(MemberId leader);
  // Nobody else can lead before `until_ms` (of Now); lease::Lessor::kForEver for "never".
  void Confirm(lease::Milliseconds until_ms);
  // Answers those whose wait a confirmation has ended. Not at once with it: what is due is to be
  // taken first (TakeDue), or a renewal that waited for long would overtake the end.
  void AnswerWaiting();
  // Ends waits that have lasted too long, and asks again what could not be asked.
  void Tick();
  // lease/lessor.h has what these mean.
  bool HasWork() const;
  std::vector<lease::LeaseName> TakeDue(int64_t keys_max);
  void RefusedDue(std::span<const lease::LeaseName> leases);
  std::vector<lease::CheckpointItem> TakeCheckpoints(size_t leases_max);
  void ProposedCheckpoints(std::span<const lease::CheckpointItem> items, Index index);
  void RefusedCheckpoints(std::span<const lease::CheckpointItem> items);
  std::vector<lease::LeaseName> TakeClears(size_t leases_max);
  void RefusedClears(std::span<const lease::LeaseName> leases);

  // --- Any thread ---
  // Renews now if that can be answered now: as RenewDone. None: use RenewLater.
  std::optional<int64_t> Renew(LeaseId id);
  // Renews as soon as it can be answered, at once too.
  void RenewLater(LeaseId id, RenewDone done);
  // Has `done` called when the named lease, which is ending, has gone, at once if it has: with 0,
  // or why that cannot be told: UNAVAILABLE "request timed out" when none of its keys has gone for
  // as long as a keepalive waits or too many wait already, "server stopped". (No other answer: each
  // says that nothing was done, and some of its keys have gone.)
  void AwaitEnd(const lease::LeaseName& name, RenewDone done);
  std::optional<lease::LeaseView> Find(LeaseId id) const;
  // Those of `ids` that are there, in their order, all as of `now_ms` (a recent Now). Takes the
  // lock for a few hundred at a time, so that renewals pass between.
  std::vector<lease::LeaseView> FindAll(std::span<const LeaseId> ids,
                                        lease::Milliseconds now_ms) const;
  lease::Milliseconds Now() const { return options_.now_ms(); }
  size_t count() const;
  // Keepalives that wait.
  size_t waiting() const;
  bool is_primary() const;
  // This member leads, and nobody else can at this moment.
  bool is_confirmed() const;
  lease::Milliseconds election_timeout_ms() const { return options_.lessor.election_timeout_ms; }
  // Refuses what waits and what comes.
  void Stop();

 private:
  struct Waiter {
    uint64_t number = 0;  // Rises.
    RenewDone done;
    lease::Milliseconds expires_ms = 0;
  };
  struct EndWaiter {
    lease::LeaseName name;
    RenewDone done;
    int64_t keys_left = 0;  // When some of them went last.
    lease::Milliseconds expires_ms = 0;
  };
  using Answers = std::vector<std::pair<RenewDone, absl::StatusOr<int64_t>>>;

  // As Renew; whether it may say that there is no such lease.
  std::optional<int64_t> RenewLocked(LeaseId id, bool may_deny)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool MayDeny() const { return !options_.read_barrier; }
  // Asks again for everyone who waits for `id`; who can be answered is moved to `answers`.
  void RetryLocked(LeaseId id, Answers& answers) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Moves those who wait for `id` through number `last` to `answers`. Returns whether more wait.
  bool AnswerLocked(LeaseId id, uint64_t last, int64_t ttl_s, Answers& answers)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RetryAllLocked(Answers& answers) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The keys that the named lease has left; none when it has gone.
  std::optional<int64_t> KeysLeftLocked(const lease::LeaseName& name) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Looks again for everyone who awaits an end; who can be answered is moved to `answers`.
  void LookAtEndsLocked(Answers& answers) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What who has waited too long is told.
  absl::Status LatenessLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Asks the leader on behalf of all who wait for `id` now, unless it is being asked.
  void AskLeader(LeaseId id);
  // `generation`: that of the leader who was asked. What one of before says counts no more.
  void LeaderAnswered(LeaseId id, uint64_t last, uint64_t generation,
                      const absl::StatusOr<int64_t>& ttl_s);
  // Looks again, behind a barrier, for those of `ids` that this leader does not know. One barrier
  // serves all that were asked for before it, and while one is under way the others gather.
  void LookBehindBarrier(std::span<const LeaseId> ids);
  struct Wanted {
    LeaseId id;
    uint64_t last = 0;  // The number of the last waiter who came before the barrier.
  };
  void RunLooks();
  std::vector<Wanted> TakeWanted();
  // Whether to go on.
  bool BarrierPassed(std::span<const Wanted> wanted, const absl::Status& status);
  static void Give(Answers answers);

  const LeaseManagerOptions options_;
  mutable base::Mutex mutex_;
  lease::Lessor lessor_ ABSL_GUARDED_BY(mutex_);
  // Each list in the order they came; ids in theirs, so that what waits is answered in one order.
  std::map<LeaseId, std::vector<Waiter>> waiting_ ABSL_GUARDED_BY(mutex_);
  std::vector<EndWaiter> awaiting_end_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_waiter_ ABSL_GUARDED_BY(mutex_) = 1;
  MemberId leader_ ABSL_GUARDED_BY(mutex_);
  // One more with each other leader.
  uint64_t generation_ ABSL_GUARDED_BY(mutex_) = 0;
  // What the leader is being asked for.
  absl::flat_hash_set<LeaseId> asked_ ABSL_GUARDED_BY(mutex_);
  // What the next barrier is for: kWaitersMax at most, the next tick has the rest. In their order,
  // so that answers have one.
  std::set<LeaseId> to_look_for_ ABSL_GUARDED_BY(mutex_);
  // A barrier is under way, or its outcome being dealt with.
  bool is_looking_ ABSL_GUARDED_BY(mutex_) = false;
  // All together.
  size_t waiters_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_LEASE_MANAGER_H_
