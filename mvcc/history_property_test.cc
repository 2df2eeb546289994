// Random histories against an oracle that keeps everything.
//
// One seed decides all: transactions (puts, deletes, range deletes, aborts), batches, compactions,
// removal steps found early and committed late, flushes, crashes that keep a prefix of the batches,
// and reads at every kind of revision, inside and outside an open batch. HashKV is compared with
// etcd's rules applied to the oracle's records. A failure prints its seed.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/status.h"
#include "mvcc/history_oracle.h"
#include "mvcc/mem_backend.h"
#include "mvcc/rocks_backend.h"
#include "mvcc/schema.h"
#include "mvcc/store.h"

namespace cairn::mvcc {
namespace {

constexpr StoreIdentity kIdentity = {ClusterId(1), MemberId(2)};

// Where the store lives: in memory with honest crashes, or in RocksDB.
class Home {
 public:
  virtual ~Home() = default;
  virtual std::unique_ptr<Backend> Open() = 0;
  virtual size_t unflushed() const = 0;
  virtual void Crash(size_t kept) = 0;
};

class MemHome final : public Home {
 public:
  std::unique_ptr<Backend> Open() override { return disk_.Open(); }
  size_t unflushed() const override { return disk_.unflushed_batches(); }
  void Crash(size_t kept) override { disk_.Crash(kept); }

 private:
  MemDisk disk_;
};

// RocksDB flushes when it is closed, so a restart keeps everything.
class RocksHome final : public Home {
 public:
  explicit RocksHome(std::string directory) : directory_(std::move(directory)) {
    std::filesystem::remove_all(directory_);
  }
  ~RocksHome() override { std::filesystem::remove_all(directory_); }
  std::unique_ptr<Backend> Open() override {
    auto backend =
        OpenRocksBackend({.directory = directory_, .memory_limit_bytes = kMemoryLimitBytesMin});
    CAIRN_CHECK(backend.ok(), backend.status().ToString());
    return *std::move(backend);
  }
  size_t unflushed() const override { return 0; }
  void Crash(size_t) override {}

 private:
  const std::string directory_;
};

class History {
 public:
  History(Home& home, uint64_t seed) : home_(home), random_(seed) {
    Reopen();
    // The first batch is the one that made the state.
    Remember();
  }

  void Run(int steps) {
    for (int step = 0; step < steps && !::testing::Test::HasFailure(); ++step) {
      const uint64_t dice = Draw(100);
      if (dice < 45) {
        RunBatch();
      } else if (dice < 75) {
        CheckReads();
        CheckEvents();
      } else if (dice < 80) {
        CheckHash();
      } else if (dice < 92) {
        FindStep();
      } else if (dice < 96) {
        ASSERT_TRUE(store_->Flush().ok());
        EXPECT_EQ(store_->durable_applied().index, store_->applied().index);
      } else {
        Restart();
      }
    }
    if (!::testing::Test::HasFailure()) Finish();
  }

 private:
  uint64_t Draw(uint64_t limit) { return random_() % limit; }
  std::string DrawKey() { return std::string(1 + Draw(2), static_cast<char>('a' + Draw(5))); }

  void Reopen() {
    auto store = Store::Open(home_.Open(), {.identity = kIdentity});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }

  void Remember() { batches_.push_back(oracle_); }

  void Restart() {
    const size_t unflushed = home_.unflushed();
    const size_t kept = unflushed == 0 ? 0 : Draw(unflushed + 1);
    home_.Crash(kept);
    store_.reset();
    pending_.reset();
    Reopen();
    const size_t lost = unflushed - kept;
    batches_.resize(batches_.size() - std::min(lost, batches_.size() - 1));
    oracle_ = batches_.back();
    index_ = store_->applied().index.value();
    EXPECT_EQ(store_->published(),
              (Published{Revision(oracle_.revision), Revision(oracle_.watermark)}));
  }

