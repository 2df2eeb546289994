#include "cmd/cairnutl/text.h"

#include <gtest/gtest.h>

#include <string>

namespace cairn::cairnutl {
namespace {

using namespace std::string_literals;

TEST(TextTest, QuotesWhatDoesNotPrint) {
  EXPECT_EQ(Quote(""), "\"\"");
  EXPECT_EQ(Quote("plain"), "\"plain\"");
  EXPECT_EQ(Quote("a\"b\\c"), R"("a\"b\\c")");
  EXPECT_EQ(Quote("\0\n\xff"s), R"("\x00\x0a\xff")");
  EXPECT_EQ(Quote("abcdef", 3), "\"abc\"... (6 bytes)");
  EXPECT_EQ(Quote(std::string(kShownBytesMax, 'x')).size(), kShownBytesMax + 2);
}

TEST(TextTest, ShortensOnlyWhatIsLong) {
  EXPECT_EQ(Shorten("id: 7", 10), "id: 7");
  EXPECT_EQ(Shorten("0123456789", 4), "\"0123\"... (10 bytes)");
  EXPECT_EQ(Shorten("a\nb", 10), R"("a\x0ab")");
}

TEST(TextTest, KnowsUtf8) {
  for (const std::string good : {"", "ascii", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x8c\x8d"}) {
    EXPECT_TRUE(IsUtf8(good)) << Quote(good);
  }
  // Cut, a continuation alone, overlong, a surrogate, beyond the last code point.
  for (const std::string bad :
       {"\xc3", "\x80", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff"}) {
    EXPECT_FALSE(IsUtf8(bad)) << Quote(bad);
  }
}

TEST(TextTest, JsonHasEveryByte) {
  Json json;
  PutBytes(json, "key", "caf\xc3\xa9");
  PutBytes(json, "value", "\x00\xff"s);
  EXPECT_EQ(JsonLine(json), "{\"key\":\"caf\xc3\xa9\",\"value_base64\":\"AP8=\"}\n");
}

TEST(TextTest, ReadsHexadecimalDigits) {
  EXPECT_EQ(*FromHex("00fF"), "\x00\xff"s);
  EXPECT_EQ(*FromHex(""), "");
  for (const char* bad : {"0", "0g", "+1", "0x"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(FromHex(bad).status())) << bad;
  }
}

}  // namespace
}  // namespace cairn::cairnutl
