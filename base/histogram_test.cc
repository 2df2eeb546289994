#include "base/histogram.h"

#include <gtest/gtest.h>

namespace cairn::base {
namespace {

TEST(HistogramTest, BoundsAreInclusiveAndCountsCumulative) {
  Histogram histogram(64);
  EXPECT_EQ(histogram.Read().count, 0u);
  for (const uint64_t value :
       {uint64_t{0}, uint64_t{64}, uint64_t{65}, uint64_t{128}, uint64_t{129}, uint64_t{64} << 15,
        (uint64_t{64} << 15) + 1, ~uint64_t{0} >> 8}) {
    histogram.Observe(value);
  }
  const HistogramView view = histogram.Read();
  ASSERT_EQ(view.buckets.size(), Histogram::kBuckets);
  EXPECT_EQ(view.buckets[0].upper_bound, 64u);
  EXPECT_EQ(view.buckets[0].count, 2u);
  EXPECT_EQ(view.buckets[1].upper_bound, 128u);
  EXPECT_EQ(view.buckets[1].count, 4u);
  EXPECT_EQ(view.buckets[2].count, 5u);
  EXPECT_EQ(view.buckets[14].count, 5u);
  EXPECT_EQ(view.buckets[15].upper_bound, uint64_t{64} << 15);
  EXPECT_EQ(view.buckets[15].count, 6u);
  EXPECT_EQ(view.count, 8u);
  EXPECT_EQ(view.sum, 386 + (uint64_t{64} << 15) + (uint64_t{64} << 15) + 1 + (~uint64_t{0} >> 8));
}

}  // namespace
}  // namespace cairn::base
