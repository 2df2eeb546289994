// Named points between two durable actions, where a test can stop the world.
//
// Compiled in always; without an observer a point costs one relaxed load. Production code never
// installs one. Names are dotted, folder first: "wal.gc.planned".
#ifndef CAIRN_BASE_FAIL_POINT_H_
#define CAIRN_BASE_FAIL_POINT_H_

#include <atomic>
#include <functional>
#include <string_view>

namespace cairn::base {

using FailPointObserver = std::function<void(std::string_view name)>;

// Calls `observer` at every point passed by any thread, from here to the end of the object's life.
// One at a time; the points' threads must have ended before it is destroyed.
class ScopedFailPointObserver {
 public:
  explicit ScopedFailPointObserver(FailPointObserver observer);
  ~ScopedFailPointObserver();
  ScopedFailPointObserver(const ScopedFailPointObserver&) = delete;
  ScopedFailPointObserver& operator=(const ScopedFailPointObserver&) = delete;

 private:
  FailPointObserver observer_;
};

namespace internal {
extern std::atomic<const FailPointObserver*> fail_point_observer;
}  // namespace internal

inline void FailPoint(std::string_view name) {
  if (internal::fail_point_observer.load(std::memory_order_relaxed) == nullptr) [[likely]] {
    return;
  }
  if (const auto* observer = internal::fail_point_observer.load(std::memory_order_acquire)) {
    (*observer)(name);
  }
}

}  // namespace cairn::base

#endif  // CAIRN_BASE_FAIL_POINT_H_
