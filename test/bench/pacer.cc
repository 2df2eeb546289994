#include "test/bench/pacer.h"

#include <grpc/support/time.h>
#include <sys/prctl.h>

namespace cairn::bench {

Pacer::Pacer(grpc::CompletionQueue& queue) : queue_(queue), thread_([this] { Run(); }) {}

Pacer::~Pacer() {
  {
    base::MutexLock lock(mutex_);
    stops_ = true;
    wake_.SignalAll();
  }
  thread_.join();
}

void Pacer::WakeAt(std::chrono::steady_clock::time_point time) {
  base::MutexLock lock(mutex_);
  time_ = time;
  wake_.SignalAll();
}

void Pacer::Run() {
  // In ns. The default would be late by 50 us.
  prctl(PR_SET_TIMERSLACK, 1);
  while (true) {
    std::chrono::steady_clock::time_point time;
    {
      base::MutexLock lock(mutex_);
      while (!time_.has_value() && !stops_) wake_.Wait(mutex_);
      if (stops_) return;
      time = *time_;
      time_.reset();
    }
    std::this_thread::sleep_until(time);
    alarm_.Set(&queue_, gpr_now(GPR_CLOCK_MONOTONIC), this);
  }
}

}  // namespace cairn::bench
