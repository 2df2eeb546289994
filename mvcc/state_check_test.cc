#include "mvcc/state_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/status.h"
#include "mvcc/key_value.h"
#include "mvcc/mem_backend.h"
#include "mvcc/rocks_archive.h"
#include "mvcc/rocks_backend.h"
#include "mvcc/schema.h"
#include "mvcc/store.h"

namespace cairn::mvcc {
namespace {

using testing::HasSubstr;

constexpr StoreIdentity kOwn = {ClusterId(0xc1), MemberId(0xa1)};
constexpr StoreIdentity kNew = {ClusterId(0xc2), MemberId(0xa9)};

void CheckOk(const absl::Status& status) { CAIRN_CHECK(status.ok(), status.ToString()); }
bool GoOn() { return false; }

void ApplyEntry(Store& store, uint64_t index) {
  Batch batch = store.BeginBatch();
  WriteTxn txn = batch.BeginTxn();
  const std::string key = "key" + std::to_string(index % 12);
  if (index % 7 == 0) {
    CheckOk(txn.Delete(key).status());
  } else {
    CheckOk(txn.Put(key, std::string(index % 5 == 0 ? 5000 : 20, 'v'), LeaseId(0)).status());
  }
  txn.Commit();
  batch.PutMeta("c/test", std::to_string(index));
  if (index == 50) CheckOk(batch.SetCompactWatermark(Revision(30)));
  CheckOk(batch.Commit({Index(index), Term(2)}));
}

// At most `rows_max` rows of what a compaction left; false when there is nothing.
bool RemoveSome(Store& store, int rows_max) {
  const auto step = store.FindRemovalStep(rows_max);
  CheckOk(step.status());
  if (step->empty()) return false;
  Batch batch = store.BeginBatch();
  CAIRN_CHECK(*batch.ApplyRemoval(*step));
  CheckOk(batch.Commit(store.applied()));
  return true;
}

// Keys with several versions, large and small, deleted ones, and a compaction half done.
void Fill(Store& store) {
  for (uint64_t index = 1; index <= 60; ++index) {
    ApplyEntry(store, index);
    if (index >= 58) CAIRN_CHECK(RemoveSome(store, 5));
  }
  CheckOk(store.Flush().status());
}

// A row of history that creates a key which has no row in `keys`.
std::string CreationRow(Revision main) {
  std::string row(1, '\x01');
  AppendKeyValue(row, {.key = "z", .create_revision = main, .mod_revision = main, .version = 1});
  return row;
}

class StateCheckTest : public testing::Test {
 protected:
  StateCheckTest() {
    auto store = Store::Open(disk_.Open(), {.identity = kOwn});
    CheckOk(store.status());
    Fill(**store);
    logical_size_bytes_ = (*store)->logical_size_bytes();
    live_ = (*store)->Count(KeyRange::All(), kCurrent)->count;
    published_ = (*store)->published();
    hash_ = (*store)->HashKv(kCurrent)->hash;
  }

  // The verdict on the state with one change.
  absl::Status Verdict(const std::function<void(Backend&, RowBatch&)>& change) {
    MemDisk other;
    other.Copy(disk_, {}, {});
    const std::unique_ptr<Backend> backend = other.Open();
    const std::unique_ptr<RowBatch> batch = backend->NewBatch();
    change(*backend, *batch);
    CheckOk(backend->Write(*batch));
    return CheckState(*backend, GoOn).status();
  }
  static std::string Get(const Backend& backend, Family family, std::string_view key) {
    std::string row;
    CAIRN_CHECK(*backend.Get(family, key, [&](std::string_view found) { row = found; }));
    return row;
  }

