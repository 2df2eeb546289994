#include "base/coding.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <string>
#include <vector>

namespace cairn::base {
namespace {

std::vector<uint64_t> InterestingValues() {
  std::vector<uint64_t> values = {0, std::numeric_limits<uint64_t>::max()};
  std::mt19937_64 random(1);
  for (int bit = 0; bit < 64; ++bit) {
    values.push_back(uint64_t{1} << bit);
    values.push_back((uint64_t{1} << bit) - 1);
    values.push_back(random() >> bit);
  }
  return values;
}

TEST(CodingTest, FixedWidthRoundTrips) {
  for (const uint64_t value : InterestingValues()) {
    std::string bytes;
    AppendLittle64(bytes, value);
    AppendBig64(bytes, value);
    AppendLittle32(bytes, static_cast<uint32_t>(value));
    AppendBig32(bytes, static_cast<uint32_t>(value));
    ASSERT_EQ(bytes.size(), 24u);
    std::string_view rest = bytes;
    uint64_t a = 0, b = 0;
    uint32_t c = 0, d = 0;
    ASSERT_TRUE(TakeLittle64(rest, a) && TakeBig64(rest, b) && TakeLittle32(rest, c) &&
                TakeBig32(rest, d));
    EXPECT_EQ(a, value);
    EXPECT_EQ(b, value);
    EXPECT_EQ(c, static_cast<uint32_t>(value));
    EXPECT_EQ(d, static_cast<uint32_t>(value));
    EXPECT_TRUE(rest.empty());
  }
}

TEST(CodingTest, BigEndianKeepsOrder) {
  const std::vector<uint64_t> values = InterestingValues();
  for (const uint64_t a : values) {
    for (const uint64_t b : values) {
      std::string a_bytes, b_bytes;
      AppendBig64(a_bytes, a);
      AppendBig64(b_bytes, b);
      EXPECT_EQ(a < b, a_bytes < b_bytes);
    }
  }
}

TEST(CodingTest, VarintRoundTripsAndRefusesEveryTruncation) {
  for (const uint64_t value : InterestingValues()) {
    std::string bytes;
    AppendVarint(bytes, value);
    EXPECT_EQ(bytes.size(), static_cast<size_t>(VarintBytes(value)));
    std::string_view rest = bytes;
    uint64_t decoded = 0;
    ASSERT_TRUE(TakeVarint(rest, decoded));
    EXPECT_EQ(decoded, value);
    EXPECT_TRUE(rest.empty());
    for (size_t size = 0; size < bytes.size(); ++size) {
      std::string_view cut(bytes.data(), size);
      EXPECT_FALSE(TakeVarint(cut, decoded));
      EXPECT_EQ(cut.size(), size);
    }
  }
}

TEST(CodingTest, VarintRefusesMoreThan64Bits) {
  uint64_t value = 0;
  for (const std::string& bytes : {std::string(9, '\x80') + '\x02',
                                   std::string(10, '\x80') + '\x01', std::string(20, '\xff')}) {
    std::string_view rest = bytes;
    EXPECT_FALSE(TakeVarint(rest, value));
  }
}

TEST(CodingTest, ShortInputsAreRefusedUnchanged) {
  const std::string bytes(7, 'x');
  std::string_view rest = bytes;
  uint64_t wide = 0;
  std::string_view taken;
  EXPECT_FALSE(TakeLittle64(rest, wide));
  EXPECT_FALSE(TakeBig64(rest, wide));
  EXPECT_FALSE(TakeBytes(rest, 8, taken));
  EXPECT_EQ(rest.size(), 7u);
  EXPECT_TRUE(TakeBytes(rest, 7, taken));
  EXPECT_EQ(taken, bytes);
}

}  // namespace
}  // namespace cairn::base
