// Wakes whoever waits at a completion queue at a given time, to the accuracy of the kernel's clock.
//
// gRPC's own timeouts are whole milliseconds. An open loop that spins instead is exact, but takes a
// core, and is late by a turn of the scheduler when something else runs there: where the driver
// shares its core, it sleeps. One thread of its own; every function is called by one other.
#ifndef CAIRN_TEST_BENCH_PACER_H_
#define CAIRN_TEST_BENCH_PACER_H_

#include <absl/base/thread_annotations.h>
#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <chrono>
#include <optional>
#include <thread>

#include "base/mutex.h"

namespace cairn::bench {

class Pacer {
 public:
  // `queue` must outlive this object, and be shut down after it.
  explicit Pacer(grpc::CompletionQueue& queue);
  // An event that is under way still comes.
  ~Pacer();
  Pacer(const Pacer&) = delete;
  Pacer& operator=(const Pacer&) = delete;

  // Has one event with this object's address as tag appear in the queue at `time`, or at once if
  // that has passed. Not before the last one was taken from the queue.
  void WakeAt(std::chrono::steady_clock::time_point time);

 private:
  void Run();

  grpc::CompletionQueue& queue_;
  grpc::Alarm alarm_;  // The thread's.
  base::Mutex mutex_;
  base::ConditionVariable wake_;
  std::optional<std::chrono::steady_clock::time_point> time_ ABSL_GUARDED_BY(mutex_);
  bool stops_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace cairn::bench

#endif  // CAIRN_TEST_BENCH_PACER_H_
