#include "base/fail_point.h"

#include <utility>

#include "base/check.h"

namespace cairn::base {

namespace internal {
std::atomic<const FailPointObserver*> fail_point_observer = nullptr;
}  // namespace internal

ScopedFailPointObserver::ScopedFailPointObserver(FailPointObserver observer)
    : observer_(std::move(observer)) {
  const auto* before = internal::fail_point_observer.exchange(&observer_);
  CAIRN_CHECK(before == nullptr, "there is an observer already");
}

ScopedFailPointObserver::~ScopedFailPointObserver() { internal::fail_point_observer = nullptr; }

}  // namespace cairn::base
