#include "server/worker_pool.h"

#include <utility>

#include "base/thread.h"

namespace cairn::server {

WorkerPool::WorkerPool(int threads, size_t queued_max) : queued_max_(queued_max) {
  for (int i = 0; i < threads; ++i)
    threads_.emplace_back([this] {
      base::NameThread("worker");
      Work();
    });
}

WorkerPool::~WorkerPool() { Stop(); }

bool WorkerPool::Run(Task& task) {
  base::MutexLock lock(mutex_);
  if (stopping_ || queue_.size() >= queued_max_) return false;
  queue_.push_back(std::move(task));
  mutex_.SignalBehind(changed_);
  return true;
}

size_t WorkerPool::RunAll(std::vector<Task>& tasks) {
  size_t taken = 0;
  {
    base::MutexLock lock(mutex_);
    if (stopping_) return 0;
    while (taken < tasks.size() && queue_.size() < queued_max_) {
      queue_.push_back(std::move(tasks[taken++]));
    }
  }
  for (size_t i = 0; i < threads_.size() && i * kTasksAThread < taken; ++i) changed_.Signal();
  return taken;
}

void WorkerPool::Stop() {
  std::deque<Task> dropped;  // Destroyed outside the lock: a task may hold anything.
  {
    base::MutexLock lock(mutex_);
    stopping_ = true;
    dropped.swap(queue_);
    changed_.SignalAll();
  }
  dropped.clear();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void WorkerPool::Work() {
  while (true) {
    Task task;
    {
      base::MutexLock lock(mutex_);
      while (queue_.empty() && !stopping_) changed_.Wait(mutex_);
      if (queue_.empty()) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task();
  }
}

}  // namespace cairn::server
