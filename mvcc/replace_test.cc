// Copies of a state, taking another member's over, and putting it in place under readers.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <latch>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/status.h"
#include "mvcc/mem_backend.h"
#include "mvcc/rocks_backend.h"
#include "mvcc/schema.h"
#include "mvcc/store.h"

namespace cairn::mvcc {
namespace {

constexpr StoreIdentity kLeader = {ClusterId(0xc1), MemberId(0xa1)};
constexpr StoreIdentity kFollower = {ClusterId(0xc1), MemberId(0xa2)};

void CheckOk(const absl::Status& status) { CAIRN_CHECK(status.ok(), status.ToString()); }

// The entry at `index` of a history that every member applies alike: an amount moves between two of
// eight keys, now and then a pair is deleted, and every tenth entry compacts.
void ApplyEntry(Store& store, uint64_t index) {
  Batch batch = store.BeginBatch();
  const std::string pair = std::to_string(index % 8);
  WriteTxn txn = batch.BeginTxn();
  if (index % 5 == 0) {
    CheckOk(txn.Delete("credit" + pair).status());
    CheckOk(txn.Delete("debit" + pair).status());
  } else {
    CheckOk(txn.Put("credit" + pair, std::to_string(index), LeaseId(0)).status());
    CheckOk(txn.Put("debit" + pair, "-" + std::to_string(index), LeaseId(0)).status());
  }
  txn.Commit();
  if (index % 10 == 0) CheckOk(batch.SetCompactWatermark(batch.current().revision));
  batch.PutMeta("c/test", std::to_string(index));
  CheckOk(batch.Commit({Index(index), Term(1)}));
}

void ApplyThrough(Store& store, uint64_t last) {
  while (store.applied().index < Index(last)) ApplyEntry(store, store.applied().index.value() + 1);
}

std::unique_ptr<Store> OpenStore(std::unique_ptr<Backend> backend, StoreIdentity identity) {
  auto store = Store::Open(std::move(backend), {.identity = identity});
  CheckOk(store.status());
  return *std::move(store);
}

std::unique_ptr<Store> AdoptStore(std::unique_ptr<Backend> backend, StoreIdentity identity) {
  auto store = Store::Adopt(std::move(backend), {.identity = identity});
  CheckOk(store.status());
  CheckOk((*store)->Flush().status());
  return *std::move(store);
}

// The sum of all values, which is zero at every revision. `at_row` is called at each row.
absl::StatusOr<int64_t> Sum(
    const Store& store, Revision at, absl::FunctionRef<void()> at_row = [] {}) {
  int64_t sum = 0;
  const auto visit = [&](const KeyValueView& kv) {
    at_row();
    sum += std::stoll(std::string(kv.value));
    return true;
  };
  CAIRN_RETURN_IF_ERROR(
      store.Scan({.range = KeyRange::All(), .at = at}, visit, [&] { sum = 0; }).status());
  return sum;
}

// One on memory, one on RocksDB.
class CheckpointTest : public ::testing::TestWithParam<bool> {
 protected:
  CheckpointTest() {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  ~CheckpointTest() override { std::filesystem::remove_all(directory_); }

  std::string Path(const std::string& name) const { return directory_ + "/" + name; }

  std::unique_ptr<Backend> OpenBackend(const std::string& name) {
    if (!GetParam()) return disk_.Open(Path(name));
    auto backend = OpenRocksBackend({.directory = Path(name), .memory = memory_});
    CheckOk(backend.status());
    return *std::move(backend);
  }

  const std::string directory_ = ::testing::TempDir() + "/checkpoint_test";
  MemDisk disk_;
  const std::shared_ptr<RocksMemory> memory_ = MakeRocksMemory(kMemoryLimitBytesMin);
};

TEST_P(CheckpointTest, IsAStateOfItsOwnWithAllThatWasCommitted) {
  const auto store = OpenStore(OpenBackend("1"), kLeader);
  ApplyThrough(*store, 42);
  const auto hash = store->HashKv(kCurrent);
  const auto held = store->Checkpoint(Path("copy"));
  ASSERT_TRUE(held.ok()) << held.status();
  EXPECT_EQ(held->index, Index(42));
  EXPECT_EQ(store->durable_applied().index, Index(42));
  ApplyThrough(*store, 77);

  const auto copy = OpenStore(OpenBackend("copy"), kLeader);
  EXPECT_EQ(copy->applied().index, Index(42));
  EXPECT_EQ(copy->HashKv(kCurrent)->hash, hash->hash);
  ApplyThrough(*copy, 77);
  EXPECT_EQ(copy->HashKv(kCurrent)->hash, store->HashKv(kCurrent)->hash);
  EXPECT_FALSE(store->Checkpoint(Path("copy")).ok()) << "something is there";
}

TEST_P(CheckpointTest, BecomesThisMembersOnlyWithinTheCluster) {
  {
    const auto store = OpenStore(OpenBackend("1"), kLeader);
    ApplyThrough(*store, 12);
    ASSERT_TRUE(store->Checkpoint(Path("copy")).ok());
  }
  const auto foreign =
      Store::Adopt(OpenBackend("copy"), {.identity = {ClusterId(0xc2), MemberId(0xa2)}});
  EXPECT_TRUE(absl::IsFailedPrecondition(foreign.status())) << foreign.status();
  EXPECT_NE(base::Message(foreign.status()).find("cluster c1"), std::string_view::npos);
  const auto empty = Store::Adopt(OpenBackend("empty"), {.identity = kFollower});
  EXPECT_TRUE(absl::IsDataLoss(empty.status())) << empty.status();

  ASSERT_EQ(AdoptStore(OpenBackend("copy"), kFollower)->applied().index, Index(12));
  EXPECT_EQ(OpenStore(OpenBackend("copy"), kFollower)->applied().index, Index(12));
  EXPECT_FALSE(Store::Open(OpenBackend("copy"), {.identity = kLeader}).ok());
}

TEST_P(CheckpointTest, OfANewerFormatIsRefused) {
  {
    const auto backend = OpenBackend("1");
    const auto rows = backend->NewBatch();
    rows->Put(Family::kMeta, kFormatKey, EncodeFormatRow({.version = kFormatVersion + 1}));
    CheckOk(backend->Write(*rows));
    CheckOk(backend->Checkpoint(Path("copy")));
  }
  const auto newer = Store::Adopt(OpenBackend("copy"), {.identity = kFollower});
  EXPECT_TRUE(absl::IsFailedPrecondition(newer.status()));
  EXPECT_NE(base::Message(newer.status()).find("format 2"), std::string_view::npos)
      << newer.status();
}

INSTANTIATE_TEST_SUITE_P(Backends, CheckpointTest, ::testing::Bool(),
                         [](const auto& on) { return on.param ? "Rocks" : "Memory"; });

// Whatever file of a checkpoint is missing: an error, never an empty state that begins anew.
TEST(Checkpoint, WithoutOneOfItsFilesItIsRefused) {
  const std::string directory = ::testing::TempDir() + "/half_checkpoint";
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  const auto open = [&](const std::string& name) {
    return OpenRocksBackend(
        {.directory = directory + "/" + name, .memory_limit_bytes = kMemoryLimitBytesMin});
  };
  {
    auto backend = open("1");
    CheckOk(backend.status());
    const auto store = OpenStore(*std::move(backend), kLeader);
    ApplyThrough(*store, 30);
    CheckOk(store->Checkpoint(directory + "/copy").status());
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(directory + "/copy")) {
    files.push_back(entry.path().filename());
  }
  ASSERT_GE(files.size(), 5U);
  for (const std::filesystem::path& file : files) {
    if (file.string().starts_with("OPTIONS")) continue;  // RocksDB's notes to itself.
    SCOPED_TRACE(file);
    std::filesystem::remove_all(directory + "/half");
    std::filesystem::copy(directory + "/copy", directory + "/half");
    std::filesystem::remove(directory + "/half/" + file.string());
    absl::Status status;
    if (auto backend = open("half"); backend.ok()) {
      status = Store::Adopt(*std::move(backend), {.identity = kFollower}).status();
    } else {
      status = backend.status();
    }
    EXPECT_FALSE(status.ok());
  }
  std::filesystem::remove_all(directory);
}

class ReplaceTest : public ::testing::Test {
 protected:
  ReplaceTest() : store_(OpenStore(disk_.Open(), kFollower)) {
    ApplyThrough(*store_, 13);
    ahead_ = OpenStore(disk_.Open("ahead"), kLeader);
  }

