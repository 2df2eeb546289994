#include "test/bench/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace cairn::bench {
namespace {

TEST(Histogram, EmptyAnswersZero) {
  const Histogram histogram;
  EXPECT_EQ(histogram.count(), 0u);
  EXPECT_EQ(histogram.max(), 0u);
  EXPECT_EQ(histogram.Quantile(0.5), 0u);
  EXPECT_EQ(histogram.Mean(), 0);
}

TEST(Histogram, SmallValuesAreExact) {
  Histogram histogram;
  for (uint64_t value = 1; value <= 100; ++value) histogram.Record(value);
  EXPECT_EQ(histogram.Quantile(0), 1u);
  EXPECT_EQ(histogram.Quantile(0.5), 50u);
  EXPECT_EQ(histogram.Quantile(0.99), 99u);
  EXPECT_EQ(histogram.Quantile(1), 100u);
  EXPECT_EQ(histogram.Mean(), 50.5);
}

TEST(Histogram, OneOutlierShowsOnlyAboveItsRank) {
  Histogram histogram;
  for (int i = 0; i < 999; ++i) histogram.Record(100);
  histogram.Record(1'000'000);
  EXPECT_EQ(histogram.Quantile(0.5), 100u);
  EXPECT_EQ(histogram.Quantile(0.999), 100u);
  EXPECT_EQ(histogram.Quantile(0.9991), 1'000'000u);
  EXPECT_EQ(histogram.max(), 1'000'000u);
}

TEST(Histogram, HugeValuesAreClamped) {
  Histogram histogram;
  histogram.Record(~uint64_t{0});
  EXPECT_EQ(histogram.max(), Histogram::kValueMax);
  EXPECT_EQ(histogram.Quantile(1), Histogram::kValueMax);
}

// Every power of two and its neighbours: the bound that is reported is never below the value and at
// most 1/128 above it.
TEST(Histogram, RelativeErrorIsBoundedAtEveryPowerOfTwo) {
  for (int bit = 0; bit < 40; ++bit) {
    for (const int64_t offset : {-1, 0, 1}) {
      const uint64_t value = (uint64_t{1} << bit) + static_cast<uint64_t>(offset);
      if (value > Histogram::kValueMax) continue;
      SCOPED_TRACE(value);
      Histogram histogram;
      histogram.Record(value);
      histogram.Record(Histogram::kValueMax);
      const uint64_t reported = histogram.Quantile(0.5);
      EXPECT_GE(reported, value);
      EXPECT_LE(reported - value, value / 128);
    }
  }
}

// The oracle sorts. Log-uniform values exercise all the powers of two.
TEST(Histogram, AgreesWithSortedValues) {
  std::mt19937_64 random(42);
  std::uniform_real_distribution<double> exponent(0, 35);
  Histogram histogram;
  std::vector<uint64_t> values;
  for (int i = 0; i < 20'000; ++i) {
    values.push_back(static_cast<uint64_t>(std::exp2(exponent(random))));
    histogram.Record(values.back());
  }
  std::sort(values.begin(), values.end());
  for (const double fraction : {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    SCOPED_TRACE(fraction);
    const size_t rank = static_cast<size_t>(std::ceil(fraction * 20'000));
    const uint64_t exact = values[rank - 1];
    EXPECT_GE(histogram.Quantile(fraction), exact);
    EXPECT_LE(histogram.Quantile(fraction), exact + exact / 128);
  }
}

}  // namespace
}  // namespace cairn::bench
