// Every error that the KV service can raise for a request, with its exact code and text, on Cairn
// and on a real etcd; and that a refused request changes nothing. Requests are protobuf text.
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>

#include "base/status.h"
#include "test/harness/client.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

using etcdserverpb::CompactionRequest;
using etcdserverpb::DeleteRangeRequest;
using etcdserverpb::HashKVRequest;
using etcdserverpb::PutRequest;
using etcdserverpb::RangeRequest;
using etcdserverpb::TxnRequest;

template <typename Request>
Request Parse(const std::string& text) {
  Request request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
  return request;
}

// One server for all tests of this file. The store: `a` put at 2, 3 and 4, `b` at 5 and deleted at
// 6, compacted at 3. Nothing here moves the revision.
class KvErrorsTest : public testing::Test {
 protected:
  static constexpr int64_t kRevision = 6;

  static void SetUpTestSuite() {
    server_ = new Server(OptionsFor(ServerUnderTest(), "kv-errors"));
    const absl::Status started = server_->Start();
    ASSERT_TRUE(started.ok()) << started;
    client_ = new Client(server_->address());
    for (const char* put : {"key: 'a' value: '1'", "key: 'a' value: '2'", "key: 'a' value: '3'",
                            "key: 'b' value: '1'"}) {
      ASSERT_TRUE(Send("Put", put).ok());
    }
    ASSERT_TRUE(Send("DeleteRange", "key: 'b'").ok());
    ASSERT_TRUE(Send("Compact", "revision: 3 physical: true").ok());
    etcdserverpb::StatusResponse status;
    ASSERT_TRUE(client_->StatusOf(&status).ok());
    version_ = ParseVersion(status.version());
  }

  static void TearDownTestSuite() {
    delete client_;
    delete server_;
  }

  static grpc::Status Send(const std::string& rpc, const std::string& text) {
    if (rpc == "Range") {
      etcdserverpb::RangeResponse response;
      return client_->Range(Parse<RangeRequest>(text), &response);
    }
    if (rpc == "RangeStream") {
      etcdserverpb::RangeResponse response;
      return client_->RangeStream(Parse<RangeRequest>(text), &response);
    }
    if (rpc == "Put") {
      etcdserverpb::PutResponse response;
      return client_->Put(Parse<PutRequest>(text), &response);
    }
    if (rpc == "DeleteRange") {
      etcdserverpb::DeleteRangeResponse response;
      return client_->DeleteRange(Parse<DeleteRangeRequest>(text), &response);
    }
    if (rpc == "Txn") {
      etcdserverpb::TxnResponse response;
      return client_->Txn(Parse<TxnRequest>(text), &response);
    }
    if (rpc == "Compact") {
      etcdserverpb::CompactionResponse response;
      return client_->Compact(Parse<CompactionRequest>(text), &response);
    }
    etcdserverpb::HashKVResponse response;
    return client_->HashKV(Parse<HashKVRequest>(text), &response);
  }

  static int64_t CurrentRevision() {
    etcdserverpb::RangeResponse response;
    EXPECT_TRUE(client_->Range(Parse<RangeRequest>("key: 'a'"), &response).ok());
    return response.header().revision();
  }

  struct Case {
    const char* name;
    const char* rpc;
    std::string request;
    EtcdVersion since = {};  // older references answer otherwise
  };

  void ExpectAll(const std::vector<Case>& cases, grpc::StatusCode code, const std::string& text) {
    for (const Case& c : cases) {
      if (version_ < c.since) continue;
      SCOPED_TRACE(fmt::format("{}: {} {{ {} }}", c.name, c.rpc, c.request.substr(0, 400)));
      const grpc::Status status = Send(c.rpc, c.request);
      EXPECT_EQ(status.error_code(), code);
      EXPECT_EQ(status.error_message(), text);
      EXPECT_EQ(status.error_details(), "");
      EXPECT_EQ(CurrentRevision(), kRevision);
    }
  }

  static Server* server_;
  static Client* client_;
  static EtcdVersion version_;
};

Server* KvErrorsTest::server_ = nullptr;
Client* KvErrorsTest::client_ = nullptr;
EtcdVersion KvErrorsTest::version_;

std::string Repeat(const std::string& text, int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += text;
  return all;
}

