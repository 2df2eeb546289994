// Many clients at once on one key: versions without gap or repeat, one winner per revision.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/status.h"
#include "test/harness/client.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

constexpr int kClients = 100;
constexpr int kOperations = 10;
// As many connections as a careful application would open.
constexpr int kConnections = 10;

class ConcurrencyTest : public testing::Test {
 protected:
  ConcurrencyTest() : server_(OptionsFor(ServerUnderTest(), "concurrency")) {}

  void SetUp() override {
    const absl::Status started = server_.Start();
    ASSERT_TRUE(started.ok()) << started;
    for (int i = 0; i < kConnections; ++i) {
      clients_.push_back(std::make_unique<Client>(server_.address()));
    }
  }

  // Runs `body(client, number)` in a thread for each of the clients, and waits for all.
  template <typename Body>
  void ForEachClient(const Body& body) {
    std::vector<std::thread> threads;
    for (int number = 0; number < kClients; ++number) {
      threads.emplace_back(
          [&, number] { body(*clients_[static_cast<size_t>(number % kConnections)], number); });
    }
    for (std::thread& thread : threads) thread.join();
  }

  Server server_;
  std::vector<std::unique_ptr<Client>> clients_;
};

TEST_F(ConcurrencyTest, VersionsOfOneKeyAreOneToN) {
  std::mutex mutex;
  std::multiset<int64_t> revisions;
  std::multiset<int64_t> previous_versions;
  ForEachClient([&](Client& client, int number) {
    for (int i = 0; i < kOperations; ++i) {
      etcdserverpb::PutRequest request;
      request.set_key("one");
      request.set_value(fmt::format("{}/{}", number, i));
      request.set_prev_kv(true);
      etcdserverpb::PutResponse response;
      const grpc::Status status = client.Put(request, &response);
      ASSERT_TRUE(status.ok()) << status.error_message();
      const std::lock_guard lock(mutex);
      revisions.insert(response.header().revision());
      previous_versions.insert(response.prev_kv().version());
    }
  });
  constexpr int64_t kTotal = kClients * kOperations;
  ASSERT_EQ(revisions.size(), static_cast<size_t>(kTotal));
  int64_t expected = 0;
  for (const int64_t version : previous_versions) EXPECT_EQ(version, expected++);
  expected = 2;
  for (const int64_t revision : revisions) EXPECT_EQ(revision, expected++);
  // Every revision holds the version that belongs to it.
  for (int64_t revision = 2; revision < 2 + kTotal; revision += 37) {
    etcdserverpb::RangeRequest request;
    request.set_key("one");
    request.set_revision(revision);
    etcdserverpb::RangeResponse response;
    ASSERT_TRUE(clients_[0]->Range(request, &response).ok());
    ASSERT_EQ(response.kvs_size(), 1);
    EXPECT_EQ(response.kvs(0).version(), revision - 1);
    EXPECT_EQ(response.kvs(0).mod_revision(), revision);
    EXPECT_EQ(response.kvs(0).create_revision(), 2);
  }
}

TEST_F(ConcurrencyTest, CompareAndSwapWinsOncePerRevision) {
  std::mutex mutex;
  std::multiset<int64_t> won;  // the revisions that were compared with by a winner
  std::set<int64_t> made;
  ForEachClient([&](Client& client, int number) {
    int64_t known = 0;
    for (int i = 0; i < kOperations; ++i) {
      etcdserverpb::TxnRequest request;
      auto& compare = *request.add_compare();
      compare.set_key("one");
      compare.set_target(etcdserverpb::Compare::MOD);
      compare.set_mod_revision(known);
      auto& put = *request.add_success()->mutable_request_put();
      put.set_key("one");
      put.set_value(std::to_string(number));
      request.add_failure()->mutable_request_range()->set_key("one");
      etcdserverpb::TxnResponse response;
      const grpc::Status status = client.Txn(request, &response);
      ASSERT_TRUE(status.ok()) << status.error_message();
      if (response.succeeded()) {
        const std::lock_guard lock(mutex);
        won.insert(known);
        EXPECT_TRUE(made.insert(response.header().revision()).second);
        known = response.header().revision();
      } else {
        known = response.responses(0).response_range().kvs(0).mod_revision();
      }
    }
  });
  for (const int64_t revision : won) EXPECT_EQ(won.count(revision), 1u) << revision;
  // The winners form one chain: each compared with what another one made.
  EXPECT_EQ(won.count(0), 1u);
  for (const int64_t revision : won) EXPECT_TRUE(revision == 0 || made.contains(revision));
  etcdserverpb::RangeRequest request;
  request.set_key("one");
  etcdserverpb::RangeResponse response;
  ASSERT_TRUE(clients_[0]->Range(request, &response).ok());
  EXPECT_EQ(response.kvs(0).version(), static_cast<int64_t>(won.size()));
}

// Transactions on two keys, seen by readers: never one without the other.
TEST_F(ConcurrencyTest, ReadersSeeWholeTransactions) {
  ForEachClient([&](Client& client, int number) {
    for (int i = 0; i < kOperations; ++i) {
      if (number % 2 == 0) {
        etcdserverpb::TxnRequest request;
        const std::string value = fmt::format("{}/{}", number, i);
        for (const char* key : {"pair/a", "pair/b"}) {
          auto& put = *request.add_success()->mutable_request_put();
          put.set_key(key);
          put.set_value(value);
        }
        etcdserverpb::TxnResponse response;
        ASSERT_TRUE(client.Txn(request, &response).ok());
      } else {
        etcdserverpb::RangeRequest request;
        request.set_key("pair/");
        request.set_range_end("pair0");
        request.set_serializable(i % 2 == 0);
        etcdserverpb::RangeResponse response;
        ASSERT_TRUE(client.Range(request, &response).ok());
        if (response.kvs_size() == 0) continue;
        ASSERT_EQ(response.kvs_size(), 2);
        EXPECT_EQ(response.kvs(0).value(), response.kvs(1).value());
        EXPECT_EQ(response.kvs(0).mod_revision(), response.kvs(1).mod_revision());
      }
    }
  });
}

}  // namespace
}  // namespace cairn::test
