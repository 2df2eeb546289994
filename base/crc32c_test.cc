#include "base/crc32c.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace cairn::base {
namespace {

// The check value of CRC-32C and the vectors of RFC 3720, appendix B.4.
TEST(Crc32cTest, KnownValues) {
  EXPECT_EQ(Crc32c(""), 0u);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
}

TEST(Crc32cTest, FastEqualsPortableAtEveryLengthAndSplit) {
  std::mt19937 random(1);
  std::string bytes(300, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  for (size_t size = 0; size <= bytes.size(); ++size) {
    const std::string_view all(bytes.data(), size);
    const uint32_t expected = internal::ExtendCrc32cPortable(0, all);
    EXPECT_EQ(Crc32c(all), expected);
    const size_t split = size == 0 ? 0 : random() % size;
    EXPECT_EQ(ExtendCrc32c(Crc32c(all.substr(0, split)), all.substr(split)), expected);
  }
}

}  // namespace
}  // namespace cairn::base
