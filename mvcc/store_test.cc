// The store from its caller's side: reads, transactions, side rows, compaction, restarts.
#include "mvcc/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "mvcc/key_value.h"
#include "mvcc/mem_backend.h"
#include "mvcc/rocks_backend.h"
#include "mvcc/schema.h"
#include "mvcc/store_fixture.h"

namespace cairn::mvcc {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Rows that are looked at count, whether they are visited or not: deleted ones, and those of a scan
// into the past.
TEST_F(StoreTest, ScansEndWhereverTheyAreToldTo) {
  constexpr int kRows = 1500;
  Txn([](WriteTxn& txn) {
    for (int i = 0; i < kRows; ++i) {
      ASSERT_TRUE(txn.Put(fmt::format("k{:04}", i), "v", LeaseId(0)).ok());
    }
  });
  Txn([](WriteTxn& txn) {
    ASSERT_TRUE(txn.DeleteRange({"k0000", "k0750"}).ok());
    ASSERT_TRUE(txn.Put("k1000", "w", LeaseId(0)).ok());
  });
  int visited = 0;
  const auto visit = [&visited](const KeyValueView&) {
    ++visited;
    return true;
  };
  const auto restart = [&visited] { visited = 0; };
  for (const int64_t at : {0, 2}) {
    SCOPED_TRACE(at);
    const int live = at == 0 ? kRows / 2 : kRows;
    const ScanOptions options = {.range = KeyRange::All(), .at = Revision(at)};
    int looks = 0;
    const auto look = [&looks] {
      ++looks;
      return false;
    };
    restart();
    ASSERT_TRUE(store_->Scan(options, visit, restart, look).ok());
    EXPECT_EQ(visited, live);
    // Often enough to end soon, too seldom to be felt.
    EXPECT_GE(looks, kRows / 1000 + 1);
    EXPECT_LE(looks, kRows / 200);
    const int whole = looks;
    looks = 0;
    const auto counted = store_->Count(options.range, options.at, look);
    ASSERT_TRUE(counted.ok());
    EXPECT_EQ(counted->count, live);
    EXPECT_EQ(looks, whole);
    for (int last = 1; last <= whole; ++last) {
      int left = last;
      const auto stop = [&left] { return --left == 0; };
      restart();
      const auto stopped = store_->Scan(options, visit, restart, stop);
      EXPECT_TRUE(absl::IsCancelled(stopped.status())) << stopped.status();
      EXPECT_EQ(left, 0);
      EXPECT_LT(visited, live);
      left = last;
      EXPECT_TRUE(absl::IsCancelled(store_->Count(options.range, options.at, stop).status()));
    }
  }
}

// For whoever wants to know what an event replaced, without a read of its own.
TEST_F(StoreTest, ChangesCarryWhatTheyReplacedWhereItIsAtHand) {
  Put("small", "before", LeaseId(7));
  Put("large", std::string(kInlineValueBytesLimit, 'v'));
  Put("gone", "x");
  Delete("gone");
  const auto texts = [](const Batch& batch) {
    std::vector<std::string> replaced;
    for (const Change& change : batch.changes()) {
      KeyValueView kv;
      const bool is_there = ParseKeyValue(change.previous_key_value, kv);
      replaced.push_back(change.previous_key_value.empty() ? "" : is_there ? Text(kv) : "?");
    }
    return replaced;
  };
  const auto change_all = [](Batch& batch) {
    WriteTxn txn = batch.BeginTxn();
    for (const char* key : {"new", "small", "large", "gone"}) {
      EXPECT_TRUE(txn.Put(key, "after", LeaseId(0)).ok());
    }
    // What this transaction made itself nobody has seen.
    EXPECT_TRUE(txn.Delete("small").ok());
    txn.Commit();
    WriteTxn next = batch.BeginTxn();
    EXPECT_TRUE(next.Delete("new").ok());
    next.Commit();
  };
  {
    Batch batch = store_->BeginBatch();
    batch.KeepPrevious();
    change_all(batch);
    EXPECT_THAT(texts(batch),
                ElementsAre("", "small=before@2.2.1:7", "", "", "", "new=after@6.6.1:0"));
  }
  Batch batch = store_->BeginBatch();
  change_all(batch);
  EXPECT_THAT(texts(batch), ElementsAre("", "", "", "", "", ""));
}

TEST_F(StoreTest, FreshStoreStandsAtRevisionOneAndWasNeverCompacted) {
  EXPECT_EQ(store_->published(), (Published{Revision(1), Revision(-1)}));
  EXPECT_EQ(store_->applied(), (EntryApplied{Index(0), Term(0)}));
  EXPECT_EQ(store_->logical_size_bytes(), 0);
  EXPECT_GE(store_->physical_size_bytes(), 1);
  EXPECT_EQ(Get("a"), "none");
}

TEST_F(StoreTest, EveryRevisionStaysReadable) {
  Put("a", "1", LeaseId(7));  // 2
  Put("b", "1");              // 3
  Put("a", "2");              // 4
  Delete("b");                // 5
  Put("b", "2");              // 6
  EXPECT_EQ(Get("a"), "a=2@2.4.2:0");
  EXPECT_EQ(Get("a", 3), "a=1@2.2.1:7");
  EXPECT_EQ(Get("a", 1), "none");
  EXPECT_THAT(Scan(KeyRange::All(), 4), ElementsAre("a=2@2.4.2:0", "b=1@3.3.1:0"));
  EXPECT_THAT(Scan(KeyRange::All(), 5), ElementsAre("a=2@2.4.2:0"));
  EXPECT_THAT(Scan(KeyRange::All()), ElementsAre("a=2@2.4.2:0", "b=2@6.6.1:0"));
  EXPECT_THAT(Scan({"a", "b"}), ElementsAre("a=2@2.4.2:0"));
  EXPECT_THAT(Scan({"b", "b"}), IsEmpty());
  EXPECT_THAT(Scan({"b", ""}), IsEmpty());
  EXPECT_EQ(Get("a", 7), "required revision is a future revision");
}

TEST_F(StoreTest, KeysOnlyScansBringNoValues) {
  Put("a", "1");
  Put("b", std::string(5000, 'x'));
  EXPECT_THAT(Scan(KeyRange::All(), 0, Values::kSkip), ElementsAre("a=@2.2.1:0", "b=@3.3.1:0"));
  Put("a", "2");
  EXPECT_THAT(Scan(KeyRange::All(), 3, Values::kSkip), ElementsAre("a=@2.2.1:0", "b=@3.3.1:0"));
}

TEST_F(StoreTest, LargeValuesStandInHistoryAndReadAlike) {
  const std::string large(1 << 20, 'x');
  Put("a", large);
  Put("a", "small");
  EXPECT_EQ(Get("a", 2), "a=" + large + "@2.2.1:0");
  EXPECT_EQ(Get("a"), "a=small@2.3.2:0");
  Txn([&](WriteTxn& txn) {
    ASSERT_TRUE(txn.Put("b", large, LeaseId(0)).ok());
    const auto replaced = txn.Put("b", "", LeaseId(0), Values::kFetch);
    ASSERT_TRUE(replaced.ok());
    EXPECT_EQ(replaced->previous.value, large);
  });
}

TEST_F(StoreTest, ManyTransactionsOfOneBatchSeeEachOther) {
  Batch batch = store_->BeginBatch();
  for (int64_t version = 1; version <= 100; ++version) {
    WriteTxn txn = batch.BeginTxn();
    const auto result = txn.Put("counter", std::to_string(version), LeaseId(0), Values::kFetch);
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(result->existed, version > 1);
    EXPECT_EQ(result->previous.version, version - 1);
    txn.Commit();
  }
  // Nothing is visible before the batch is written.
  EXPECT_EQ(Get("counter"), "none");
  ASSERT_TRUE(batch.Commit(Next()).ok());
  EXPECT_EQ(batch.changes().size(), 100u);
  EXPECT_EQ(Get("counter"), "counter=100@2.101.100:0");
  EXPECT_EQ(Get("counter", 42), "counter=41@2.42.41:0");
}

TEST_F(StoreTest, AbandonedBatchAndAbortedTransactionLeaveNothing) {
  Put("a", "1");
  const int64_t size_bytes = store_->logical_size_bytes();
  {
    Batch batch = store_->BeginBatch();
    WriteTxn txn = batch.BeginTxn();
    ASSERT_TRUE(txn.Put("a", "2", LeaseId(0)).ok());
    txn.Commit();
    batch.PutMeta("l/1", "lease");
  }
  Txn([](WriteTxn& txn) { ASSERT_FALSE(*txn.Delete("b")); });
  {
    Batch batch = store_->BeginBatch();
    {
      WriteTxn txn = batch.BeginTxn();
      ASSERT_TRUE(txn.Put("a", "3", LeaseId(0)).ok());
    }
    ASSERT_TRUE(batch.Commit(Next()).ok());
  }
  std::string value;
  EXPECT_FALSE(*store_->GetMeta("l/1", value));
  EXPECT_EQ(Get("a"), "a=1@2.2.1:0");
  EXPECT_EQ(store_->published().revision, Revision(2));
  EXPECT_EQ(store_->logical_size_bytes(), size_bytes);
}

// Side rows as an open batch sees them: its own over the written ones, and not those it deleted.
TEST_F(StoreTest, AScanOfSideRowsSeesTheBatch) {
  {
    Batch batch = store_->BeginBatch();
    for (const char* key : {"k/a1", "k/a3", "k/a5", "k/b"}) batch.PutMeta(key, "old");
    ASSERT_TRUE(batch.Commit(Next()).ok());
  }
  Batch batch = store_->BeginBatch();
  const auto scan = [&](std::string_view prefix, size_t rows_max) {
    std::string rows;
    size_t count = 0;
    EXPECT_TRUE(batch
                    .ScanMeta(prefix,
                              [&](std::string_view key, std::string_view value) {
                                rows += fmt::format("{}={} ", key, value);
                                return ++count < rows_max;
                              })
                    .ok());
    return rows;
  };
  EXPECT_EQ(scan("k/a", 9), "k/a1=old k/a3=old k/a5=old ");
  batch.PutMeta("k/a2", "new");
  batch.PutMeta("k/a3", "new");
  batch.PutMeta("k/a6", "new");
  batch.DeleteMeta("k/a1");
  batch.DeleteMeta("k/a4");
  EXPECT_EQ(scan("k/a", 9), "k/a2=new k/a3=new k/a5=old k/a6=new ");
  EXPECT_EQ(scan("k/a", 2), "k/a2=new k/a3=new ");
  EXPECT_EQ(scan("k/b", 9), "k/b=old ");
  EXPECT_EQ(scan("l/", 9), "");
  batch.DeleteMeta("k/b");
  EXPECT_EQ(scan("k/b", 9), "");
}

TEST_F(StoreTest, SideRowsMoveWithTheirBatch) {
  Batch batch = store_->BeginBatch();
  batch.PutMeta("m/1", "one");
  batch.PutMeta("m/2", "two");
  std::string value;
  EXPECT_TRUE(*batch.GetMeta("m/1", value));
  EXPECT_FALSE(*store_->GetMeta("m/1", value));
  ASSERT_TRUE(batch.Commit(Next()).ok());
  EXPECT_TRUE(*store_->GetMeta("m/2", value));
  EXPECT_EQ(value, "two");
  std::vector<std::string> keys;
  ASSERT_TRUE(store_
                  ->ScanMeta("m/",
                             [&](std::string_view key, std::string_view) {
                               keys.emplace_back(key);
                               return true;
                             })
                  .ok());
  EXPECT_THAT(keys, ElementsAre("m/1", "m/2"));
}

TEST_F(StoreTest, CompactionRefusesOldReadsAtOnceAndRemovalResumesAfterACrash) {
  for (int i = 0; i < 20; ++i) Put(i % 2 == 0 ? "a" : "b", std::to_string(i));  // 2..21
  Delete("b");                                                                  // 22
  Put("c", "1");                                                                // 23
  EXPECT_TRUE(IsFutureRevision(Compact(24)));
  ASSERT_TRUE(Compact(23).ok());
  EXPECT_TRUE(IsCompacted(Compact(23)));
  EXPECT_EQ(Get("a", 22), "required revision has been compacted");
  EXPECT_EQ(Get("a", 23), "a=18@2.20.10:0");
  const int64_t size_bytes = store_->logical_size_bytes();
  ASSERT_TRUE(store_->Flush().ok());
  EXPECT_EQ(store_->durable_applied(), store_->applied());

  const auto step = store_->FindRemovalStep(5);
  ASSERT_TRUE(step.ok());
  {
    Batch batch = store_->BeginBatch();
    ASSERT_TRUE(*batch.ApplyRemoval(*step));
    ASSERT_TRUE(batch.Commit(Next()).ok());
    EXPECT_LT(store_->removed_through(), Revision(23));
  }
  {
    Batch batch = store_->BeginBatch();
    EXPECT_FALSE(*batch.ApplyRemoval(*step)) << "stale";
  }
  Crash(1);
  EXPECT_GT(Remove(5), 2);
  EXPECT_EQ(store_->removed_through(), Revision(23));
  EXPECT_LT(store_->logical_size_bytes(), size_bytes);
  EXPECT_EQ(Get("a"), "a=18@2.20.10:0");
  EXPECT_EQ(Get("b"), "none");
  Put("b", "again");  // 24
  EXPECT_EQ(Get("b"), "b=again@24.24.1:0");
  EXPECT_EQ(Get("b", 23), "none");
}

TEST_F(StoreTest, RemovalNeedsNoEntryOfItsOwn) {
  Put("a", "1");
  Put("a", "2");
  ASSERT_TRUE(Compact(3).ok());
  const EntryApplied applied = store_->applied();
  const auto step = store_->FindRemovalStep(100);
  ASSERT_TRUE(step.ok());
  Batch batch = store_->BeginBatch();
  ASSERT_TRUE(*batch.ApplyRemoval(*step));
  ASSERT_TRUE(batch.Commit(applied).ok());
  EXPECT_EQ(store_->applied(), applied);
  EXPECT_EQ(store_->removed_through(), Revision(3));
}

TEST_F(StoreTest, CompactionToZeroIsAllowedOnce) {
  EXPECT_TRUE(Compact(0).ok());
  EXPECT_EQ(store_->published().watermark, Revision(0));
  EXPECT_TRUE(IsCompacted(Compact(0)));
}

TEST_F(StoreTest, NothingIsAtRevisionsThatWereIssuedToNobody) {
  Put("a", "1");
  {
    Batch batch = store_->BeginBatch();
    batch.RaiseRevision(1000);
    EXPECT_EQ(batch.current().revision, Revision(1002));
    WriteTxn txn = batch.BeginTxn();
    ASSERT_TRUE(txn.Put("a", "2", LeaseId(0)).ok());
    txn.Commit();
    ASSERT_TRUE(batch.Commit(Next()).ok());
  }
  EXPECT_EQ(store_->published().revision, Revision(1003));
  EXPECT_EQ(Get("a"), "a=2@2.1003.2:0");
  EXPECT_EQ(Get("a", 500), "a=1@2.2.1:0");
  EXPECT_EQ(Get("a", 1002), "a=1@2.2.1:0");
  ASSERT_TRUE(Compact(1001).ok());
  Remove(10);
  EXPECT_EQ(Get("a", 1001), "a=1@2.2.1:0");
  EXPECT_EQ(Get("a"), "a=2@2.1003.2:0");
  ASSERT_TRUE(store_->Flush().ok());
  Restart();
  EXPECT_EQ(store_->published().revision, Revision(1003));
}

TEST_F(StoreTest, CrashKeepsAPrefixOfBatches) {
  Put("a", "1");
  ASSERT_TRUE(store_->Flush().ok());
  Put("a", "2");
  Put("a", "3");
  Crash(1);
  EXPECT_EQ(Get("a"), "a=2@2.3.2:0");
  EXPECT_EQ(store_->applied(), (EntryApplied{Index(2), Term(1)}));
  EXPECT_EQ(store_->durable_applied(), (EntryApplied{Index(2), Term(1)}));
}

TEST_F(StoreTest, RefusesTheStateOfAnotherMember) {
  ASSERT_TRUE(store_->Flush().ok());
  store_.reset();
  const auto other = Store::Open(disk_.Open(), {.identity = {ClusterId(0xc1), MemberId(0xa2)}});
  EXPECT_EQ(other.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(base::Message(other.status()),
            "state: belongs to member a1 of cluster c1, not to member a2 of cluster c1");
}

TEST_F(StoreTest, RefusesAnotherFormatAndDamagedRows) {
  ASSERT_TRUE(store_->Flush().ok());
  store_.reset();
  const struct {
    const char* key;
    std::string value;
    absl::StatusCode code;
    const char* message;
  } cases[] = {
      {"s/state", "short", absl::StatusCode::kDataLoss, "state: the row s/state is unreadable"},
      {"s/format", std::string("\0\0\0\x02", 4), absl::StatusCode::kFailedPrecondition,
       "state: written in format 2, this program knows format 1"},
      {"s/format", "", absl::StatusCode::kDataLoss, "state: the row s/format is unreadable"},
  };
  for (const auto& c : cases) {
    {
      const auto backend = disk_.Open();
      const auto rows = backend->NewBatch();
      rows->Put(Family::kMeta, c.key, c.value);
      ASSERT_TRUE(backend->Write(*rows).ok());
      ASSERT_TRUE(backend->Flush().ok());
    }
    const auto store = Store::Open(disk_.Open(), {.identity = kIdentity});
    EXPECT_EQ(store.status().code(), c.code);
    EXPECT_EQ(base::Message(store.status()), c.message);
  }
}

TEST_F(StoreTest, DamagedHistoryIsDataLossNotAnAnswer) {
  Put("a", "1");
  Put("a", "2");
  ASSERT_TRUE(store_->Flush().ok());
  store_.reset();
  {
    const auto backend = disk_.Open();
    const auto rows = backend->NewBatch();
    const std::string key("\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0", 16);
    rows->SingleDelete(Family::kRevisions, key);
    ASSERT_TRUE(backend->Write(*rows).ok());
    ASSERT_TRUE(backend->Flush().ok());
  }
  store_ = OpenStore(disk_.Open());
  EXPECT_EQ(Get("a"), "a=2@2.3.2:0");
  EXPECT_EQ(store_->Get("a", Revision(2), [](const KeyValueView&) { return true; }).status().code(),
            absl::StatusCode::kDataLoss);
}

// The worked example of SCHEMA.md.
TEST_F(StoreTest, RowsOnDiskAreThoseOfTheSchemaPage) {
  Put("a", "1", LeaseId(7));
  Put("a", "2");
  ASSERT_TRUE(store_->Flush().ok());
  store_.reset();
  const auto backend = disk_.Open();
  std::vector<std::string> rows;
  for (const Family family : {Family::kKeys, Family::kRevisions}) {
    const auto walk = backend->NewIterator(family, {}, CacheUse::kFill);
    for (walk->Seek({}); walk->Valid(); walk->Next()) {
      std::string text;
      for (const char byte : walk->key()) text += fmt::format("{:02x}", byte & 0xff);
      text += ' ';
      for (const char byte : walk->value()) text += fmt::format("{:02x}", byte & 0xff);
      rows.push_back(text);
    }
  }
  EXPECT_THAT(rows, ElementsAre("61 010300220102020001320200",
                                "00000000000000020000000000000000 "
                                "010a01611002180220012a01313007",
                                "00000000000000030000000000000000 "
                                "8202001f02000a01611002180320022a0132"));
}

}  // namespace
}  // namespace cairn::mvcc
