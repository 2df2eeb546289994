// Compares this member's state with the others': hashes of all history at one revision and of what
// lives at it.
//
// Owned by the server; one thread of its own, which reads all of history for a hash and so keeps
// from everything that anybody waits for. It computes hashes for whoever asks, one at a time and
// kHashesMax asked for at once, and while this member leads it compares every --corrupt-check-time
// and raises CORRUPT for whoever differs. Only the check at the start reads on its caller's thread,
// maybe beside a hash for somebody else. A check that cannot be finished is dropped and the next
// one begins afresh. What it never looks at: rows that belong to no revision (leases, members,
// alarms).
#ifndef CAIRN_SERVER_CORRUPTION_CHECKER_H_
#define CAIRN_SERVER_CORRUPTION_CHECKER_H_

#include <absl/base/thread_annotations.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "mvcc/store.h"
#include "server/corruption_verdict.h"
#include "server/node.h"
#include "server/peer/hash_calls.h"

namespace cairn::server {

struct CorruptionCheckerOptions {
  // Between two checks; 0: none.
  std::chrono::milliseconds interval{0};
  // Between two questions to a member that still computes.
  std::chrono::milliseconds ask_again{200};
  // A member that computes is waited for so long: tens of gigabytes.
  std::chrono::milliseconds computing_max{600'000};
  // One that does not answer or is behind, so long: from the end of this member's own hash, or from
  // when it last said that it computes.
  std::chrono::milliseconds silent_max{5000};
};

class CorruptionChecker {
 public:
  // Hashes that others have asked for and not yet heard: a leader's, and those of members that
  // start. One is told for so long, or for as long as it took if that is longer, for whoever asks
  // may be computing its own; later it would hide what has changed since.
  static constexpr size_t kHashesMax = 8;
  static constexpr std::chrono::minutes kHashFresh{1};

  // Starts the thread. `store` and `node` outlive this object.
  CorruptionChecker(CorruptionCheckerOptions options, const mvcc::Store& store, Node& node);
  // Stops.
  ~CorruptionChecker();

  // The hash at `at`, for another member: computed on the thread, so it is there at a later call.
  // Each hash is told once. OUT_OF_RANGE when `at` is compacted. Any thread; does not block.
  absl::StatusOr<HashProgress> HashAt(Revision at);

  // For a member that starts: whether it may serve. DATA_LOSS when its state differs from that of a
  // majority, or from any other's where there is none. Members that do not answer are no reason.
  // Blocks, at most for computing_max.
  absl::Status CheckAtStart();

  // One check, as the leader does it. Blocks likewise. The thread's own business, and tests'.
  void Check();

  // Waits for the thread, which leaves a hash within some hundred rows. A check on another thread
  // ends likewise, by itself.
  void Stop();

 private:
  // What another member has asked for.
  struct Asked {
    Revision at;
    std::optional<absl::StatusOr<StateHash>> hash;      // None: not computed yet.
    std::chrono::steady_clock::time_point fresh_until;  // With a hash.
  };
  struct Round;
  using Answers = std::map<MemberId, absl::StatusOr<HashProgress>>;

  void Run();
  // The next revision to compute; none: nobody waits for one.
  std::optional<Revision> NextAsked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<StateHash> OwnHash(Revision at) const;
  // The hashes of all members at the present revision, this one's first; the members are those that
  // there are in the end.
  absl::StatusOr<std::vector<MemberHash>> Gather();
  std::vector<MemberHash> OfPresentMembers(std::vector<MemberHash> gathered) const;
  std::shared_ptr<Round> Ask(const std::vector<MemberId>& members, Revision at);
  // What has come when nothing is missing any more, or it is time to stop.
  Answers Await(Round& round) const;
  bool is_stopping() const;
  // False when it is time to stop.
  bool Pause(std::chrono::milliseconds time);
  // Logs how much a check could compare.
  void Tell(const CorruptionVerdict& verdict, const std::vector<MemberHash>& members);
  void Raise(MemberId member);

  const CorruptionCheckerOptions options_;
  const mvcc::Store& store_;
  Node& node_;

  mutable base::Mutex mutex_;
  base::ConditionVariable wake_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // Each revision once, the oldest first.
  std::deque<Asked> asked_ ABSL_GUARDED_BY(mutex_);
  // The last check could not compare a majority, and the log says so. Only Check's.
  bool lacks_quorum_ = false;
  std::thread thread_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_CORRUPTION_CHECKER_H_
