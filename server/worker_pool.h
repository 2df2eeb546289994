// A few threads and a bounded queue: where reads that may take long are run.
//
// A scan in the pool never delays a keepalive, a watch or the apply thread. Work runs in the order
// of Run, each piece to its end.
#ifndef CAIRN_SERVER_WORKER_POOL_H_
#define CAIRN_SERVER_WORKER_POOL_H_

#include <absl/base/thread_annotations.h>
#include <absl/functional/any_invocable.h>

#include <cstddef>
#include <deque>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace cairn::server {

class WorkerPool {
 public:
  using Task = absl::AnyInvocable<void()>;

  WorkerPool(int threads, size_t queued_max);
  // Stops.
  ~WorkerPool();

  // Queues `task`. False, with `task` untouched, when the queue is full or the pool stops.
  bool Run(Task& task);
  // Queues the first of `tasks`, until the queue is full, and returns how many. Who wakes up finds
  // all of them, instead of one at a time; a second thread wakes up only for many, because the
  // first has done a few before it comes.
  size_t RunAll(std::vector<Task>& tasks);
  // Finishes what is running, drops what is queued, ends the threads. Idempotent; not from a task.
  void Stop();

 private:
  // What is worth waking up for, beside a thread that is at work already.
  static constexpr size_t kTasksAThread = 16;

  void Work();

  const size_t queued_max_;
  base::Mutex mutex_;
  base::ConditionVariable changed_;
  std::deque<Task> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_WORKER_POOL_H_
