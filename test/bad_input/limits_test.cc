// Requests at and over the limits, arbitrary bytes, numbers that no enum has, deep nesting, and
// bytes that are no message at all: refused or served, and the server lives on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/status.h"
#include "test/harness/client.h"
#include "test/harness/random.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

using etcdserverpb::PutRequest;
using etcdserverpb::RangeRequest;
using etcdserverpb::TxnRequest;

constexpr size_t kRequestMaxBytes = 1'572'864;
constexpr size_t kMessageMaxBytes = 2'097'152;
// What a replicated command adds to the request, and a little more.
constexpr size_t kSlackBytes = 512;

class LimitsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server(OptionsFor(ServerUnderTest(), "limits"));
    const absl::Status started = server_->Start();
    ASSERT_TRUE(started.ok()) << started;
    client_ = new Client(server_->address());
  }

  static void TearDownTestSuite() {
    delete client_;
    delete server_;
  }

  // The server still runs, answers, and stores.
  void TearDown() override {
    ASSERT_TRUE(server_->IsRunning()) << server_->Log();
    const std::string value = std::to_string(random_.Below(1'000'000));
    EXPECT_TRUE(Put("alive", value).ok());
    EXPECT_EQ(Get("alive"), value);
  }

  static grpc::Status Put(const std::string& key, const std::string& value) {
    PutRequest request;
    request.set_key(key);
    request.set_value(value);
    etcdserverpb::PutResponse response;
    return client_->Put(request, &response);
  }

  static std::string Get(const std::string& key) {
    RangeRequest request;
    request.set_key(key);
    etcdserverpb::RangeResponse response;
    const grpc::Status status = client_->Range(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.kvs_size(), 1) << "key of " << key.size() << " bytes";
    return response.kvs_size() == 1 ? response.kvs(0).value() : "";
  }

  static Server* server_;
  static Client* client_;
  Random random_{1};
};

Server* LimitsTest::server_ = nullptr;
Client* LimitsTest::client_ = nullptr;

TEST_F(LimitsTest, LargestRequestIsServed) {
  const std::string value(kRequestMaxBytes - kSlackBytes, 'v');
  const grpc::Status status = Put("large", value);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(Get("large"), value);
}

TEST_F(LimitsTest, LargerRequestIsRefused) {
  const grpc::Status status = Put("too large", std::string(kRequestMaxBytes + 1, 'v'));
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "etcdserver: request is too large");
}

TEST_F(LimitsTest, LargerTransactionIsRefused) {
  TxnRequest request;
  for (int i = 0; i < 4; ++i) {
    PutRequest& put = *request.add_success()->mutable_request_put();
    put.set_key(fmt::format("k{}", i));
    put.set_value(std::string(kRequestMaxBytes / 4 + 1, 'v'));
  }
  etcdserverpb::TxnResponse response;
  const grpc::Status status = client_->Txn(request, &response);
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "etcdserver: request is too large");
}

TEST_F(LimitsTest, LargerMessageIsRefusedByTheTransport) {
  PutRequest request;
  request.set_key("k");
  request.set_value(std::string(kMessageMaxBytes, 'v'));
  etcdserverpb::PutResponse response;
  const grpc::Status status = client_->Put(request, &response);
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(),
            fmt::format("grpc: received message larger than max ({} vs. {})",
                        request.ByteSizeLong(), kMessageMaxBytes));
}