  MemDisk disk_;
  int64_t logical_size_bytes_ = 0;
  int64_t live_ = 0;
  Published published_;
  uint32_t hash_ = 0;
};

TEST_F(StateCheckTest, AStateIsRightAtAnyTime) {
  const auto counts = CheckState(*disk_.Open(), GoOn);
  ASSERT_TRUE(counts.ok()) << counts.status();
  EXPECT_EQ(counts->live_keys, live_);
  EXPECT_GT(counts->tombstones, 0);
  EXPECT_GT(counts->history_rows, live_);
  EXPECT_EQ(counts->meta_rows, 3);
  EXPECT_EQ(counts->logical_size_bytes, logical_size_bytes_);
}

TEST_F(StateCheckTest, WhatCannotBeIsFound) {
  const auto found = [&](const std::string& why,
                         const std::function<void(Backend&, RowBatch&)>& change) {
    const absl::Status verdict = Verdict(change);
    EXPECT_TRUE(absl::IsDataLoss(verdict)) << verdict;
    EXPECT_THAT(std::string(verdict.message()), HasSubstr(why));
  };
  const auto last = RevisionKey({published_.revision, 0});
  found("is missing",
        [&](Backend&, RowBatch& batch) { batch.SingleDelete(Family::kRevisions, last.view()); });
  found("rows have", [&](Backend&, RowBatch& batch) {
    const std::string key(RevisionKey({Revision(1), 0}).view());
    batch.Put(Family::kRevisions, key, CreationRow(Revision(1)));
  });
  found("is unreadable", [&](Backend& backend, RowBatch& batch) {
    const std::string row = Get(backend, Family::kKeys, "key3");
    batch.Put(Family::kKeys, "key3", row.substr(0, row.size() / 2));
  });
  found("says something else", [&](Backend& backend, RowBatch& batch) {
    std::string row = Get(backend, Family::kKeys, "key3");
    row[row.find("vvv")] = 'w';
    batch.Put(Family::kKeys, "key3", row);
  });
  found("says something else", [&](Backend& backend, RowBatch& batch) {
    batch.Put(Family::kKeys, "key13", Get(backend, Family::kKeys, "key3"));
  });
  found("no version knows",
        [&](Backend&, RowBatch& batch) { batch.Put(Family::kMeta, "x/unknown", ""); });
  found("rows have", [&](Backend&, RowBatch& batch) { batch.Delete(Family::kKeys, "key3"); });
  found("", [&](Backend&, RowBatch& batch) { batch.Delete(Family::kMeta, kStateKey); });
  found("whose key is none",
        [&](Backend&, RowBatch& batch) { batch.Put(Family::kRevisions, "short", "row"); });
  const auto future = RevisionKey({published_.revision + 5, 0});
  found("but the state is at", [&](Backend&, RowBatch& batch) {
    batch.Put(Family::kRevisions, future.view(), CreationRow(published_.revision + 5));
  });
  EXPECT_TRUE(absl::IsCancelled(CheckState(
                                    *[&] {
                                      auto many = disk_.Open();
                                      auto batch = many->NewBatch();
                                      for (int i = 0; i < 300; ++i) {
                                        batch->Put(Family::kMeta, "c/" + std::to_string(i), "");
                                      }
                                      CheckOk(many->Write(*batch));
                                      return many;
                                    }(),
                                    [] { return true; })
                                    .status()));
}

TEST_F(StateCheckTest, ACopyTellsWhoseItIs) {
  StoreIdentity identity;
  const auto store = Store::Inspect(disk_.Open(), identity);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ(identity.cluster, kOwn.cluster);
  EXPECT_EQ(identity.member, kOwn.member);
  EXPECT_EQ((*store)->HashKv(kCurrent)->hash, hash_);
  MemDisk empty;
  EXPECT_TRUE(absl::IsDataLoss(Store::Inspect(empty.Open(), identity).status()));
}

TEST_F(StateCheckTest, ACopyBecomesAnotherClustersBeginning) {
  RestoreOptions options;
  options.identity = kNew;
  options.term = Term(1);
  options.beyond = Index(3);
  {
    const auto store = Store::Restore(disk_.Open(), options);
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_EQ((*store)->applied(), (EntryApplied{Index(61), Term(1)}));
    EXPECT_EQ((*store)->published(), published_);
    EXPECT_EQ((*store)->HashKv(kCurrent)->hash, hash_);
    CheckOk((*store)->Flush().status());
  }
  const auto store = Store::Open(disk_.Open(), {.identity = kNew});
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ((*store)->applied().index, Index(61));
}

TEST_F(StateCheckTest, RevisionAndWatermarkCanBeRaised) {
  RestoreOptions options;
  options.identity = kNew;
  options.term = Term(1);
  options.beyond = Index(100);
  options.raise_revision_by = 1000;
  options.is_compacted = true;
  {
    const auto store = Store::Restore(disk_.Open(), options);
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_EQ((*store)->applied().index, Index(101));
    const Revision raised = published_.revision + 1000;
    EXPECT_EQ((*store)->published(), (Published{raised, raised}));
    EXPECT_EQ((*store)->Count(KeyRange::All(), kCurrent)->count, live_);
    EXPECT_TRUE(IsCompacted((*store)->Count(KeyRange::All(), published_.revision).status()));
    EXPECT_TRUE((*store)->HashKv(kCurrent).ok());
    // Removal comes to its end, and the next write goes on behind the raised revision.
    while (RemoveSome(**store, 100)) {
    }
    EXPECT_GE((*store)->removed_through(), raised);
    Batch batch = (*store)->BeginBatch();
    WriteTxn txn = batch.BeginTxn();
    CheckOk(txn.Put("key1", "new", LeaseId(0)).status());
    txn.Commit();
    CheckOk(batch.Commit({Index(102), Term(2)}));
    EXPECT_EQ((*store)->published().revision, raised + 1);
    CheckOk((*store)->Flush().status());
  }
  EXPECT_TRUE(CheckState(*disk_.Open(), GoOn).ok());
  options.raise_revision_by = std::numeric_limits<int64_t>::max();
  EXPECT_TRUE(absl::IsInvalidArgument(Store::Restore(disk_.Open(), options).status()));
}

// The files of a state one behind the other in one file.
TEST(RocksArchiveTest, AStateIsReadWhereItLies) {
  const std::string root = testing::TempDir() + "/archive";
  std::filesystem::remove_all(root);
  std::filesystem::create_directories(root);
  uint32_t hash = 0;
  {
    auto backend = OpenRocksBackend({.directory = root + "/state"});
    CheckOk(backend.status());
    auto store = Store::Open(*std::move(backend), {.identity = kOwn});
    CheckOk(store.status());
    Fill(**store);
    hash = (*store)->HashKv(kCurrent)->hash;
    CheckOk((*store)->Checkpoint(root + "/copy").status());
  }
  std::vector<ArchivedFile> files;
  std::string all = "something else first";
  for (const auto& entry : std::filesystem::directory_iterator(root + "/copy")) {
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string content{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    files.push_back({entry.path().filename().string(), all.size(), content.size()});
    all += content + "between";
  }
  const std::string path = root + "/one";
  std::ofstream(path, std::ios::binary) << all;
  {
    auto backend = OpenRocksArchive(path, files);
    ASSERT_TRUE(backend.ok()) << backend.status();
    EXPECT_TRUE(CheckState(**backend, GoOn).ok());
    const std::unique_ptr<RowBatch> batch = (*backend)->NewBatch();
    batch->Put(Family::kMeta, "c/test", "");
    EXPECT_FALSE((*backend)->Write(*batch).ok());
    StoreIdentity identity;
    const auto store = Store::Inspect(*std::move(backend), identity);
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_EQ((*store)->HashKv(kCurrent)->hash, hash);
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(root), {}), 3);
  EXPECT_TRUE(absl::IsNotFound(OpenRocksArchive(root + "/none", files).status()));
  files.pop_back();
  files.pop_back();
  files.pop_back();
  EXPECT_FALSE(OpenRocksArchive(path, files).ok());
}

}  // namespace
}  // namespace cairn::mvcc
