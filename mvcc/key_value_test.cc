#include "mvcc/key_value.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "api/kv.pb.h"

namespace cairn::mvcc {
namespace {

std::vector<KeyValueView> Samples() {
  static const std::string kLong(300, 'x');
  return {
      {},
      {.key = "k"},
      {.key = "k",
       .create_revision = Revision(2),
       .mod_revision = Revision(2),
       .version = 1,
       .value = "v"},
      {.key = std::string_view("\0\xff", 2),
       .create_revision = Revision(300),
       .mod_revision = Revision(1'000'000'000'000),
       .version = 129,
       .value = kLong,
       .lease = LeaseId(-1)},
      {.key = kLong,
       .create_revision = Revision(1),
       .mod_revision = Revision(std::numeric_limits<int64_t>::max()),
       .version = 1,
       .lease = LeaseId(std::numeric_limits<int64_t>::min())},
  };
}

std::string Encode(const KeyValueView& kv) {
  std::string bytes;
  AppendKeyValue(bytes, kv);
  return bytes;
}

TEST(KeyValue, EncodesAsProtobufDoes) {
  for (const KeyValueView& kv : Samples()) {
    mvccpb::KeyValue message;
    message.set_key(std::string(kv.key));
    message.set_create_revision(kv.create_revision.value());
    message.set_mod_revision(kv.mod_revision.value());
    message.set_version(kv.version);
    message.set_value(std::string(kv.value));
    message.set_lease(kv.lease.value());
    EXPECT_EQ(Encode(kv), message.SerializeAsString());
    EXPECT_EQ(EncodedKeyValueBytes(kv), message.ByteSizeLong());
  }
}

TEST(KeyValue, AppendsBehindWhatIsThere) {
  std::string bytes = "before";
  AppendKeyValue(bytes, {.key = "k"});
  EXPECT_EQ(bytes, "before\x0a\x01k");
}

TEST(KeyValue, RoundTrips) {
  for (const KeyValueView& kv : Samples()) {
    const std::string bytes = Encode(kv);
    KeyValueView parsed;
    ASSERT_TRUE(ParseKeyValue(bytes, parsed));
    EXPECT_EQ(parsed, kv);
  }
}

// Cut anywhere, an encoding is refused or is the encoding of something shorter.
TEST(KeyValue, TruncatedIsRefusedOrWholeInItself) {
  for (const KeyValueView& kv : Samples()) {
    const std::string bytes = Encode(kv);
    for (size_t size = 0; size < bytes.size(); ++size) {
      KeyValueView parsed;
      if (ParseKeyValue({bytes.data(), size}, parsed)) {
        EXPECT_EQ(Encode(parsed), bytes.substr(0, size));
      }
    }
  }
}

TEST(KeyValue, FlippedBitsAreRefusedOrAnotherExactEncoding) {
  for (const KeyValueView& kv : Samples()) {
    const std::string bytes = Encode(kv);
    for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      std::string flipped = bytes;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      KeyValueView parsed;
      if (ParseKeyValue(flipped, parsed)) {
        EXPECT_EQ(Encode(parsed), flipped);
      }
    }
  }
}

TEST(KeyValue, RefusesWhatIsNotExactlyOurs) {
  const struct {
    const char* name;
    std::string bytes;
  } cases[] = {
      {"field twice", "\x0a\x01k\x0a\x01k"},
      {"fields out of order", "\x10\x02\x0a\x01k"},
      {"explicit zero", std::string("\x0a\x01k\x10\x00", 5)},
      {"explicit empty value", std::string("\x0a\x01k\x2a\x00", 5)},
      {"padded varint", std::string("\x0a\x01k\x10\x82\x00", 6)},
      {"unknown field", "\x0a\x01k\x38\x01"},
      {"trailing byte", "\x0a\x01kk"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    KeyValueView parsed;
    EXPECT_FALSE(ParseKeyValue(c.bytes, parsed));
  }
}

}  // namespace
}  // namespace cairn::mvcc
