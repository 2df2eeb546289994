// One thread, one completion queue, and everything that happens on it.
//
// What starts an operation hands the queue an Event, which hears of the operation's end from
// EventLoop. An Event lives until then: Drain waits for all of them. One thread owns all of it.
#ifndef CAIRN_TEST_BENCH_EVENT_LOOP_H_
#define CAIRN_TEST_BENCH_EVENT_LOOP_H_

#include <grpcpp/completion_queue.h>

#include <chrono>
#include <cstdint>

namespace cairn::bench {

using Clock = std::chrono::steady_clock;

// The tag of an operation.
class Event {
 public:
  // `ok` as the completion queue means it: false if the operation failed.
  virtual void Happened(bool ok) = 0;

 protected:
  ~Event() = default;
};

class EventLoop {
 public:
  EventLoop() = default;
  ~EventLoop() { Drain(); }
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  grpc::CompletionQueue& queue() { return queue_; }

  // Tells one event of its end if there is one at once.
  bool Poll() { return Next(gpr_inf_past(GPR_CLOCK_MONOTONIC)); }
  // The same, but waits for one, a few milliseconds at most.
  bool Wait(int64_t wait_ms = kWaitMs) {
    return Next(
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(wait_ms, GPR_TIMESPAN)));
  }

  // Waits for the end of everything that is under way and tells nobody. Whoever owns events cancels
  // them and calls this before they go.
  void Drain() {
    if (is_drained_) return;
    is_drained_ = true;
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }

 private:
  // Short enough that a phase ends when it should.
  static constexpr int64_t kWaitMs = 5;

  bool Next(gpr_timespec deadline) {
    void* tag = nullptr;
    bool ok = false;
    if (queue_.AsyncNext(&tag, &ok, deadline) != grpc::CompletionQueue::GOT_EVENT) return false;
    static_cast<Event*>(tag)->Happened(ok);
    return true;
  }

  grpc::CompletionQueue queue_;
  bool is_drained_ = false;
};

}  // namespace cairn::bench

#endif  // CAIRN_TEST_BENCH_EVENT_LOOP_H_
