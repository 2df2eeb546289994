#include "test/bench/wire.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "api/rpc.pb.h"
#include "test/bench/stream_wire.h"

namespace cairn::bench {
namespace {

Options Base(Operation operation) {
  Options options;
  options.operation = operation;
  options.key_prefix = "k/";
  options.key_size_bytes = 24;
  options.value_size_bytes = 100;
  options.key_space = 1000;
  return options;
}

TEST(RequestSource, PutIsAPutRequest) {
  RequestSource source(Base(Operation::kPut));
  std::string bytes;
  std::set<std::string> keys;
  std::set<std::string> values;
  for (uint64_t number = 0; number < 1000; ++number) {
    source.Encode(number, bytes);
    etcdserverpb::PutRequest request;
    ASSERT_TRUE(request.ParseFromString(bytes));
    EXPECT_EQ(request.key().size(), 24u);
    EXPECT_EQ(request.value().size(), 100u);
    EXPECT_EQ(request.key().substr(0, 5), fmt::format("k/{:03}", number));
    keys.insert(request.key());
    values.insert(request.value());
  }
  EXPECT_EQ(keys.size(), 1000u);
  EXPECT_GT(values.size(), 990u);
  // The key space wraps, the value moves on.
  source.Encode(1007, bytes);
  etcdserverpb::PutRequest request;
  ASSERT_TRUE(request.ParseFromString(bytes));
  EXPECT_TRUE(keys.contains(request.key()));
}

TEST(RequestSource, TheSameNumberGivesTheSameBytes) {
  for (const Operation operation : {Operation::kPut, Operation::kTxn, Operation::kGet}) {
    Options options = Base(operation);
    options.random_keys = true;
    options.txn_puts = 8;
    RequestSource one(options);
    RequestSource other(options);
    std::string a;
    std::string b;
    other.Encode(3, b);
    one.Encode(7, a);
    other.Encode(7, b);
    EXPECT_EQ(a, b);
  }
}

TEST(RequestSource, TxnPutsItsOwnKeysOnceEach) {
  Options options = Base(Operation::kTxn);
  options.txn_puts = 8;
  RequestSource source(options);
  std::string bytes;
  std::set<std::string> keys;
  for (uint64_t number = 0; number < 1000 / 8; ++number) {
    source.Encode(number, bytes);
    etcdserverpb::TxnRequest request;
    ASSERT_TRUE(request.ParseFromString(bytes));
    ASSERT_EQ(request.success_size(), 8);
    for (const auto& operation : request.success()) {
      EXPECT_EQ(operation.request_put().value().size(), 100u);
      EXPECT_TRUE(keys.insert(operation.request_put().key()).second);
    }
  }
  EXPECT_EQ(keys.size(), 1000u);
}

TEST(RequestSource, RangeCoversThePrefix) {
  Options options = Base(Operation::kRange);
  options.range_limit = 500;
  options.revision = 9;
  options.serializable = true;
  options.keys_only = true;
  RequestSource source(options);
  std::string bytes;
  source.Encode(0, bytes);
  etcdserverpb::RangeRequest request;
  ASSERT_TRUE(request.ParseFromString(bytes));
  EXPECT_EQ(request.key(), "k/");
  EXPECT_EQ(request.range_end(), "k0");
  EXPECT_EQ(request.limit(), 500);
  EXPECT_EQ(request.revision(), 9);
  EXPECT_TRUE(request.serializable());
  EXPECT_TRUE(request.keys_only());
  EXPECT_FALSE(request.count_only());
}

TEST(RequestSource, RangeWithoutAPrefixIsEverything) {
  Options options = Base(Operation::kRange);
  options.key_prefix.clear();
  RequestSource source(options);
  std::string bytes;
  source.Encode(0, bytes);
  etcdserverpb::RangeRequest request;
  ASSERT_TRUE(request.ParseFromString(bytes));
  EXPECT_EQ(request.key(), std::string(1, '\0'));
  EXPECT_EQ(request.range_end(), std::string(1, '\0'));
}

TEST(RequestSource, CompactIsPhysical) {
  Options options = Base(Operation::kCompact);
  options.revision = 300;
  RequestSource source(options);
  std::string bytes;
  source.Encode(0, bytes);
  etcdserverpb::CompactionRequest request;
  ASSERT_TRUE(request.ParseFromString(bytes));
  EXPECT_EQ(request.revision(), 300);
  EXPECT_TRUE(request.physical());
}

TEST(ReadAnswer, TakesRevisionAndCount) {
  etcdserverpb::RangeResponse response;
  response.mutable_header()->set_cluster_id(~uint64_t{0});
  response.mutable_header()->set_revision(77);
  response.add_kvs()->set_key("a");
  response.set_count(100'000);
  const auto answer = ReadAnswer(Operation::kRange, response.SerializeAsString());
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->revision, 77);
  EXPECT_EQ(answer->count, 100'000);

  etcdserverpb::RangeStreamResponse stream;
  *stream.mutable_range_response() = response;
  const auto streamed = ReadAnswer(Operation::kRangeStream, stream.SerializeAsString());
  ASSERT_TRUE(streamed.has_value());
  EXPECT_EQ(streamed->count, 100'000);
}

TEST(ReadAnswer, TakesTheHash) {
  etcdserverpb::HashKVResponse response;
  response.set_hash(0xffffffff);
  const auto answer = ReadAnswer(Operation::kHashKv, response.SerializeAsString());
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->hash, 0xffffffffu);
}

// A cut inside a field is refused; a cut between two fields is a shorter message.
TEST(ReadAnswer, NoTruncationIsReadAsMore) {
  etcdserverpb::RangeResponse response;
  response.mutable_header()->set_revision(1 << 20);
  response.add_kvs()->set_value(std::string(300, 'x'));
  response.set_count(1000);
  const std::string bytes = response.SerializeAsString();
  int refused = 0;
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto answer = ReadAnswer(Operation::kRange, std::string_view(bytes).substr(0, size));
    if (!answer.has_value()) {
      ++refused;
      continue;
    }
    EXPECT_EQ(answer->count, 0);
  }
  EXPECT_GT(refused, 300);
}

TEST(RequestSource, AKeysNumberIsReadBack) {
  Options options;
  options.key_prefix = "p/";
  options.key_size_bytes = 16;
  options.key_space = 1000;
  const RequestSource source(options);
  for (const uint64_t number : {0, 7, 999}) {
    std::string key;
    source.AppendKey(number, key);
    EXPECT_EQ(source.NumberOf(key), number);
    key.back() = static_cast<char>(key.back() + 1);
    EXPECT_EQ(source.NumberOf(key), std::nullopt);
  }
  EXPECT_EQ(source.NumberOf("p/99"), std::nullopt);
  EXPECT_EQ(source.NumberOf("p/ 99"), std::nullopt);
}

TEST(RequestSource, AStampedPutIsThePutButForItsTime) {
  Options options;
  options.value_size_bytes = 20;
  options.key_space = 10;
  RequestSource source(options);
  std::string plain;
  source.Encode(3, plain);
  std::string stamped;
  source.AppendStampedPut(3, 42, stamped);
  etcdserverpb::PutRequest a;
  etcdserverpb::PutRequest b;
  ASSERT_TRUE(a.ParseFromString(plain));
  ASSERT_TRUE(b.ParseFromString(stamped));
  EXPECT_EQ(a.key(), b.key());
  EXPECT_EQ(StampOf(b.value()), 42);
  EXPECT_EQ(a.value().substr(kStampBytes), b.value().substr(kStampBytes));
}

TEST(RequestSource, ALeaseGoesWithItsKey) {
  Options options;
  options.key_space = 10;
  options.leased = true;
  options.ttl_seconds = 9;
  std::string bytes;
  RequestSource(options).Encode(13, bytes);
  etcdserverpb::PutRequest put;
  ASSERT_TRUE(put.ParseFromString(bytes));
  EXPECT_EQ(put.lease(), 4);
  options.operation = Operation::kGrant;
  RequestSource(options).Encode(13, bytes);
  etcdserverpb::LeaseGrantRequest grant;
  ASSERT_TRUE(grant.ParseFromString(bytes));
  EXPECT_EQ(grant.id(), 4);
  EXPECT_EQ(grant.ttl(), 9);
  options.operation = Operation::kKeepAlive;
  RequestSource(options).Encode(13, bytes);
  etcdserverpb::LeaseKeepAliveRequest keep_alive;
  ASSERT_TRUE(keep_alive.ParseFromString(bytes));
  EXPECT_EQ(keep_alive.id(), 4);
}

}  // namespace
}  // namespace cairn::bench
