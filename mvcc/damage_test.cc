// Reads that the disk fails: reported in full, whoever reads, and told to callers without paths.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/status.h"
#include "mvcc/backend.h"
#include "mvcc/mem_backend.h"
#include "mvcc/schema.h"
#include "mvcc/store.h"

namespace cairn::mvcc {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr std::string_view kPath = "/data/state/1/000012.sst";

void CheckOk(const absl::Status& status) { CAIRN_CHECK(status.ok(), status.ToString()); }

// Stands nowhere, because of an error.
class BrokenIterator final : public RowIterator {
 public:
  explicit BrokenIterator(absl::Status error) : error_(std::move(error)) {}

  void Seek(std::string_view) override {}
  void Next() override {}
  bool Valid() const override { return false; }
  absl::Status status() const override { return error_; }
  std::string_view key() const override { return {}; }
  std::string_view value() const override { return {}; }

 private:
  const absl::Status error_;
};

// What is below, until `error` is set: then nothing can be read or copied any more.
class FailingBackend final : public Backend {
 public:
  FailingBackend(std::unique_ptr<Backend> below, const absl::Status& error)
      : below_(std::move(below)), error_(error) {}

  absl::StatusOr<bool> Get(Family family, std::string_view key,
                           absl::FunctionRef<void(std::string_view)> found) const override {
    if (!error_.ok()) return error_;
    return below_->Get(family, key, found);
  }
  std::unique_ptr<RowIterator> NewIterator(Family family, std::string_view limit,
                                           CacheUse cache_use) const override {
    if (!error_.ok()) return std::make_unique<BrokenIterator>(error_);
    return below_->NewIterator(family, limit, cache_use);
  }
  std::unique_ptr<RowBatch> NewBatch() const override { return below_->NewBatch(); }
  absl::Status Write(RowBatch& batch) override { return below_->Write(batch); }
  absl::Status Flush() override { return below_->Flush(); }
  absl::Status Checkpoint(const std::string& path) override {
    return error_.ok() ? below_->Checkpoint(path) : error_;
  }
  int64_t PhysicalSizeBytes() const override { return below_->PhysicalSizeBytes(); }
  int64_t BufferedBytes() const override { return below_->BufferedBytes(); }

 private:
  const std::unique_ptr<Backend> below_;
  const absl::Status& error_;
};

// "a" is made at 2 and changed at 3 and 5, "b" is made at 4; what lies below 3 is compacted, and
// not removed yet.
class DamageTest : public testing::Test {
 protected:
  DamageTest() {
    auto backend = std::make_unique<FailingBackend>(disk_.Open(), error_);
    backend_ = backend.get();
    auto store = Store::Open(std::move(backend), {.identity = {ClusterId(1), MemberId(2)}});
    CheckOk(store.status());
    store_ = *std::move(store);
    for (const std::string_view key : {"a", "a", "b", "a"}) {
      Batch batch = store_->BeginBatch();
      WriteTxn txn = batch.BeginTxn();
      CheckOk(txn.Put(key, "value", LeaseId(0)).status());
      txn.Commit();
      batch.PutMeta("c/side", "row");
      if (txn_count_ == 3) CheckOk(batch.SetCompactWatermark(Revision(3)));
      CheckOk(batch.Commit({Index(++txn_count_), Term(1)}));
    }
  }

  void Report() {
    store_->ReportDamage([this](const absl::Status& error) { reported_.push_back(error); });
  }
  absl::Status Get(std::string_view key, Revision at) const {
    return store_->Get(key, at, Ignore).status();
  }

  struct Read {
    std::string name;
    std::function<absl::Status()> read;
  };
  std::vector<Read> AllReads() {
    const ScanOptions all = {.range = KeyRange::All()};
    return {
        {"get", [this] { return Get("a", kCurrent); }},
        {"get in the past", [this] { return Get("a", Revision(3)); }},
        {"scan", [=, this] { return store_->Scan(all, Ignore, [] {}).status(); }},
        {"count", [=, this] { return store_->Count(all.range, Revision(4)).status(); }},
        {"events",
         [this] {
           return store_
               ->ReadEvents({.first = Revision(3), .last = Revision(5)}, [](const Event&) {})
               .status();
         }},
        {"previous",
         [this] {
           std::string previous;
           return store_
               ->ReadPrevious(ChangeKind::kUpdate, {Revision(5), 0}, {Revision(3), 0}, previous)
               .status();
         }},
        {"side row",
         [this] {
           std::string row;
           return store_->GetMeta("c/side", row).status();
         }},
        {"side rows",
         [this] {
           return store_->ScanMeta("c/", [](std::string_view, std::string_view) { return true; });
         }},
        {"hash of history", [this] { return store_->HashKv(kCurrent).status(); }},
        {"hash", [this] { return store_->Hash().status(); }},
        {"removal", [this] { return store_->FindRemovalStep(10).status(); }},
    };
  }