  void RunBatch() {
    Batch batch = store_->BeginBatch();
    const uint64_t txns = Draw(5);
    for (uint64_t i = 0; i < txns; ++i) {
      if (pending_.has_value() && Draw(3) == 0) ApplyPending(batch);
      RunTxn(batch);
      if (Draw(6) == 0) RunCompaction(batch);
    }
    if (pending_.has_value() && Draw(2) == 0) ApplyPending(batch);
    const std::string note = fmt::format("{}", index_ + 1);
    batch.PutMeta("a/note", note);
    ASSERT_TRUE(batch.Commit({Index(++index_), Term(1)}).ok());
    Remember();
    EXPECT_EQ(store_->published(),
              (Published{Revision(oracle_.revision), Revision(oracle_.watermark)}));
    std::string kept;
    ASSERT_TRUE(*store_->GetMeta("a/note", kept));
    EXPECT_EQ(kept, note);
  }

  void ApplyPending(Batch& batch) {
    const auto applied = batch.ApplyRemoval(*pending_);
    ASSERT_TRUE(applied.ok()) << applied.status();
    pending_.reset();
  }

  void RunCompaction(Batch& batch) {
    const auto to = static_cast<int64_t>(Draw(static_cast<uint64_t>(oracle_.revision) + 2));
    const absl::Status status = batch.SetCompactWatermark(Revision(to));
    if (to <= oracle_.watermark) {
      EXPECT_TRUE(IsCompacted(status));
    } else if (to > oracle_.revision) {
      EXPECT_TRUE(IsFutureRevision(status));
    } else {
      ASSERT_TRUE(status.ok());
      oracle_.watermark = to;
    }
  }

  void RunTxn(Batch& batch) {
    const Oracle before = oracle_;
    WriteTxn txn = batch.BeginTxn();
    EXPECT_EQ(txn.revision_before(), Revision(oracle_.revision));
    int64_t sub = 0;
    const uint64_t operations = 1 + Draw(4);
    for (uint64_t i = 0; i < operations; ++i) {
      const uint64_t dice = Draw(10);
      if (dice < 5) {
        PutOne(txn, sub);
      } else if (dice < 7) {
        DeleteOne(txn, sub);
      } else if (dice < 8) {
        DeleteSome(txn, sub);
      } else {
        CheckTxnReads(txn, sub > 0);
      }
    }
    CheckChanges(txn, before, sub);
    if (Draw(8) == 0) {
      txn.Abort();
      oracle_ = before;
      return;
    }
    txn.Commit();
    if (sub > 0) ++oracle_.revision;
  }

  void Record(bool is_deletion, Owned kv, int64_t& sub) {
    if (is_deletion) {
      oracle_.now.erase(kv.key);
    } else {
      oracle_.now[kv.key] = kv;
    }
    oracle_.records.push_back({oracle_.revision + 1, sub++, is_deletion, std::move(kv)});
  }

  void PutOne(WriteTxn& txn, int64_t& sub) {
    const std::string key = DrawKey();
    // Now and then a value that does not stand in the key's own row.
    const size_t size = Draw(12) == 0 ? kInlineValueBytesLimit + Draw(3) - 1 : Draw(6);
    const std::string value(size, static_cast<char>('0' + Draw(10)));
    const auto lease = static_cast<int64_t>(Draw(3));
    const auto found = oracle_.now.find(key);
    const auto result = txn.Put(key, value, LeaseId(lease), Values::kFetch);
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_EQ(result->existed, found != oracle_.now.end());
    Owned kv = {key, oracle_.revision + 1, oracle_.revision + 1, 1, value, lease};
    if (result->existed) {
      EXPECT_EQ(Own(result->previous), found->second);
      kv.create = found->second.create;
      kv.version = found->second.version + 1;
    }
    Record(false, std::move(kv), sub);
  }

