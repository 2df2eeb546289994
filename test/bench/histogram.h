// A histogram of latencies with bounded relative error.
//
// Log-linear buckets: every power of two is cut into 128 equal parts, so a reported value is at
// most 1/128 (0.8 %) above the recorded one, from a nanosecond to eighteen minutes, in 36 KiB.
// Recording costs a few instructions and never allocates. Owned and used by one thread.
#ifndef CAIRN_TEST_BENCH_HISTOGRAM_H_
#define CAIRN_TEST_BENCH_HISTOGRAM_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace cairn::bench {

class Histogram {
 public:
  // Values above this are recorded as this: 2^40 ns is 18 minutes, longer than any bounded run.
  static constexpr uint64_t kValueMax = (uint64_t{1} << 40) - 1;

  void Record(uint64_t value);

  uint64_t count() const { return count_; }
  // 0 when nothing was recorded.
  uint64_t max() const { return max_; }
  double Mean() const;

  // The smallest bucket bound that at least `fraction` (0 to 1) of the recorded values do not
  // exceed; never more than max(). 0 when nothing was recorded.
  uint64_t Quantile(double fraction) const;

 private:
  static constexpr int kPartBits = 7;
  static constexpr int kValueBits = 40;
  // The lowest 2^(kPartBits + 1) values have a bucket each; every further power of two adds
  // 2^kPartBits buckets.
  static constexpr size_t kBuckets = size_t{kValueBits - kPartBits + 1} << kPartBits;

  static size_t BucketOf(uint64_t value);
  // The largest value that falls into `bucket`.
  static uint64_t LastValueOf(size_t bucket);

  std::array<uint64_t, kBuckets> buckets_{};
  uint64_t count_ = 0;
  uint64_t sum_ = 0;
  uint64_t max_ = 0;
};

}  // namespace cairn::bench

#endif  // CAIRN_TEST_BENCH_HISTOGRAM_H_
