// Compares this member's state with the others': a hash of all there is at one revision.
//
// Owned by the server; one thread of its own, which reads all of history for a hash and so keeps
// from everything that anybody waits for. It computes hashes for whoever leads, and while this
// member leads it compares every --corrupt-check-time and raises CORRUPT for whoever differs. One
// hash at a time; a check that cannot be finished is dropped and the next one begins afresh.
#ifndef CAIRN_SERVER_CORRUPTION_CHECKER_H_
#define CAIRN_SERVER_CORRUPTION_CHECKER_H_

#include <absl/base/thread_annotations.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
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
  // One that does not answer or is behind, so long.
  std::chrono::milliseconds silent_max{5000};
};

class CorruptionChecker {
 public:
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

  void Stop();

 private:
  struct Round;
  using Answers = std::map<MemberId, absl::StatusOr<HashProgress>>;

  void Run();
  absl::StatusOr<StateHash> OwnHash(Revision at) const;
  // The hashes of all members at the present revision, this one's first.
  absl::StatusOr<std::vector<MemberHash>> Gather();
  std::shared_ptr<Round> Ask(const std::vector<MemberId>& members, Revision at);
  // What has come when nothing is missing any more, or it is time to stop.
  Answers Await(Round& round) const;
  bool is_stopping() const;
  // False when it is time to stop.
  bool Pause(std::chrono::milliseconds time);
  void Raise(MemberId member);

  const CorruptionCheckerOptions options_;
  const mvcc::Store& store_;
  Node& node_;

  mutable base::Mutex mutex_;
  base::ConditionVariable wake_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // What another member has asked for, what is being computed for one, and what was.
  std::optional<Revision> wanted_ ABSL_GUARDED_BY(mutex_);
  std::optional<Revision> computing_ ABSL_GUARDED_BY(mutex_);
  std::optional<std::pair<Revision, absl::StatusOr<StateHash>>> computed_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_CORRUPTION_CHECKER_H_
