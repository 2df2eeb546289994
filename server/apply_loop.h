// The apply thread: committed ranges to the applier, in order, and removal steps between them.
//
// Owned by node_runner.h, which tells it what to apply and hears what was. Reads from the log what
// memory no longer held. The thread never waits for the network. What waits here is bounded by who
// hands it over: `unapplied_bytes` says how much that is.
#ifndef CAIRN_SERVER_APPLY_LOOP_H_
#define CAIRN_SERVER_APPLY_LOOP_H_

#include <absl/base/thread_annotations.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <atomic>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"
#include "mvcc/removal.h"
#include "mvcc/store.h"
#include "raft/types.h"
#include "server/applier.h"
#include "server/node.h"
#include "server/node_core.h"
#include "wal/wal.h"

namespace cairn::server {

class ApplyLoop {
 public:
  struct Callbacks {
    // A batch is written and published through `applied`; nobody was answered yet. The result's
    // outcomes and configuration are the callee's to take.
    std::function<void(Index applied, Applier::Result& result)> applied;
    // The state was replaced by one that is applied through `applied`; as above, but there are no
    // outcomes and no configuration, and the core knows of it otherwise.
    std::function<void(Index applied, Applier::Result& result)> replaced;
    // Log or state have failed; nothing is applied any more. Once.
    std::function<void(const absl::Status& error)> failed;
  };

  // Starts the thread. `wal`, `store` and `applier` outlive this object.
  ApplyLoop(wal::Wal& wal, mvcc::Store& store, Applier& applier, Callbacks callbacks);
  // Stops.
  ~ApplyLoop();

  // Has the ranges applied, after those handed over before. Any thread.
  void Push(std::vector<ApplyRange> ranges);
  // Payload in memory that was pushed and is not applied yet. Any thread.
  size_t unapplied_bytes() const { return unapplied_bytes_.load(std::memory_order_relaxed); }

  // Commits a removal step between two ranges and waits for it. False when it was stale; CANCELLED
  // after a stop or a failure. Any thread but the loop's.
  absl::StatusOr<bool> CommitRemoval(mvcc::RemovalStep step);
  // Waits until everything that was pushed before is applied. CANCELLED as above.
  absl::Status Drain();
  // Puts `fresh` in the state's place (Applier::Replace) and waits for it. CANCELLED as above.
  absl::Status Replace(std::unique_ptr<mvcc::Store> fresh, Applier::Loaded loaded);
  // Calls `done` once every row that a compaction up to `revision` removes is gone; UNAVAILABLE
  // "server stopped" after StopWaits. Any thread.
  void WaitCompacted(Revision revision, Node::BarrierDone done);
  // Refuses who waits for a compaction, and who will.
  void StopWaits();

  // Applies what was pushed, then ends the thread. Idempotent; the owner's thread.
  void Stop();

 private:
  struct RemovalTask {
    mvcc::RemovalStep step;
    std::function<void(absl::StatusOr<bool>)> done;
  };
  // Runs between two ranges; false: nothing runs any more.
  using OtherTask = std::function<void(bool runs)>;
  using Task = std::variant<ApplyRange, RemovalTask, OtherTask>;

  // Runs `work` between two ranges and waits for it.
  absl::Status RunBetween(const std::function<void()>& work);

  void Run();
  // After a failure: nobody may wait for a task that will not be done.
  void RefuseTasks();
  absl::Status Apply(ApplyRange range);
  absl::Status ApplyEntries(std::span<const raft::Entry> entries);
  absl::Status Remove(RemovalTask task);
  void FinishCompactionWaits();

  wal::Wal& wal_;
  mvcc::Store& store_;
  Applier& applier_;
  const Callbacks callbacks_;
  std::atomic<size_t> unapplied_bytes_ = 0;

  base::Mutex mutex_;
  base::ConditionVariable wake_;
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stops_ ABSL_GUARDED_BY(mutex_) = false;

  base::Mutex waits_mutex_;
  bool waits_stopped_ ABSL_GUARDED_BY(waits_mutex_) = false;
  std::vector<std::pair<Revision, Node::BarrierDone>> compaction_waits_
      ABSL_GUARDED_BY(waits_mutex_);

  std::thread thread_;
};

// The payload of `entries`, in bytes.
size_t PayloadBytes(std::span<const raft::Entry> entries);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_APPLY_LOOP_H_