TEST_F(KvErrorsTest, KeyIsNotProvided) {
  ExpectAll(
      {
          {"range", "Range", ""},
          {"range with an end", "Range", "range_end: 'z'"},
          {"put", "Put", "value: 'v'"},
          {"delete", "DeleteRange", ""},
          {"stream", "RangeStream", "", {3, 7, 0}},
          {"compare", "Txn", "compare { version: 0 } success { request_range { key: 'a' } }"},
          {"range in success", "Txn", "success { request_range { } }"},
          {"put in failure", "Txn", "failure { request_put { value: 'v' } }"},
          {"delete in failure", "Txn", "failure { request_delete_range { } }"},
          {"nested", "Txn", "success { request_txn { failure { request_put { } } } }"},
          {"nested compare", "Txn", "success { request_txn { compare { } } }"},
          {"before the other faults", "Txn",
           "success { request_put { } } success { request_put { key: 'a' lease: 9 } }"},
      },
      grpc::INVALID_ARGUMENT, "etcdserver: key is not provided");
}

TEST_F(KvErrorsTest, KeyNotFound) {
  ExpectAll(
      {
          {"ignore_value of an absent key", "Put", "key: 'absent' ignore_value: true"},
          {"ignore_lease of an absent key", "Put", "key: 'absent' value: 'v' ignore_lease: true"},
          {"ignore_value of a deleted key", "Put", "key: 'b' ignore_value: true"},
          {"in a transaction", "Txn",
           "success { request_put { key: 'x' value: 'v' } } "
           "success { request_put { key: 'absent' ignore_value: true } }"},
          {"an operation that says nothing", "Txn", "success { }"},
          {"the same in the branch not taken", "Txn", "failure { }"},
          {"the same nested", "Txn", "success { request_txn { success { } } }"},
      },
      grpc::INVALID_ARGUMENT, "etcdserver: key not found");
}

TEST_F(KvErrorsTest, ValueAndLeaseAreProvided) {
  ExpectAll({{"put", "Put", "key: 'a' value: 'v' ignore_value: true"},
             {"in a transaction", "Txn",
              "failure { request_put { key: 'a' value: 'v' ignore_value: true } }"}},
            grpc::INVALID_ARGUMENT, "etcdserver: value is provided");
  ExpectAll({{"put", "Put", "key: 'a' value: 'v' lease: 5 ignore_lease: true"},
             {"in a transaction", "Txn",
              "success { request_put { key: 'a' lease: -5 ignore_lease: true } }"}},
            grpc::INVALID_ARGUMENT, "etcdserver: lease is provided");
}

TEST_F(KvErrorsTest, TooManyOperations) {
  const std::string range = "success { request_range { key: 'a' } } ";
  const std::string nested =
      "success { request_txn { " + Repeat("success { request_range { key: 'a' } } ", 29) + "} }";
  ExpectAll(
      {
          {"success", "Txn", Repeat(range, 129)},
          {"failure", "Txn", Repeat("failure { request_range { key: 'a' } } ", 129)},
          {"compare", "Txn", Repeat("compare { key: 'a' } ", 129)},
          {"nested: 100 leave 28", "Txn", Repeat(range, 99) + nested},
      },
      grpc::INVALID_ARGUMENT, "etcdserver: too many operations in txn request");
  EXPECT_TRUE(Send("Txn", Repeat(range, 128)).ok());
}

