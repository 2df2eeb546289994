// Transactions that change much: what they may, what is refused, and what is kept of them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "mvcc/rocks_backend.h"
#include "mvcc/schema.h"
#include "mvcc/store_fixture.h"

namespace cairn::mvcc {
namespace {

using ::testing::ElementsAre;

using LargeTxnTest = StoreTest;

// One that deletes much keeps as much of what was there as is handed on.
TEST_F(LargeTxnTest, WhatIsKeptOfWhatWasReplacedIsBounded) {
  constexpr int kKeys = 10'000;
  const std::string value(kInlineValueBytesLimit - 1, 'v');
  for (int first = 0; first < kKeys; first += 1000) {
    Txn([&](WriteTxn& txn) {
      for (int i = first; i < first + 1000; ++i) {
        ASSERT_TRUE(txn.Put(fmt::format("{:05}", i), value, LeaseId(0)).ok());
      }
    });
  }
  Batch batch = store_->BeginBatch();
  batch.KeepPrevious();
  WriteTxn txn = batch.BeginTxn();
  ASSERT_EQ(*txn.DeleteRange(KeyRange::All()), kKeys);
  txn.Commit();
  size_t kept_bytes = 0;
  for (const Change& change : batch.changes()) {
    KeyValueView kv;
    kept_bytes += change.previous_key_value.size();
    if (change.previous_key_value.empty()) continue;
    ASSERT_TRUE(ParseKeyValue(change.previous_key_value, kv));
    ASSERT_EQ(kv.value, value);
  }
  EXPECT_GE(kept_bytes, kKeptPreviousBytesMax);
  // And the rest of a slice.
  EXPECT_LT(kept_bytes, kKeptPreviousBytesMax + (size_t{2} << 20));
}

constexpr size_t kMiB = size_t{1} << 20;

std::string LargeKey(int i) { return fmt::format("{:03}", i) + std::string(kMiB - 3, 'k'); }

TEST_F(LargeTxnTest, ATransactionThatChangesTooMuchIsToldSo) {
  // Each counts some bytes more, so the last one does not fit.
  constexpr int kFit = static_cast<int>(WriteTxn::kBytesMax / kMiB) - 1;
  for (int i = 0; i <= kFit; ++i) Put(LargeKey(i), "v");
  const Published before = store_->published();
  const std::string last =
      fmt::format("{}=v@{}.{}.1:0", LargeKey(kFit), before.revision, before.revision);
  const int64_t size_bytes = store_->logical_size_bytes();

  {
    Batch batch = store_->BeginBatch();
    {
      WriteTxn txn = batch.BeginTxn();
      EXPECT_TRUE(IsTxnTooLarge(txn.DeleteRange(KeyRange::All()).status()));
      EXPECT_EQ(txn.changes().size(), size_t{kFit});
      EXPECT_TRUE(IsTxnTooLarge(txn.Delete(LargeKey(kFit)).status()));
      EXPECT_TRUE(IsTxnTooLarge(txn.Put(LargeKey(0), "v", LeaseId(0)).status()));
      // What is small still fits.
      EXPECT_TRUE(txn.Put("small", "v", LeaseId(0)).ok());
      EXPECT_EQ(txn.changes().size(), size_t{kFit} + 1);
    }
    {
      // In pieces, of which the batch has room for any number.
      WriteTxn txn = batch.BeginTxn();
      EXPECT_EQ(txn.Count(KeyRange::All(), kCurrent)->count, kFit + 1);
      EXPECT_EQ(*txn.DeleteRange({"", LargeKey(kFit)}), kFit);
      txn.Commit();
      WriteTxn next = batch.BeginTxn();
      EXPECT_EQ(*next.DeleteRange(KeyRange::All()), 1);
    }
    EXPECT_EQ(batch.current().revision, before.revision + 1);
    ASSERT_TRUE(batch.Commit(Next()).ok());
  }
  EXPECT_THAT(Scan(KeyRange::All()), ElementsAre(last));
  EXPECT_LT(store_->logical_size_bytes(), size_bytes + int64_t{kFit} * int64_t{3 * kMiB});
  // Nor does their removal take them all at once.
  Put("later", "v");
  ASSERT_TRUE(Compact(store_->published().revision.value()).ok());
  EXPECT_EQ(Remove(1000), kFit + 1);
  EXPECT_THAT(Scan({"", "l"}), ElementsAre(last));
  // One change alone is always possible: its size is its request's.
  Txn([&](WriteTxn& txn) {
    ASSERT_TRUE(txn.Put("a", std::string(WriteTxn::kBytesMax + 1, 'v'), LeaseId(0)).ok());
    EXPECT_TRUE(IsTxnTooLarge(txn.Put("b", "", LeaseId(0)).status()));
  });
}

// Which rows a member has removed already is its own affair, and what is refused is not.
TEST_F(LargeTxnTest, ChangesCountAlikeWhateverWasRemoved) {
  const auto room_left = [this] {
    Batch batch = store_->BeginBatch();
    WriteTxn txn = batch.BeginTxn();
    EXPECT_TRUE(txn.Put("a", "1", LeaseId(0)).ok());
    EXPECT_TRUE(*txn.Delete("b"));
    EXPECT_TRUE(*txn.Delete("leased"));
    // Exactly so much is left for a value.
    const int64_t counted = WriteTxn::ChangeBytes(1, 1, false) +
                            WriteTxn::ChangeBytes(1, 0, false) + WriteTxn::ChangeBytes(6, 0, true) +
                            WriteTxn::ChangeBytes(1, 0, false);
    const auto left = static_cast<size_t>(WriteTxn::kBytesMax - counted);
    EXPECT_TRUE(IsTxnTooLarge(txn.Put("c", std::string(left + 1, 'v'), LeaseId(0)).status()));
    return txn.Put("c", std::string(left, 'v'), LeaseId(0)).ok();
  };
  for (const char* key : {"a", "b", "a", "c"}) Put(key, "0");
  Put("leased", "0", LeaseId(7));
  Delete("a");
  Delete("c");
  EXPECT_TRUE(room_left());
  Put("later", "0");
  ASSERT_TRUE(Compact(store_->published().revision.value()).ok());
  EXPECT_TRUE(room_left());
  EXPECT_GT(Remove(100), 0);
  EXPECT_TRUE(room_left());
}

TEST_F(LargeTxnTest, DeletionsShowValuesUntilNobodyWantsThem) {
  constexpr int kKeys = 1000;
  const std::string large(kInlineValueBytesLimit, 'v');
  Txn([&](WriteTxn& txn) {
    for (int i = 0; i < kKeys; ++i) {
      const std::string_view value = i % 2 == 0 ? std::string_view(large) : "small";
      ASSERT_TRUE(txn.Put(fmt::format("{:04}", i), value, LeaseId(0)).ok());
    }
  });
  Txn([&](WriteTxn& txn) {
    int count = 0;
    const auto deleted = [&](const KeyValueView& kv) {
      EXPECT_EQ(kv.key, fmt::format("{:04}", count));
      if (count <= 500) {
        EXPECT_EQ(kv.value, count % 2 == 0 ? std::string_view(large) : "small");
      }
      if (count >= 600 && count % 2 == 0) {
        EXPECT_EQ(kv.value, "");
      }
      return ++count <= 500;
    };
    EXPECT_EQ(*txn.DeleteRange(KeyRange::All(), deleted, Values::kFetch), kKeys);
    EXPECT_EQ(count, kKeys);
  });
}

// A large batch gives its memory back on the way; what it did and what comes next are as ever.
TEST(LargeTxnOnRocksTest, ABatchThatDeletesMuch) {
  constexpr int kKeys = 40'000;
  const std::string directory = ::testing::TempDir() + "/much";
  std::filesystem::remove_all(directory);
  const auto open = [&] {
    auto backend =
        OpenRocksBackend({.directory = directory, .memory_limit_bytes = kMemoryLimitBytesMin});
    EXPECT_TRUE(backend.ok()) << backend.status();
    return OpenStore(*std::move(backend));
  };
  const auto key_of = [](int i) { return fmt::format("key/{:060}", i); };
  auto store = open();
  uint64_t index = 0;
  for (int round = 0; round < 2; ++round) {
    Batch batch = store->BeginBatch();
    WriteTxn put = batch.BeginTxn();
    for (int i = 0; i < kKeys; ++i) ASSERT_TRUE(put.Put(key_of(i), "v", LeaseId(0)).ok());
    put.Commit();
    EXPECT_GT(batch.held_bytes(), size_t{kKeys} * 64);
    ASSERT_TRUE(batch.Commit({Index(++index), Term(1)}).ok());
    EXPECT_EQ(batch.changes().size(), size_t{kKeys});
    EXPECT_EQ(batch.changes().back().key, key_of(kKeys - 1));
  }
  {
    Batch batch = store->BeginBatch();
    WriteTxn remove = batch.BeginTxn();
    EXPECT_EQ(*remove.DeleteRange({key_of(1), key_of(kKeys - 1)}), kKeys - 2);
    EXPECT_EQ(remove.Count(KeyRange::All(), kCurrent)->count, 2);
    remove.Commit();
    WriteTxn next = batch.BeginTxn();
    ASSERT_TRUE(next.Put(key_of(5), "again", LeaseId(0)).ok());
    EXPECT_EQ(*next.DeleteRange({key_of(0), key_of(2)}), 1);
    next.Commit();
    ASSERT_TRUE(batch.Commit({Index(++index), Term(1)}).ok());
    EXPECT_EQ(batch.changes().size(), size_t{kKeys});
    EXPECT_EQ(batch.changes()[0].key, key_of(1));
    EXPECT_EQ(batch.changes()[7].key_value.substr(2, 64), key_of(8));
  }
  for (int pass = 0; pass < 2; ++pass) {
    EXPECT_EQ(store->Count(KeyRange::All(), Revision(3))->count, kKeys);
    EXPECT_EQ(store->Count(KeyRange::All(), Revision(4))->count, 2);
    EXPECT_EQ(store->Count(KeyRange::All(), kCurrent)->count, 2);
    EXPECT_EQ(store->published().revision, Revision(5));
    store.reset();
    store = open();
  }
  store.reset();
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace cairn::mvcc
