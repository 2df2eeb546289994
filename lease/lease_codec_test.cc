#include "lease/lease_codec.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace cairn::lease {
namespace {

constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

std::string Hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    text.push_back(kDigits[static_cast<uint8_t>(c) >> 4]);
    text.push_back(kDigits[static_cast<uint8_t>(c) & 15]);
  }
  return text;
}

TEST(LeaseCodecTest, IdsSortAsSignedNumbers) {
  std::string last;
  for (const int64_t id : {kMin, int64_t{-7}, int64_t{-1}, int64_t{1}, int64_t{255}, kMax}) {
    std::string bytes;
    AppendLeaseId(bytes, LeaseId(id));
    EXPECT_EQ(bytes.size(), kLeaseIdBytes);
    EXPECT_LT(last, bytes) << id;
    last = bytes;

    std::string_view rest = bytes;
    LeaseId read;
    ASSERT_TRUE(TakeLeaseId(rest, read));
    EXPECT_EQ(read, LeaseId(id));
    EXPECT_TRUE(rest.empty());
    std::string_view cut = std::string_view(bytes).substr(1);
    EXPECT_FALSE(TakeLeaseId(cut, read));
  }
}

TEST(LeaseCodecTest, TheBytesStay) {
  EXPECT_EQ(Hex(EncodeLeaseRow({.granted = Index(300), .ttl_s = 60, .key_count = 2})),
            "ac023c0200");
  EXPECT_EQ(
      Hex(EncodeLeaseRow({.granted = Index(1), .ttl_s = 60, .checkpoint_ms = 0, .key_count = 0})),
      "013c0001");
}

TEST(LeaseCodecTest, RowsComeBackAndCutOnesDoNot) {
  const std::vector<LeaseFacts> rows = {
      {.granted = Index(1), .ttl_s = 2},
      {.granted = Index(~uint64_t{0}), .ttl_s = 9'000'000'000, .key_count = 1'000'000},
      {.granted = Index(7), .ttl_s = 600, .checkpoint_ms = 0, .key_count = 3},
      {.granted = Index(7), .ttl_s = 600, .checkpoint_ms = 300'000, .key_count = 3},
  };
  for (const LeaseFacts& facts : rows) {
    const std::string bytes = EncodeLeaseRow(facts);
    LeaseFacts read;
    ASSERT_TRUE(DecodeLeaseRow(bytes, read));
    EXPECT_EQ(read, facts);
    for (size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_FALSE(DecodeLeaseRow(std::string_view(bytes).substr(0, length), read)) << length;
    }
    EXPECT_FALSE(DecodeLeaseRow(bytes + '\0', read));
  }
  LeaseFacts read;
  for (const LeaseFacts& facts : {LeaseFacts{.ttl_s = kTtlSecondsMax + 1},
                                  LeaseFacts{.ttl_s = 9, .checkpoint_ms = int64_t{1} << 62}}) {
    EXPECT_FALSE(DecodeLeaseRow(EncodeLeaseRow(facts), read)) << "nobody grants such a lease";
  }
  // A negative number is not one that is ever written.
  EXPECT_FALSE(DecodeLeaseRow(
      std::string("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00", 13), read));
}

}  // namespace
}  // namespace cairn::lease
