// What the KV service answers, line by line, and what its answers cost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "api/errors.h"
#include "api/rpc.pb.h"
#include "server/response_buffer.h"
#include "server/rpc/fake_call.h"
#include "server/services_fixture.h"
#include "server/txn_eval.h"

namespace cairn::server {
namespace {

using api::Error;
using namespace etcdserverpb;  // The test is about these messages.

// etcd-semantics.md sections 3 and 4, and the first twelve edges of section 16: one history, each
// line with the answer that etcd gives.
class KvHistoryTest : public ServicesTest {
 protected:
  void PutsAndRanges();
  void TransactionsThatRead();
  void TransactionsThatWrite();
  void Compactions();
};

TEST_F(KvHistoryTest, AnswersAsEtcdDoes) {
  PutsAndRanges();
  TransactionsThatRead();
  TransactionsThatWrite();
  Compactions();
}

void KvHistoryTest::PutsAndRanges() {
  EXPECT_EQ(Range(R"(key: "a")"), "header { revision: 1 }");
  EXPECT_EQ(Delete(R"(key: "a")"), "header { revision: 1 }");
  EXPECT_EQ(Put(R"(key: "a" value: "1")"), "header { revision: 2 }");
  EXPECT_EQ(Put(R"(key: "a" value: "2" prev_kv: true)"),
            R"(header { revision: 3 } prev_kv { key: "a" create_revision: 2 mod_revision: 2 )"
            R"(version: 1 value: "1" })");
  EXPECT_EQ(Put(R"(key: "b" lease: 5)"), Text(Error::kLeaseNotFound));
  EXPECT_EQ(Put(R"(key: "b" ignore_value: true)"), Text(Error::kKeyNotFound));
  EXPECT_EQ(Put(R"(key: "b" value: "x" lease: 77)"), "header { revision: 4 }");
  EXPECT_EQ(Put(R"(key: "b" value: "y" ignore_lease: true)"), "header { revision: 5 }");
  EXPECT_EQ(
      Range(R"(key: "b")"),
      R"(header { revision: 5 } kvs { key: "b" create_revision: 4 mod_revision: 5 version: 2 )"
      R"(value: "y" lease: 77 } count: 1)");
  // keys_only shows no lease from 3.7 on, unless the rows are sorted by value.
  EXPECT_EQ(
      Range(R"(key: "b" keys_only: true)"),
      R"(header { revision: 5 } kvs { key: "b" create_revision: 4 mod_revision: 5 version: 2 })"
      R"( count: 1)");
  EXPECT_EQ(
      Range(R"(key: "b" keys_only: true sort_target: VALUE)"),
      R"(header { revision: 5 } kvs { key: "b" create_revision: 4 mod_revision: 5 version: 2 )"
      R"(lease: 77 } count: 1)");
  // ignore_value without a lease detaches.
  EXPECT_EQ(Put(R"(key: "b" ignore_value: true)"), "header { revision: 6 }");
  EXPECT_EQ(Range(R"(key: "b" revision: 2)"), "header { revision: 6 }");
  EXPECT_EQ(
      Range(R"(key: "a" revision: 2)"),
      R"(header { revision: 6 } kvs { key: "a" create_revision: 2 mod_revision: 2 version: 1 )"
      R"(value: "1" } count: 1)");
  EXPECT_EQ(Range(R"(key: "a" revision: 7)"), Text(Error::kFutureRevision));
  EXPECT_EQ(Range(R"(key: "z" range_end: "a")"), "header { revision: 6 }");
  EXPECT_EQ(Range(R"(key: "\000" range_end: "\000" count_only: true)"),
            "header { revision: 6 } count: 2");
  EXPECT_EQ(
      Range(R"(key: "a" range_end: "\000" limit: 1 keys_only: true)"),
      R"(header { revision: 6 } kvs { key: "a" create_revision: 2 mod_revision: 3 version: 2 })"
      R"( more: true count: 2)");
  // A filter leaves the count alone.
  EXPECT_EQ(Range(R"(key: "a" range_end: "c" min_mod_revision: 100)"),
            "header { revision: 6 } count: 2");
  // A target without an order cuts before it sorts; with one, after.
  EXPECT_EQ(
      Range(R"(key: "a" range_end: "c" limit: 1 sort_target: VERSION keys_only: true)"),
      R"(header { revision: 6 } kvs { key: "a" create_revision: 2 mod_revision: 3 version: 2 })"
      R"( more: true count: 2)");
  EXPECT_EQ(
      Range(R"(key: "a" range_end: "c" limit: 1 sort_order: DESCEND keys_only: true)"),
      R"(header { revision: 6 } kvs { key: "b" create_revision: 4 mod_revision: 6 version: 3 })"
      R"( more: true count: 2)");
}

void KvHistoryTest::TransactionsThatRead() {
  // Compares only: answered without a proposal.
  const int proposals = node_.proposals;
  EXPECT_EQ(Txn(R"(compare { key: "a" target: VERSION version: 2 })"),
            "header { revision: 6 } succeeded: true");
  EXPECT_EQ(Txn(R"(compare { key: "none" target: VALUE result: NOT_EQUAL value: "x" })"),
            "header { revision: 6 }");
  EXPECT_EQ(Txn(R"(compare { key: "none" target: LEASE result: EQUAL })"),
            "header { revision: 6 } succeeded: true");
  EXPECT_EQ(
      Txn(R"(compare { key: "a" range_end: "c" target: MOD result: GREATER mod_revision: 2 })"),
      "header { revision: 6 } succeeded: true");
  EXPECT_EQ(Txn(R"(success { request_range { key: "a" count_only: true } })"),
            "header { revision: 6 } succeeded: true responses { response_range { "
            "header { revision: 6 } count: 1 } }");
  EXPECT_EQ(Txn(R"(success { request_range { key: "a" revision: 7 } })"),
            Text(Error::kFutureRevision));
  EXPECT_EQ(node_.proposals, proposals);
}

void KvHistoryTest::TransactionsThatWrite() {
  // Nested compares see the state before; reads see earlier writes; headers of operations.
  EXPECT_EQ(Txn(R"(success { request_range { key: "n" count_only: true } }
             success { request_put { key: "n" value: "1" } }
             success { request_range { key: "n" count_only: true } }
             success { request_txn {
               compare { key: "n" target: VERSION version: 0 }
               success { request_delete_range { key: "a" prev_kv: true } } } })"),
            "header { revision: 7 } succeeded: true "
            "responses { response_range { header { revision: 6 } } } "
            "responses { response_put { header { revision: 7 } } } "
            "responses { response_range { header { revision: 7 } count: 1 } } "
            "responses { response_txn { header { } succeeded: true "
            "responses { response_delete_range { header { revision: 7 } deleted: 1 prev_kvs { "
            "key: \"a\" create_revision: 2 mod_revision: 3 version: 2 value: \"2\" } } } } }");
  // A transaction may not read at the revision that it makes; nothing of it happens.
  EXPECT_EQ(Txn(R"(success { request_put { key: "q" } }
                   success { request_range { key: "q" revision: 8 } })"),
            Text(Error::kFutureRevision));
  EXPECT_EQ(Txn(R"(success { request_put { key: "q" } }
                   success { request_put { key: "r" lease: 5 ignore_value: true } })"),
            Text(Error::kLeaseNotFound));
  EXPECT_EQ(Txn(R"(success { request_range { key: "q" revision: -2 } })"), Text(Error::kCompacted));
  EXPECT_EQ(Range(R"(key: "q" revision: -2)"), "header { revision: 7 }");
  // The branch that is not taken may be wrong.
  EXPECT_EQ(Txn(R"(success { request_delete_range { key: "none" } }
                   failure { request_put { key: "q" lease: 5 } })"),
            "header { revision: 7 } succeeded: true responses { response_delete_range { "
            "header { revision: 7 } } }");
  // Put and a delete up to the end of all keys, in one revision.
  EXPECT_EQ(Txn(R"(success { request_put { key: "b" value: "new" } }
                   success { request_delete_range { key: "b" range_end: "\000" } })"),
            "header { revision: 8 } succeeded: true "
            "responses { response_put { header { revision: 8 } } } "
            "responses { response_delete_range { header { revision: 8 } deleted: 2 } }");
  EXPECT_EQ(Range(R"(key: "\000" range_end: "\000")"), "header { revision: 8 }");
}

void KvHistoryTest::Compactions() {
  EXPECT_EQ(Compact("revision: 9"), Text(Error::kFutureRevision));
  EXPECT_EQ(Compact("revision: 5"), "header { revision: 8 }");
  EXPECT_EQ(Compact("revision: 5"), Text(Error::kCompacted));
  EXPECT_EQ(Compact("revision: 6 physical: true"), "header { revision: 8 }");
  EXPECT_EQ(Compact("revision: 6 physical: true"), Text(Error::kCompacted));
  EXPECT_EQ(node_.waited_compacted, (std::vector<Revision>{Revision(6), Revision(6)}));
  EXPECT_EQ(Range(R"(key: "a" revision: 5)"), Text(Error::kCompacted));
  EXPECT_EQ(Range(R"(key: "a" revision: 6 count_only: true)"), "header { revision: 8 } count: 1");
  EXPECT_EQ(Txn(R"(success { request_range { key: "a" revision: 5 } })"), Text(Error::kCompacted));
  EXPECT_EQ(Txn(R"(success { request_put { key: "q" } }
                   success { request_range { key: "a" revision: 5 } })"),
            Text(Error::kCompacted));
}

using KvAnswersTest = ServicesTest;

// Nothing is read for a client that has gone while its call waited.
TEST_F(KvAnswersTest, WhoHasGoneHearsThatItsRequestIsCanceled) {
  node_.can_read_now = false;
  const absl::Status canceled = api::ToStatus(Error::kRequestCanceled);
  const std::map<std::string, std::string> requests = {
      {"/etcdserverpb.KV/Range", Parse<RangeRequest>(R"(key: "a")").SerializeAsString()},
      {"/etcdserverpb.KV/Txn",
       Parse<TxnRequest>(R"(success { request_range { key: "a" } })").SerializeAsString()},
      {"/etcdserverpb.Lease/LeaseLeases", ""},
      {"/etcdserverpb.Maintenance/Hash", ""},
  };
  for (const auto& [path, request] : requests) {
    SCOPED_TRACE(path);
    rpc::FakeUnaryCall fake(request);
    std::unique_ptr<rpc::UnaryCall> call = fake.TakeCall();
    fake.Cancel();
    std::get<rpc::UnaryHandler> (*services_.table().Find(path))(std::move(call));
    EXPECT_EQ(fake.Wait().status(), canceled);
  }
  // It goes between the first message and the next.
  node_.can_read_now = true;
  for (int i = 0; i < 8; ++i) {
    Put(fmt::format("key: \"a{}\" value: \"{}\"", i, std::string(600'000, 'v')));
  }
  rpc::FakeStreamCall all;
  std::shared_ptr<rpc::StreamCall> call = all.TakeCall();
  all.Send(Parse<RangeRequest>(R"(key: "a" range_end: "b")").SerializeAsString());
  all.HalfClose();
  std::get<rpc::StreamHandler> (*services_.table().Find("/etcdserverpb.KV/RangeStream"))(
      std::move(call));
  EXPECT_TRUE(all.Receive().has_value());
  all.Cancel();
  EXPECT_EQ(all.WaitStatus(), canceled);
}

// What reads for long looks up now and then, whoever asked for it.
TEST_F(KvAnswersTest, LongReadsEndForWhoHasGoneAndWithTheServer) {
  constexpr int kKeys = 2000;
  for (int i = 0; i < kKeys; ++i) Put(fmt::format("key: \"k{:04}\" value: \"v\"", i));
  const auto range = [](std::string_view text) {
    return Parse<RangeRequest>(text).SerializeAsString();
  };
  const auto txn = [](std::string_view text) {
    return Parse<TxnRequest>(text).SerializeAsString();
  };
  struct Case {
    std::string path;
    std::string request;
  };
  const std::vector<Case> cases = {
      {"/etcdserverpb.KV/Range", range(R"(key: "k" range_end: "l")")},
      {"/etcdserverpb.KV/Range", range(R"(key: "k" range_end: "l" limit: 1)")},
      {"/etcdserverpb.KV/Range", range(R"(key: "k" range_end: "l" count_only: true)")},
      {"/etcdserverpb.KV/Range", range(R"(key: "k" range_end: "l" revision: 1900)")},
      {"/etcdserverpb.KV/Range",
       range(R"(key: "k" range_end: "l" limit: 1 sort_target: VALUE sort_order: DESCEND)")},
      {"/etcdserverpb.KV/Txn",
       txn(R"(success { request_range { key: "k" range_end: "l" limit: 1 } })")},
      {"/etcdserverpb.KV/Txn",
       txn(R"(compare { key: "k" range_end: "l" target: VERSION version: 1 })")},
      {"/etcdserverpb.Maintenance/Hash", ""},
      {"/etcdserverpb.Maintenance/HashKV", ""},
  };
  const auto ask = [&](const Case& asked, rpc::FakeUnaryCall& fake) {
    std::get<rpc::UnaryHandler> (*services_.table().Find(asked.path))(fake.TakeCall());
    return fake.Wait().status();
  };
  for (const Case& asked : cases) {
    SCOPED_TRACE(fmt::format("{} {}", asked.path, asked.request));
    int looks = 0;
    node_.ends_reads = [&looks] {
      ++looks;
      return false;
    };
    rpc::FakeUnaryCall patient(asked.request);
    EXPECT_TRUE(ask(asked, patient).ok());
    EXPECT_GE(looks, kKeys / 1000);
    // HashKV walks its rows more than once.
    EXPECT_LE(looks, kKeys / 50);

    looks = 0;
    node_.ends_reads = [&looks] { return ++looks == 2; };
    rpc::FakeUnaryCall last(asked.request);
    EXPECT_EQ(ask(asked, last), api::ToStatus(Error::kServerStopped));
    EXPECT_EQ(looks, 2);

    looks = 0;
    rpc::FakeUnaryCall gone(asked.request);
    node_.ends_reads = [&looks, &gone] {
      if (++looks == 2) gone.Cancel();
      return false;
    };
    EXPECT_EQ(ask(asked, gone), api::ToStatus(Error::kRequestCanceled));
    EXPECT_EQ(looks, 2);
  }
  // A stream looks before each message, too.
  int looks = 0;
  node_.ends_reads = [&looks] { return ++looks == 3; };
  rpc::FakeStreamCall stream;
  std::shared_ptr<rpc::StreamCall> call = stream.TakeCall();
  stream.Send(range(R"(key: "k" range_end: "l")"));
  stream.HalfClose();
  std::get<rpc::StreamHandler> (*services_.table().Find("/etcdserverpb.KV/RangeStream"))(
      std::move(call));
  EXPECT_EQ(stream.WaitStatus(), api::ToStatus(Error::kServerStopped));
  EXPECT_TRUE(stream.Receive().has_value());
}

// A single key may hold a value that there is no room for now; in the pool it can wait.
TEST_F(KvAnswersTest, SmallTransactionsWaitForRoomInThePool) {
  Put(fmt::format("key: \"k\" value: \"{}\"", std::string(100'000, 'v')));
  std::optional<ResponseBudget::Charge> all =
      budget_.Take(budget_.limit_bytes(), std::chrono::milliseconds(0));
  // Whoever waits is helped at the second look, so in the pool.
  budget_.SetReclaim([&, looks = 0]() mutable {
    if (++looks == 2) all.reset();
  });
  EXPECT_THAT(Txn(R"(success { request_range { key: "k" } })"),
              testing::StartsWith("header { revision: 2 } succeeded: true"));
  EXPECT_EQ(node_.pooled, 1);
}

// What is read for a transaction counts, and so does its answer until it is sent.
TEST_F(KvAnswersTest, AnswersOfTransactionsCount) {
  Put(fmt::format("key: \"k\" value: \"{}\"", std::string(100'000, 'v')));
  ResponseBuffer out(budget_, std::chrono::milliseconds(0));
  const auto request = Parse<TxnRequest>(
      R"(success { request_range { key: "k" } } success { request_range { key: "k" } })");
  ASSERT_EQ(EvaluateReadTxn(node_.store(), request, out).value(), Revision(2));
  const rpc::SliceList answer = out.Finish();
  TxnResponse response;
  ASSERT_TRUE(response.ParseFromString(answer.Flatten()));
  EXPECT_EQ(response.responses_size(), 2);
  EXPECT_GE(budget_.used_bytes(), 200'000);
  EXPECT_LT(budget_.used_bytes(), 250'000);
  // Half of a budget is the most that one answer may have.
  ResponseBudget small(300'000);
  ResponseBuffer refused(small, std::chrono::milliseconds(0));
  EXPECT_EQ(EvaluateReadTxn(node_.store(), request, refused).status().code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace cairn::server
