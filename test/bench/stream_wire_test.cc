#include "test/bench/stream_wire.h"

#include <gtest/gtest.h>

#include "api/rpc.pb.h"

namespace cairn::bench {
namespace {

TEST(StreamWire, ACreationIsAWatchRequest) {
  std::string bytes;
  AppendWatchCreate(
      {.watch_id = 300, .key = "a", .range_end = "b", .start_revision = 7, .prev_kv = true}, bytes);
  etcdserverpb::WatchRequest request;
  ASSERT_TRUE(request.ParseFromString(bytes));
  EXPECT_EQ(request.create_request().watch_id(), 300);
  EXPECT_EQ(request.create_request().key(), "a");
  EXPECT_EQ(request.create_request().range_end(), "b");
  EXPECT_EQ(request.create_request().start_revision(), 7);
  EXPECT_TRUE(request.create_request().prev_kv());
}

TEST(StreamWire, LeaseRequests) {
  std::string bytes;
  AppendGrant(60, 5, bytes);
  etcdserverpb::LeaseGrantRequest grant;
  ASSERT_TRUE(grant.ParseFromString(bytes));
  EXPECT_EQ(grant.ttl(), 60);
  EXPECT_EQ(grant.id(), 5);
  bytes.clear();
  AppendKeepAlive(1 << 20, bytes);
  etcdserverpb::LeaseKeepAliveRequest keep_alive;
  ASSERT_TRUE(keep_alive.ParseFromString(bytes));
  EXPECT_EQ(keep_alive.id(), 1 << 20);
}

TEST(StreamWire, ReadsAKeepAlivesAnswer) {
  etcdserverpb::LeaseKeepAliveResponse answer;
  answer.mutable_header()->set_revision(9);
  answer.set_id(5);
  EXPECT_EQ(ReadKeepAliveTtl(answer.SerializeAsString()), 0);
  answer.set_ttl(60);
  EXPECT_EQ(ReadKeepAliveTtl(answer.SerializeAsString()), 60);
  EXPECT_EQ(ReadKeepAliveTtl("\x1a"), std::nullopt);
}

etcdserverpb::WatchResponse Response() {
  etcdserverpb::WatchResponse response;
  response.mutable_header()->set_revision(12);
  response.set_watch_id(300);
  auto* const put = response.add_events();
  put->mutable_kv()->set_key("k");
  put->mutable_kv()->set_mod_revision(11);
  put->mutable_kv()->set_value("value");
  put->mutable_prev_kv()->set_key("k");
  put->mutable_prev_kv()->set_mod_revision(3);
  auto* const removal = response.add_events();
  removal->set_type(mvccpb::Event::DELETE);
  removal->mutable_kv()->set_key("gone");
  removal->mutable_kv()->set_mod_revision(12);
  return response;
}

TEST(StreamWire, ReadsAWatchResponse) {
  WatchedResponse read;
  const std::string bytes = Response().SerializeAsString();
  ASSERT_TRUE(ReadWatchResponse(bytes, read));
  EXPECT_EQ(read.watch_id, 300);
  EXPECT_FALSE(read.created);
  EXPECT_FALSE(read.canceled);
  ASSERT_EQ(read.events.size(), 2u);
  EXPECT_FALSE(read.events[0].is_delete);
  EXPECT_EQ(read.events[0].key, "k");
  EXPECT_EQ(read.events[0].value, "value");
  EXPECT_EQ(read.events[0].mod_revision, 11);
  EXPECT_TRUE(read.events[1].is_delete);
  EXPECT_EQ(read.events[1].key, "gone");
  EXPECT_EQ(read.events[1].mod_revision, 12);
}

TEST(StreamWire, AResponseLeavesNothingOfTheOneBefore) {
  WatchedResponse read;
  ASSERT_TRUE(ReadWatchResponse(Response().SerializeAsString(), read));
  etcdserverpb::WatchResponse end;
  end.set_canceled(true);
  end.set_cancel_reason("why");
  const std::string bytes = end.SerializeAsString();
  ASSERT_TRUE(ReadWatchResponse(bytes, read));
  EXPECT_EQ(read.watch_id, 0);
  EXPECT_TRUE(read.canceled);
  EXPECT_EQ(read.cancel_reason, "why");
  EXPECT_TRUE(read.events.empty());
}

TEST(StreamWire, EveryTruncationIsReadWithinItsBytes) {
  const std::string bytes = Response().SerializeAsString();
  WatchedResponse read;
  size_t refused = 0;
  for (size_t length = 0; length < bytes.size(); ++length) {
    // A copy of exactly that length: a read beyond it is one that the sanitizer sees.
    const std::string part(bytes, 0, length);
    refused += ReadWatchResponse(part, read) ? 0 : 1;
  }
  // A cut between two fields is a message: one for nothing, three before the last field.
  EXPECT_EQ(refused, bytes.size() - 4);
}

TEST(StreamWire, AStampIsReadBack) {
  std::string value(12, 'x');
  Stamp(-123456789012345, value.data());
  EXPECT_EQ(StampOf(value), -123456789012345);
  EXPECT_EQ(value.substr(kStampBytes), "xxxx");
  EXPECT_EQ(StampOf("1234567"), std::nullopt);
}

}  // namespace
}  // namespace cairn::bench