  static bool Ignore(const KeyValueView&) { return true; }

  MemDisk disk_;
  absl::Status error_;
  Backend* backend_ = nullptr;
  std::unique_ptr<Store> store_;
  uint64_t txn_count_ = 0;
  std::vector<absl::Status> reported_;
};

TEST_F(DamageTest, EveryReadReportsItAndTellsItsCallerLess) {
  const std::vector<absl::Status> errors = {
      base::Error(absl::StatusCode::kDataLoss, "state: read: Corruption: in {} offset 7", kPath),
      base::Error(absl::StatusCode::kInternal, "state: walk: IO error: While pread {}", kPath)};
  const std::vector<Read> reads = AllReads();
  for (const Read& each : reads) EXPECT_TRUE(each.read().ok()) << each.name;
  for (const absl::Status& error : errors) {
    error_ = error;
    // Who looks at a state with a tool hears everything.
    store_->ReportDamage(nullptr);
    for (const Read& each : reads) EXPECT_EQ(each.read(), error) << each.name;
    Report();
    for (const Read& each : reads) {
      SCOPED_TRACE(each.name);
      reported_.clear();
      const absl::Status told = each.read();
      EXPECT_EQ(told.code(), error.code());
      EXPECT_THAT(std::string(base::Message(told)), Not(HasSubstr("/")));
      EXPECT_THAT(std::string(base::Message(told)), HasSubstr("this member stops"));
      EXPECT_THAT(reported_, ElementsAre(error));
    }
  }
}

// For want of room, say; the state is as good as it was.
TEST_F(DamageTest, ACopyThatCannotBeMadeIsNoDamageUnlessItIs) {
  Report();
  error_ = absl::InternalError("state: checkpoint: IO error: No space left on device");
  EXPECT_EQ(store_->Checkpoint("copy").status(), error_);
  EXPECT_THAT(reported_, IsEmpty());
  error_ = base::Error(absl::StatusCode::kDataLoss, "state: checkpoint: {}", kPath);
  EXPECT_TRUE(absl::IsDataLoss(store_->Checkpoint("copy").status()));
  EXPECT_THAT(reported_, ElementsAre(error_));
}

TEST_F(DamageTest, WhatTheCallerDidIsNotReported) {
  Report();
  EXPECT_TRUE(IsCompacted(Get("a", Revision(2))));
  EXPECT_TRUE(IsFutureRevision(Get("a", Revision(6))));
  EXPECT_TRUE(IsCompacted(
      store_->ReadEvents({.first = Revision(1), .last = Revision(5)}, [](const Event&) {})
          .status()));
  EXPECT_TRUE(IsFutureRevision(store_->HashKv(Revision(9)).status()));
  EXPECT_TRUE(Get("none", kCurrent).ok());
  Batch batch = store_->BeginBatch();
  WriteTxn txn = batch.BeginTxn();
  for (int i = 0; i < 1000; ++i) {
    CheckOk(txn.Put(std::to_string(i), "value", LeaseId(0)).status());
  }
  txn.Commit();
  CheckOk(batch.Commit({Index(++txn_count_), Term(1)}));
  const auto stop = [] { return true; };
  EXPECT_TRUE(absl::IsCancelled(store_->Count(KeyRange::All(), kCurrent, stop).status()));
  EXPECT_TRUE(absl::IsCancelled(store_->Hash(stop).status()));
  EXPECT_THAT(reported_, IsEmpty());
}

// Rows that contradict each other, though the files check out.
TEST_F(DamageTest, RowsThatAreMissingOrUnreadableAreDamage) {
  Report();
  const std::unique_ptr<RowBatch> batch = backend_->NewBatch();
  batch->SingleDelete(Family::kRevisions, RevisionKey({Revision(3), 0}).view());
  batch->Put(Family::kKeys, "b", "\xff\xff");
  CheckOk(backend_->Write(*batch));
  const auto is_reported = [this](const absl::Status& told, std::string_view what) {
    EXPECT_TRUE(absl::IsDataLoss(told)) << told;
    ASSERT_EQ(reported_.size(), 1u);
    EXPECT_THAT(std::string(base::Message(reported_.front())), HasSubstr(std::string(what)));
    reported_.clear();
  };
  is_reported(Get("a", Revision(3)), "a row that a read at revision 3 needs is missing");
  std::string previous;
  is_reported(
      store_->ReadPrevious(ChangeKind::kUpdate, {Revision(5), 0}, {Revision(3), 0}, previous)
          .status(),
      "a row that a read at revision 4 needs is missing");
  is_reported(Get("b", kCurrent), "the row of key \"b\" is unreadable");
  // Of a side row the server says so.
  is_reported(store_->Damaged(absl::DataLossError("state: a row of a lease is unreadable")),
              "a row of a lease");
}

}  // namespace
}  // namespace cairn::mvcc
