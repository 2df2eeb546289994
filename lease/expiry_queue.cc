#include "lease/expiry_queue.h"

#include <utility>

#include "base/check.h"

namespace cairn::lease {

void ExpiryQueue::Add(const LeaseName& name, Milliseconds at_ms) {
  const Milliseconds from_zero = at_ms > 0 ? at_ms : 0;
  buckets_[(from_zero + kBucketMs - 1) / kBucketMs].push_back(name);
  ++size_;
}

std::optional<LeaseName> ExpiryQueue::PopDue(Milliseconds now_ms) {
  if (next_due_ == due_.size()) {
    due_.clear();
    next_due_ = 0;
    const auto first = buckets_.begin();
    if (first == buckets_.end() || first->first * kBucketMs > now_ms) return std::nullopt;
    due_ = std::move(first->second);
    buckets_.erase(first);
  }
  --size_;
  return due_[next_due_++];
}

void ExpiryQueue::PutBack(const LeaseName& name) {
  CAIRN_CHECK_GT(next_due_, 0u);
  due_[--next_due_] = name;
  ++size_;
}

std::optional<Milliseconds> ExpiryQueue::next_ms() const {
  if (next_due_ < due_.size()) return 0;
  if (buckets_.empty()) return std::nullopt;
  return buckets_.begin()->first * kBucketMs;
}

void ExpiryQueue::Clear() {
  buckets_.clear();
  due_.clear();
  next_due_ = 0;
  size_ = 0;
}

}  // namespace cairn::lease
