#include "test/bench/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/check.h"

namespace cairn::bench {

size_t Histogram::BucketOf(uint64_t value) {
  const int shift = std::max(0, static_cast<int>(std::bit_width(value)) - (kPartBits + 1));
  return (static_cast<size_t>(shift) << kPartBits) + static_cast<size_t>(value >> shift);
}

uint64_t Histogram::LastValueOf(size_t bucket) {
  const size_t parts = size_t{1} << kPartBits;
  if (bucket < 2 * parts) return bucket;
  const size_t shift = bucket / parts - 1;
  const uint64_t part = bucket % parts + parts;
  return ((part + 1) << shift) - 1;
}

void Histogram::Record(uint64_t value) {
  value = std::min(value, kValueMax);
  ++buckets_[BucketOf(value)];
  ++count_;
  sum_ += value;
  max_ = std::max(max_, value);
}

double Histogram::Mean() const {
  return count_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(count_);
}

uint64_t Histogram::Quantile(double fraction) const {
  CAIRN_CHECK(fraction >= 0 && fraction <= 1);
  if (count_ == 0) return 0;
  const uint64_t rank = std::max<uint64_t>(
      1, static_cast<uint64_t>(std::ceil(fraction * static_cast<double>(count_))));
  uint64_t seen = 0;
  for (size_t bucket = 0; bucket < kBuckets; ++bucket) {
    seen += buckets_[bucket];
    if (seen >= rank) return std::min(LastValueOf(bucket), max_);
  }
  return max_;
}

}  // namespace cairn::bench