  void DeleteOne(WriteTxn& txn, int64_t& sub) {
    const std::string key = DrawKey();
    std::optional<Owned> deleted;
    const auto result = txn.Delete(
        key,
        [&](const KeyValueView& kv) {
          deleted = Own(kv);
          return true;
        },
        Values::kFetch);
    ASSERT_TRUE(result.ok()) << result.status();
    const auto found = oracle_.now.find(key);
    ASSERT_EQ(*result, found != oracle_.now.end());
    ASSERT_EQ(*result, deleted.has_value());
    if (!*result) return;
    EXPECT_EQ(*deleted, found->second);
    Record(true, {.key = key}, sub);
  }

  void DeleteSome(WriteTxn& txn, int64_t& sub) {
    const std::string first = DrawKey();
    const std::string limit = DrawKey();
    const bool to_end = Draw(4) == 0;
    const KeyRange range = to_end ? KeyRange::From(first) : KeyRange{first, limit};
    std::vector<Owned> expected;
    for (const auto& [key, kv] : oracle_.now) {
      if (key >= first && (to_end || key < limit)) expected.push_back(kv);
    }
    std::vector<Owned> deleted;
    const auto result = txn.DeleteRange(
        range,
        [&](const KeyValueView& kv) {
          deleted.push_back(Own(kv));
          return true;
        },
        Values::kFetch);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(*result, static_cast<int64_t>(expected.size()));
    EXPECT_EQ(deleted, expected);
    for (const Owned& kv : expected) Record(true, {.key = kv.key}, sub);
  }

  void CheckChanges(const WriteTxn& txn, const Oracle& before, int64_t count) {
    ASSERT_EQ(txn.changes().size(), static_cast<size_t>(count));
    Keys keys = before.now;
    for (size_t i = 0; i < txn.changes().size(); ++i) {
      const Change& change = txn.changes()[i];
      const Oracle::Record& record = oracle_.records[before.records.size() + i];
      EXPECT_EQ(change.revision, (RowRevision{Revision(record.main), record.sub}));
      EXPECT_EQ(change.key, record.kv.key);
      EXPECT_EQ(change.key_value, Bytes(record.kv));
      EXPECT_EQ(change.kind == ChangeKind::kDeletion, record.is_deletion);
      EXPECT_EQ(change.lease.value(), record.kv.lease);
      const auto previous = keys.find(record.kv.key);
      EXPECT_EQ(change.kind == ChangeKind::kCreation,
                !record.is_deletion && previous == keys.end());
      EXPECT_EQ(change.previous_lease.value(), previous == keys.end() ? 0 : previous->second.lease);
      if (record.is_deletion) {
        keys.erase(record.kv.key);
      } else {
        keys[record.kv.key] = record.kv;
      }
    }
  }

  // A revision of every kind: current, old, at the watermark, below it, ahead.
  int64_t DrawRevision(int64_t current) {
    switch (Draw(4)) {
      case 0:
        return 0;
      case 1:
        return std::max<int64_t>(1, oracle_.watermark);
      default:
        return 1 + static_cast<int64_t>(Draw(static_cast<uint64_t>(current) + 1));
    }
  }

  void CheckTxnReads(const WriteTxn& txn, bool has_changes) {
    const int64_t current = oracle_.revision + (has_changes ? 1 : 0);
    EXPECT_EQ(txn.revision(), Revision(current));
    const auto get = [&](std::string_view key, Revision at, KeyValueVisitor found) {
      return txn.Get(key, at, found);
    };
    const auto scan = [&](const ScanOptions& options, KeyValueVisitor visit) {
      return txn.Scan(options, visit);
    };
    CheckRead(get, scan, DrawRevision(current), current);
  }

  void CheckReads() {
    const auto get = [&](std::string_view key, Revision at, KeyValueVisitor found) {
      return store_->Get(key, at, found);
    };
    const auto scan = [&](const ScanOptions& options, KeyValueVisitor visit) {
      return store_->Scan(options, visit, [] {});
    };
    CheckRead(get, scan, DrawRevision(oracle_.revision), oracle_.revision);
  }