  // A state of the same history through `index`, ready to take the place of store_.
  std::unique_ptr<Store> Fresh(uint64_t index) {
    ApplyThrough(*ahead_, index);
    const std::string path = "fresh" + std::to_string(index);
    CheckOk(ahead_->Checkpoint(path).status());
    return AdoptStore(disk_.Open(path), kFollower);
  }

  MemDisk disk_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Store> ahead_;
};

TEST_F(ReplaceTest, ReadsAndWritesGoOnAtTheNewState) {
  store_->Replace(Fresh(36));
  store_->CloseReplaced();
  EXPECT_EQ(store_->applied().index, Index(36));
  EXPECT_EQ(store_->durable_applied().index, Index(36));
  EXPECT_EQ(store_->published(), ahead_->published());
  EXPECT_EQ(store_->HashKv(kCurrent)->hash, ahead_->HashKv(kCurrent)->hash);
  std::string row;
  ASSERT_TRUE(*store_->GetMeta("c/test", row));
  EXPECT_EQ(row, "36");
  ApplyThrough(*store_, 55);
  ApplyThrough(*ahead_, 55);
  EXPECT_EQ(store_->HashKv(kCurrent)->hash, ahead_->HashKv(kCurrent)->hash);
}

TEST_F(ReplaceTest, AReadUnderWayEndsOnTheOldState) {
  auto fresh = Fresh(14);  // Compacts nothing that the old state did not.
  const Revision before = store_->published().revision;
  std::thread closer;
  const absl::StatusOr<int64_t> sum = Sum(*store_, before, [&] {
    if (fresh == nullptr) return;
    store_->Replace(std::move(fresh));
    closer = std::thread([&] { store_->CloseReplaced(); });
  });
  closer.join();
  ASSERT_TRUE(sum.ok()) << sum.status();
  EXPECT_EQ(*sum, 0);
  EXPECT_GT(store_->published().revision, before);
}

TEST_F(ReplaceTest, WhatTheNewStateHasCompactedIsNotGivenAnyMore) {
  const Revision before = store_->published().revision;
  auto fresh = Fresh(36);
  EXPECT_TRUE(absl::IsOutOfRange(Sum(*store_, before, [&] {
                                   if (fresh != nullptr) store_->Replace(std::move(fresh));
                                 }).status()));
  fresh = Fresh(56);
  const Revision first = store_->published().watermark;
  const auto through =
      store_->ReadEvents({.first = first, .last = store_->published().revision}, [&](const Event&) {
        if (fresh != nullptr) store_->Replace(std::move(fresh));
      });
  EXPECT_TRUE(absl::IsOutOfRange(through.status())) << through.status();
  // At the present it starts again.
  fresh = Fresh(76);
  const absl::StatusOr<int64_t> sum = Sum(*store_, kCurrent, [&] {
    if (fresh != nullptr) store_->Replace(std::move(fresh));
  });
  EXPECT_EQ(sum.value_or(-1), 0) << sum.status();
  store_->CloseReplaced();
}

// A removal step found on the old state is either stale on the new one or right there too.
TEST_F(ReplaceTest, AStepOfRemovalFromTheOldStateDoesNoHarm) {
  auto step = store_->FindRemovalStep(4);
  ASSERT_TRUE(step.ok());
  ASSERT_FALSE(step->empty());
  store_->Replace(Fresh(36));
  {
    Batch batch = store_->BeginBatch();
    ASSERT_TRUE(batch.ApplyRemoval(*step).ok());
    CheckOk(batch.Commit(store_->applied()));
  }
  EXPECT_EQ(store_->HashKv(kCurrent)->hash, ahead_->HashKv(kCurrent)->hash);
  for (step = store_->FindRemovalStep(4); !step->empty(); step = store_->FindRemovalStep(4)) {
    Batch batch = store_->BeginBatch();
    ASSERT_TRUE(*batch.ApplyRemoval(*step));
    CheckOk(batch.Commit(store_->applied()));
  }
  EXPECT_EQ(store_->HashKv(kCurrent)->hash, ahead_->HashKv(kCurrent)->hash);
}

TEST_F(ReplaceTest, AgainAndAgainUnderReaders) {
  constexpr int kReaders = 4;
  std::atomic<bool> is_done{false};
  std::atomic<int64_t> reads{0};
  std::latch running(kReaders);
  std::vector<std::thread> readers;
  for (int i = 0; i < kReaders; ++i) {
    readers.emplace_back([&] {
      Revision last;
      running.count_down();
      while (!is_done) {
        const Revision at = store_->published().revision;
        EXPECT_GE(at, last);
        last = at;
        EXPECT_EQ(Sum(*store_, kCurrent).value_or(-1), 0);
        const absl::StatusOr<int64_t> old = Sum(*store_, at);
        EXPECT_TRUE(old.ok() ? *old == 0 : absl::IsOutOfRange(old.status())) << old.status();
        EXPECT_TRUE(store_->HashKv(kCurrent).ok());
        EXPECT_TRUE(store_->Flush().ok());
        ++reads;
      }
    });
  }
  running.wait();
  for (uint64_t index = 20; index < 600; index += 7) {
    store_->Replace(Fresh(index));
    store_->CloseReplaced();
    ApplyThrough(*store_, index + 3);
  }
  is_done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_GT(reads, 0);
}

}  // namespace
}  // namespace cairn::mvcc
