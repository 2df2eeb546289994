// What will happen, in the order of a simulated clock. One thread; deterministic.
//
// Owned by the cluster. Things due at the same microsecond happen in the order in which they were
// planned.
#ifndef CAIRN_TEST_SIM_SCHEDULER_H_
#define CAIRN_TEST_SIM_SCHEDULER_H_

#include <absl/functional/any_invocable.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace cairn::sim {

// A point of the simulated clock, or a span of it.
using Microseconds = int64_t;

inline constexpr Microseconds kMillisecond = 1000;
inline constexpr Microseconds kSecond = 1'000'000;

class Scheduler {
 public:
  // Returns whether anything happened: what it was meant for may be gone.
  using Event = absl::AnyInvocable<bool()>;

  Microseconds now() const { return now_; }
  size_t size() const { return heap_.size(); }

  // `delay` >= 0.
  void After(Microseconds delay, Event event) {
    heap_.push_back({now_ + delay, next_number_++, std::move(event)});
    std::push_heap(heap_.begin(), heap_.end());
  }

  // Lets the next event happen. REQUIRES: size() > 0.
  bool RunNext() {
    std::pop_heap(heap_.begin(), heap_.end());
    Planned next = std::move(heap_.back());
    heap_.pop_back();
    now_ = next.at;
    return next.event();
  }

 private:
  struct Planned {
    Microseconds at = 0;
    uint64_t number = 0;
    Event event;

    // The earliest is the largest: std::push_heap keeps that in front.
    friend bool operator<(const Planned& a, const Planned& b) {
      return a.at != b.at ? a.at > b.at : a.number > b.number;
    }
  };

  std::vector<Planned> heap_;
  Microseconds now_ = 0;
  uint64_t next_number_ = 0;
};

}  // namespace cairn::sim

#endif  // CAIRN_TEST_SIM_SCHEDULER_H_