TEST_F(KvErrorsTest, DuplicateKey) {
  const std::string put = "request_put { key: 'k' value: 'v' } ";
  ExpectAll(
      {
          {"two puts", "Txn", "success { " + put + "} success { " + put + "}"},
          {"two puts in failure", "Txn", "failure { " + put + "} failure { " + put + "}"},
          {"put and delete", "Txn",
           "success { " + put + "} success { request_delete_range { key: 'k' } }"},
          {"put and range delete", "Txn",
           "success { request_delete_range { key: 'a' range_end: 'z' } } success { " + put + "}"},
          {"put and nested put", "Txn",
           "success { " + put + "} success { request_txn { success { " + put + "} } }"},
          {"two nested siblings", "Txn",
           "success { request_txn { success { " + put + "} } } success { request_txn { failure { " +
               put + "} } }"},
      },
      grpc::INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request");
}

TEST_F(KvErrorsTest, InvalidSortOption) {
  ExpectAll(
      {
          {"order", "Range", "key: 'a' sort_order: 3", {3, 6, 0}},
          {"negative order", "Range", "key: 'a' sort_order: -1", {3, 6, 0}},
          {"target", "Range", "key: 'a' sort_target: 5", {3, 6, 0}},
          {"largest target", "Range", "key: 'a' sort_target: 2147483647", {3, 6, 0}},
          {"in a transaction",
           "Txn",
           "failure { request_range { key: 'a' sort_target: 77 } }",
           {3, 6, 0}},
      },
      grpc::INVALID_ARGUMENT, "etcdserver: invalid sort option");
}

TEST_F(KvErrorsTest, LeaseNotFound) {
  ExpectAll({{"put", "Put", "key: 'a' value: 'v' lease: 77"},
             {"negative", "Put", "key: 'a' value: 'v' lease: -1"},
             {"in a transaction", "Txn",
              "success { request_put { key: 'x' value: 'v' } } "
              "success { request_put { key: 'y' lease: 77 } }"}},
            grpc::NOT_FOUND, "etcdserver: requested lease not found");
}

TEST_F(KvErrorsTest, Compacted) {
  ExpectAll(
      {
          {"range", "Range", "key: 'a' revision: 2"},
          {"serializable range", "Range", "key: 'a' revision: 1 serializable: true"},
          {"count", "Range", "key: 'a' revision: 2 count_only: true"},
          {"empty range", "Range", "key: 'z' range_end: 'a' revision: 2"},
          {"stream", "RangeStream", "key: 'a' revision: 2", {3, 7, 0}},
          {"in a read-only transaction", "Txn",
           "success { request_range { key: 'a' revision: 2 } }"},
          {"in a transaction that writes", "Txn",
           "success { request_put { key: 'x' } } "
           "success { request_range { key: 'a' revision: 2 } }"},
          {"compaction to the same", "Compact", "revision: 3"},
          {"compaction below", "Compact", "revision: 1 physical: true"},
          {"compaction to 0", "Compact", "revision: 0"},
          {"negative compaction", "Compact", "revision: -5"},
          {"hash", "HashKV", "revision: 2"},
      },
      grpc::OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted");
  EXPECT_TRUE(Send("Range", "key: 'a' revision: 3").ok());
}

TEST_F(KvErrorsTest, FutureRevision) {
  ExpectAll(
      {
          {"range", "Range", "key: 'a' revision: 7"},
          {"largest", "Range", "key: 'a' revision: 9223372036854775807"},
          {"stream", "RangeStream", "key: 'a' revision: 7", {3, 7, 0}},
          // The revision that the transaction itself would make is not there yet.
          {"of its own transaction", "Txn",
           "success { request_put { key: 'x' value: 'v' } } "
           "success { request_range { key: 'x' revision: 7 } }"},
          {"compaction", "Compact", "revision: 7"},
          {"hash", "HashKV", "revision: 7"},
      },
      grpc::OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision");
}

TEST_F(KvErrorsTest, RangeStreamRefusals) {
  ExpectAll({{"order", "RangeStream", "key: 'a' range_end: 'z' sort_order: DESCEND", {3, 7, 0}},
             {"target",
              "RangeStream",
              "key: 'a' range_end: 'z' sort_order: ASCEND sort_target: MOD",
              {3, 7, 0}}},
            grpc::UNIMPLEMENTED, "RangeStream does not support custom sort orders");
  ExpectAll(
      {{"mod filter", "RangeStream", "key: 'a' range_end: 'z' min_mod_revision: 2", {3, 7, 0}},
       {"create filter",
        "RangeStream",
        "key: 'a' range_end: 'z' max_create_revision: 2",
        {3, 7, 0}}},
      grpc::UNIMPLEMENTED, "RangeStream does not support revision filters");
}

TEST_F(KvErrorsTest, ErrorsOfTheBranchNotTakenDoNotCount) {
  // Compared: a exists, so success is taken and failure is not looked at.
  etcdserverpb::TxnResponse response;
  const grpc::Status status =
      client_->Txn(Parse<TxnRequest>("compare { key: 'a' target: VERSION result: GREATER } "
                                     "success { request_range { key: 'a' } } "
                                     "failure { request_range { key: 'a' revision: 99 } }"),
                   &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(response.succeeded());
}

TEST_F(KvErrorsTest, UnknownMethodsNameThemselves) {
  std::string response;
  grpc::Status status = client_->Raw("/etcdserverpb.KV/Nothing", "", &response);
  EXPECT_EQ(status.error_code(), grpc::UNIMPLEMENTED);
  EXPECT_EQ(status.error_message(), "unknown method Nothing for service etcdserverpb.KV");
  status = client_->Raw("/nobody.Nothing/Range", "", &response);
  EXPECT_EQ(status.error_code(), grpc::UNIMPLEMENTED);
  EXPECT_EQ(status.error_message(), "unknown service nobody.Nothing");
}

}  // namespace
}  // namespace cairn::test
