// Drives what follows a compaction, and compactions that nobody has to ask for.
//
// One thread of its own: finds removal steps on the side, has the applier commit them, and pauses
// after each so that it never takes more than a share of the machine. A restart resumes where the
// last committed step ended. With --auto-compaction-retention it also proposes compactions, while
// this member leads.
#ifndef CAIRN_SERVER_COMPACTOR_H_
#define CAIRN_SERVER_COMPACTOR_H_

#include <absl/base/thread_annotations.h>
#include <absl/status/status.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "base/mutex.h"
#include "mvcc/store.h"
#include "server/auto_compactor.h"
#include "server/node_runner.h"

namespace cairn::server {

struct CompactorOptions {
  // Rows walked in one step and the pause after it, as etcd's --compaction-batch-limit and
  // --compaction-sleep-interval.
  int step_rows = 1000;
  std::chrono::milliseconds pause{10};
  // How often to look for work.
  std::chrono::milliseconds poll{100};
  AutoCompactionPolicy automatic;
  // Called at most once, on the compactor's thread.
  std::function<void(const absl::Status&)> on_fatal;
};

class Compactor {
 public:
  // Starts the thread.
  Compactor(CompactorOptions options, mvcc::Store& store, NodeRunner& runner);
  // Stops.
  ~Compactor();

  void Stop();

 private:
  // What the outcome of a proposal leaves for the thread; outlives this object if need be.
  struct Proposed {
    base::Mutex mutex;
    std::optional<Revision> succeeded ABSL_GUARDED_BY(mutex);
    bool is_pending ABSL_GUARDED_BY(mutex) = false;
  };

  void Run();
  // False when the thread is to end.
  bool Wait(std::chrono::milliseconds time);
  // Commits one step; whether there was one.
  absl::StatusOr<bool> RemoveSome();
  void CompactByItself();

  const CompactorOptions options_;
  mvcc::Store& store_;
  NodeRunner& runner_;
  AutoCompactor automatic_;
  const std::shared_ptr<Proposed> proposed_ = std::make_shared<Proposed>();

  base::Mutex mutex_;
  base::ConditionVariable wake_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_COMPACTOR_H_
