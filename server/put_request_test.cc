#include "server/put_request.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace cairn::server {
namespace {

using etcdserverpb::PutRequest;

void ExpectSame(const PutRequestView& view, const PutRequest& request) {
  EXPECT_EQ(view.key, request.key());
  EXPECT_EQ(view.value, request.value());
  EXPECT_EQ(view.lease, request.lease());
  EXPECT_EQ(view.prev_kv, request.prev_kv());
  EXPECT_EQ(view.ignore_value, request.ignore_value());
  EXPECT_EQ(view.ignore_lease, request.ignore_lease());
}

PutRequest Full() {
  PutRequest request;
  request.set_key("key");
  request.set_value(std::string("v\0\xff", 3));
  request.set_lease(-7);
  request.set_prev_kv(true);
  request.set_ignore_value(true);
  request.set_ignore_lease(true);
  return request;
}

TEST(PutRequest, DecodesWhatProtobufEncodes) {
  for (const PutRequest& request : {PutRequest(), Full()}) {
    PutRequestView view;
    const std::string bytes = request.SerializeAsString();
    ASSERT_TRUE(DecodePutRequest(bytes, view));
    ExpectSame(view, request);
    ExpectSame(ViewOf(request), request);
  }
}

TEST(PutRequest, TakesTheLastOfARepeatedFieldAndSkipsUnknownOnes) {
  PutRequest second;
  second.set_key("second");
  second.set_lease(5);
  // Field 15 as a varint, field 16 as fixed32, a group 7 that holds a string, key as a varint.
  const std::string unknown("\x78\x05\x85\x01\x01\x02\x03\x04\x3b\x0a\x01x\x3c\x08\x01", 15);
  const std::string bytes = Full().SerializeAsString() + unknown + second.SerializeAsString();
  PutRequest expected;
  ASSERT_TRUE(expected.ParseFromString(bytes));
  PutRequestView view;
  ASSERT_TRUE(DecodePutRequest(bytes, view));
  ExpectSame(view, expected);
  EXPECT_EQ(view.key, "second");
}

TEST(PutRequest, AgreesWithProtobufOnEveryTruncationAndFlippedByte) {
  const std::string bytes = Full().SerializeAsString();
  for (size_t size = 0; size <= bytes.size(); ++size) {
    const std::string cut = bytes.substr(0, size);
    PutRequest expected;
    PutRequestView view;
    ASSERT_EQ(DecodePutRequest(cut, view), expected.ParseFromString(cut)) << size;
  }
  // The lease's last byte: of a number above 64 bits Protobuf drops what does not fit, we refuse
  // it.
  const size_t end_of_lease = bytes.find("\x20\x01");
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      if (at == end_of_lease - 1 && value > 1) continue;
      std::string changed = bytes;
      changed[at] = static_cast<char>(value);
      PutRequest expected;
      PutRequestView view;
      const bool valid = expected.ParseFromString(changed);
      ASSERT_EQ(DecodePutRequest(changed, view), valid) << at << " " << value;
      if (valid) ExpectSame(view, expected);
    }
  }
}

}  // namespace
}  // namespace cairn::server