  template <typename Get, typename Scan>
  void CheckRead(const Get& get, const Scan& scan, int64_t at, int64_t current) {
    const std::string key = DrawKey();
    std::optional<Owned> got;
    const auto point = get(key, Revision(at), [&](const KeyValueView& kv) {
      got = Own(kv);
      return true;
    });
    std::vector<Owned> scanned;
    const std::string first = Draw(2) == 0 ? "" : DrawKey();
    const uint64_t wanted = Draw(3) == 0 ? 1 + Draw(2) : 1000;
    const auto result =
        scan({.range = KeyRange::From(first), .at = Revision(at), .count_rest = true},
             [&](const KeyValueView& kv) {
               scanned.push_back(Own(kv));
               return scanned.size() < wanted;
             });
    ASSERT_EQ(point.status(), result.status());
    if (at > current) {
      EXPECT_TRUE(IsFutureRevision(point.status())) << point.status();
      return;
    }
    if (at > 0 && at < oracle_.watermark) {
      EXPECT_TRUE(IsCompacted(point.status())) << point.status();
      return;
    }
    ASSERT_TRUE(point.ok()) << point.status() << " at " << at;
    EXPECT_EQ(point->current, Revision(current));
    const Keys expected = oracle_.At(at == 0 ? current : at);
    const auto found = expected.find(key);
    ASSERT_EQ(got.has_value(), found != expected.end()) << key << " at " << at;
    if (got.has_value()) {
      EXPECT_EQ(*got, found->second) << " at " << at;
    }
    int64_t count = 0;
    std::vector<Owned> expected_scan;
    for (auto it = expected.lower_bound(first); it != expected.end(); ++it, ++count) {
      if (expected_scan.size() < wanted) expected_scan.push_back(it->second);
    }
    EXPECT_EQ(scanned, expected_scan) << " at " << at;
    EXPECT_EQ(result->count, count) << " at " << at;
  }

  void CheckHash() {
    const int64_t at = DrawRevision(oracle_.revision - 1);
    const auto result = store_->HashKv(Revision(at));
    if (at > oracle_.revision) {
      EXPECT_TRUE(IsFutureRevision(result.status()));
    } else if (at > 0 && at < oracle_.watermark) {
      EXPECT_TRUE(IsCompacted(result.status()));
    } else {
      ASSERT_TRUE(result.ok()) << result.status();
      const int64_t revision = at == 0 ? oracle_.revision : at;
      EXPECT_EQ(result->hash, oracle_.HashKv(revision))
          << "at " << revision << ", compacted at " << oracle_.watermark;
      EXPECT_EQ(result->compact_revision, Revision(oracle_.watermark));
      EXPECT_EQ(result->hash_revision, Revision(revision));
    }
  }

  // A walk over history in bounded steps, with what each change replaced.
  void CheckEvents() {
    int64_t first = std::max<int64_t>(1, DrawRevision(oracle_.revision));
    if (first > oracle_.revision) return;
    EventsOptions options = {
        .last = Revision(oracle_.revision), .rows_max = 1 + Draw(4), .bytes_max = 1 + Draw(200)};
    const bool is_compacted = first < oracle_.watermark;
    auto record = std::find_if(oracle_.records.begin(), oracle_.records.end(),
                               [&](const Oracle::Record& it) { return it.main >= first; });
    while (first <= oracle_.revision) {
      options.first = Revision(first);
      const auto through = store_->ReadEvents(options, [&](const Event& event) {
        if (is_compacted) return;
        ASSERT_NE(record, oracle_.records.end());
        EXPECT_EQ(event.revision, (RowRevision{Revision(record->main), record->sub}));
        EXPECT_EQ(event.key, record->kv.key);
        EXPECT_EQ(event.key_value, Bytes(record->kv));
        CheckPrevious(event);
        ++record;
      });
      if (is_compacted) {
        EXPECT_TRUE(IsCompacted(through.status())) << through.status();
        return;
      }
      ASSERT_TRUE(through.ok()) << through.status();
      ASSERT_GE(*through, Revision(first));
      first = through->value() + 1;
    }
    EXPECT_EQ(record, oracle_.records.end());
  }

