// How often values of which size were seen: counts in buckets whose bounds double.
//
// One thread observes, which costs a few plain stores; any thread reads meanwhile. What is read is
// a moment of each number, not of all together. Never allocates while it observes.
#ifndef CAIRN_BASE_HISTOGRAM_H_
#define CAIRN_BASE_HISTOGRAM_H_

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace cairn::base {

// Counts as a collector of metrics takes them.
struct HistogramView {
  struct Bucket {
    uint64_t upper_bound = 0;  // Inclusive.
    uint64_t count = 0;        // Of all values up to it: the counts only rise along the buckets.
  };
  std::vector<Bucket> buckets;
  // Of all values, also those above the last bound.
  uint64_t count = 0;
  uint64_t sum = 0;
};

class Histogram {
 public:
  static constexpr size_t kBuckets = 16;

  // The bounds are `first_bound` (above 0) times 1, 2, 4 and so on.
  explicit Histogram(uint64_t first_bound) : first_bound_(first_bound) {}

  void Observe(uint64_t value) {
    const auto doublings =
        static_cast<size_t>(value == 0 ? 0 : std::bit_width((value - 1) / first_bound_));
    Add(counts_[doublings < kBuckets ? doublings : kBuckets], 1);
    Add(sum_, value);
  }

  HistogramView Read() const {
    HistogramView view;
    for (size_t i = 0; i < kBuckets; ++i) {
      view.count += counts_[i].load(std::memory_order_relaxed);
      view.buckets.push_back({first_bound_ << i, view.count});
    }
    view.count += counts_[kBuckets].load(std::memory_order_relaxed);
    view.sum = sum_.load(std::memory_order_relaxed);
    return view;
  }

 private:
  // There is one writer: no need for an atomic addition.
  static void Add(std::atomic<uint64_t>& to, uint64_t value) {
    to.store(to.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
  }

  const uint64_t first_bound_;
  std::array<std::atomic<uint64_t>, kBuckets + 1> counts_ = {};  // The last one: above all bounds.
  std::atomic<uint64_t> sum_ = 0;
};

}  // namespace cairn::base

#endif  // CAIRN_BASE_HISTOGRAM_H_