TEST_F(LimitsTest, KeysAndValuesOfAnyBytes) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string key(1, static_cast<char>(byte));
    ASSERT_TRUE(Put(key, key + key).ok());
  }
  RangeRequest request;
  request.set_key(std::string(1, '\0'));
  request.set_range_end(std::string(1, '\0'));
  etcdserverpb::RangeResponse response;
  ASSERT_TRUE(client_->Range(request, &response).ok());
  // In the order of unsigned bytes; longer keys of other tests lie between.
  int next = 0;
  for (const mvccpb::KeyValue& row : response.kvs()) {
    if (row.key().size() != 1) continue;
    EXPECT_EQ(row.key(), std::string(1, static_cast<char>(next)));
    EXPECT_EQ(row.value(), row.key() + row.key());
    ++next;
  }
  EXPECT_EQ(next, 256);
  const std::string long_key = random_.Bytes(100'000);
  const std::string value = random_.Bytes(100'000);
  EXPECT_TRUE(Put(long_key, value).ok());
  EXPECT_EQ(Get(long_key), value);
}

TEST_F(LimitsTest, UnknownComparisonsAreEvaluated) {
  struct Case {
    int result;
    int target;
    bool succeeds;
  } const cases[] = {
      {99, 0, true},                  // an unknown result is true
      {-1, 3, true},  {0, 99, true},  // an unknown target compares nothing with nothing
      {3, 99, false}, {1, -1, false},
  };
  ASSERT_TRUE(Put("compared", "v").ok());
  for (const Case& c : cases) {
    SCOPED_TRACE(fmt::format("result {} target {}", c.result, c.target));
    TxnRequest request;
    auto& compare = *request.add_compare();
    compare.set_key("compared");
    compare.set_result(static_cast<etcdserverpb::Compare::CompareResult>(c.result));
    compare.set_target(static_cast<etcdserverpb::Compare::CompareTarget>(c.target));
    etcdserverpb::TxnResponse response;
    const grpc::Status status = client_->Txn(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.succeeded(), c.succeeds);
  }
}

TxnRequest Nested(int depth) {
  TxnRequest request;
  TxnRequest* innermost = &request;
  for (int i = 1; i < depth; ++i) innermost = innermost->add_success()->mutable_request_txn();
  PutRequest& put = *innermost->add_success()->mutable_request_put();
  put.set_key("deep");
  put.set_value(std::to_string(depth));
  return request;
}

TEST_F(LimitsTest, NestingIsServedOrRefused) {
  etcdserverpb::TxnResponse response;
  const grpc::Status status = client_->Txn(Nested(20), &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(Get("deep"), "20");
  // Beyond the budget of operations it is refused, however it is refused.
  for (const int depth : {200, 2000}) {
    std::string bytes;
    EXPECT_FALSE(
        client_->Raw("/etcdserverpb.KV/Txn", Nested(depth).SerializeAsString(), &bytes).ok());
    EXPECT_EQ(Get("deep"), "20");
  }
}

TEST_F(LimitsTest, BytesThatAreNoMessage) {
  std::string response;
  for (const char* method :
       {"KV/Range", "KV/Put", "KV/DeleteRange", "KV/Txn", "KV/Compact", "Maintenance/Status",
        "Maintenance/Hash", "Maintenance/HashKV", "Maintenance/Alarm", "Cluster/MemberList"}) {
    SCOPED_TRACE(method);
    const std::string path = fmt::format("/etcdserverpb.{}", method);
    const grpc::Status status = client_->Raw(path, std::string(7, '\xff'), &response);
    EXPECT_EQ(status.error_code(), grpc::INTERNAL) << status.error_message();
    EXPECT_THAT(status.error_message(), testing::StartsWith("grpc: error unmarshalling request: "));
    for (int i = 0; i < 30; ++i) {
      client_->Raw(path, random_.Bytes(static_cast<size_t>(random_.Below(60))), &response);
    }
  }
}

TEST_F(LimitsTest, EveryTruncationOfATransaction) {
  TxnRequest request = Nested(3);
  auto& compare = *request.add_compare();
  compare.set_key("truncated");
  compare.set_range_end("z");
  compare.set_value("v");
  const std::string bytes = request.SerializeAsString();
  for (size_t size = 0; size < bytes.size(); ++size) {
    std::string response;
    client_->Raw("/etcdserverpb.KV/Txn", bytes.substr(0, size), &response);
  }
}

TEST_F(LimitsTest, OddRangesAreEmptyOrUnlimited) {
  ASSERT_TRUE(Put("odd/1", "v").ok());
  ASSERT_TRUE(Put("odd/2", "v").ok());
  struct Case {
    const char* name;
    std::string end;
    int64_t limit;
    int64_t min_mod;
    int64_t max_mod;
    int expected;
  } const cases[] = {
      {"inverted", "a", 0, 0, 0, 0},
      {"empty", "odd/1", 0, 0, 0, 0},
      {"negative limit", "odd/9", -3, 0, 0, 2},
      {"smallest limit", "odd/9", std::numeric_limits<int64_t>::min(), 0, 0, 2},
      {"largest limit", "odd/9", std::numeric_limits<int64_t>::max(), 0, 0, 2},
      {"crossed filters", "odd/9", 0, 1'000'000, 1, 0},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    RangeRequest request;
    request.set_key("odd/1");
    request.set_range_end(c.end);
    request.set_limit(c.limit);
    request.set_min_mod_revision(c.min_mod);
    request.set_max_mod_revision(c.max_mod);
    etcdserverpb::RangeResponse response;
    const grpc::Status status = client_->Range(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.kvs_size(), c.expected);
    EXPECT_FALSE(response.more());
  }
}

}  // namespace
}  // namespace cairn::test
