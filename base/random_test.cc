#include "base/random.h"

#include <gtest/gtest.h>

#include <set>

namespace cairn::base {
namespace {

TEST(Random, IsTheSameEverywhere) {
  // The published first values of SplitMix64 for seed 0.
  Random random(0);
  EXPECT_EQ(random.Next(), 0xe220a8397b1dcdafu);
  EXPECT_EQ(random.Next(), 0x6e789e6aa1b965f4u);
}

TEST(Random, NeighbouringSeedsDiffer) {
  std::set<uint64_t> values;
  for (uint64_t seed = 0; seed < 100; ++seed) values.insert(Random(seed).Next());
  EXPECT_EQ(values.size(), 100u);
}

TEST(Random, StaysBelowTheLimit) {
  Random random(1);
  std::set<uint64_t> values;
  for (int i = 0; i < 1000; ++i) values.insert(random.Below(5));
  EXPECT_EQ(values, (std::set<uint64_t>{0, 1, 2, 3, 4}));
}

}  // namespace
}  // namespace cairn::base