  void CheckPrevious(const Event& event) {
    std::string previous;
    const auto found = store_->ReadPrevious(event.kind, event.revision, event.previous, previous);
    ASSERT_TRUE(found.ok()) << found.status();
    const int64_t at = event.revision.main.value() - 1;
    const Keys before = oracle_.At(at);
    const auto expected = before.find(std::string(event.key));
    const bool is_expected =
        event.kind != ChangeKind::kCreation && at >= oracle_.watermark && expected != before.end();
    ASSERT_EQ(*found, is_expected) << event.key << " before " << event.revision.main;
    if (is_expected) {
      EXPECT_EQ(previous, Bytes(expected->second));
    }
  }

  // Found now, committed at some later time, or never.
  void FindStep() {
    const auto step = store_->FindRemovalStep(1 + static_cast<int>(Draw(6)));
    ASSERT_TRUE(step.ok()) << step.status();
    pending_ = *step;
  }

  // Removal runs to its end, and what is left is exactly what must be.
  void Finish() {
    for (;;) {
      auto step = store_->FindRemovalStep(3);
      ASSERT_TRUE(step.ok()) << step.status();
      if (step->empty()) break;
      Batch batch = store_->BeginBatch();
      ASSERT_TRUE(*batch.ApplyRemoval(*step));
      ASSERT_TRUE(batch.Commit({Index(++index_), Term(1)}).ok());
      Remember();
    }
    EXPECT_GE(store_->removed_through(), Revision(std::max<int64_t>(0, oracle_.watermark)));
    for (int i = 0; i < 10; ++i) {
      CheckReads();
      CheckHash();
      CheckEvents();
    }
    ASSERT_TRUE(store_->Flush().ok());
    Restart();
    CheckReads();
    CheckHash();
    CheckSizes();
  }

  // The books agree with the rows: logical size is theirs, and rows of history that nothing can
  // read any more are gone.
  void CheckSizes() {
    const int64_t watermark = oracle_.watermark;
    const int64_t logical = store_->logical_size_bytes();
    store_.reset();
    const std::unique_ptr<Backend> backend = home_.Open();
    int64_t total = 0;
    int64_t history = 0;
    for (const Family family : {Family::kKeys, Family::kRevisions}) {
      const auto rows = backend->NewIterator(family, {}, CacheUse::kFill);
      for (rows->Seek({}); rows->Valid(); rows->Next()) {
        total += static_cast<int64_t>(rows->key().size() + rows->value().size());
        history += family == Family::kRevisions ? 1 : 0;
      }
    }
    EXPECT_EQ(total, logical);
    // Kept: what a change at or after the watermark made or superseded, and what still lives there.
    std::map<std::string, const Oracle::Record*> newest;
    int64_t expected = 0;
    for (const Oracle::Record& record : oracle_.records) {
      if (record.main < watermark) {
        newest[record.kv.key] = &record;
      } else {
        ++expected;
      }
    }
    for (const auto& [key, record] : newest) expected += record->is_deletion ? 0 : 1;
    EXPECT_EQ(history, expected);
  }

  Home& home_;
  std::mt19937_64 random_;
  std::unique_ptr<Store> store_;
  Oracle oracle_;
  // The oracle after each batch since the beginning, to go back to after a crash.
  std::vector<Oracle> batches_;
  uint64_t index_ = 0;
  std::optional<RemovalStep> pending_;
};

TEST(HistoryProperty, InMemoryWithCrashes) {
  constexpr uint64_t kSeeds = 150;
  constexpr int kSteps = 120;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    MemHome home;
    History(home, seed).Run(kSteps);
    if (HasFailure()) return;
  }
}

TEST(HistoryProperty, OnRocksDb) {
  constexpr uint64_t kSeeds = 6;
  constexpr int kSteps = 120;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    RocksHome home(::testing::TempDir() + "/history_property");
    History(home, seed).Run(kSteps);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace cairn::mvcc
