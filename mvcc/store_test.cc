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
#include "mvcc/mem_backend.h"
#include "mvcc/rocks_backend.h"

namespace cairn::mvcc {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr StoreIdentity kIdentity = {ClusterId(0xc1), MemberId(0xa1)};

std::unique_ptr<Store> OpenStore(std::unique_ptr<Backend> backend) {
  auto store = Store::Open(std::move(backend), {.identity = kIdentity});
  EXPECT_TRUE(store.ok()) << store.status();
  return *std::move(store);
}

// "key=value@create.mod.version:lease"
std::string Text(const KeyValueView& kv) {
  return fmt::format("{}={}@{}.{}.{}:{}", kv.key, kv.value, kv.create_revision, kv.mod_revision,
                     kv.version, kv.lease);
}

// A store on a disk in memory, with a mini-language for histories.
class StoreTest : public ::testing::Test {
 protected:
  StoreTest() : store_(OpenStore(disk_.Open())) {}

  void Restart() {
    store_.reset();
    store_ = OpenStore(disk_.Open());
  }
  void Crash(size_t kept) {
    disk_.Crash(kept);
    Restart();
  }

  EntryApplied Next() { return {Index(++index_), Term(1)}; }

  // One transaction in its own batch.
  template <typename Work>
  void Txn(const Work& work) {
    Batch batch = store_->BeginBatch();
    WriteTxn txn = batch.BeginTxn();
    work(txn);
    txn.Commit();
    ASSERT_TRUE(batch.Commit(Next()).ok());
  }
  void Put(std::string_view key, std::string_view value, LeaseId lease = LeaseId(0)) {
    Txn([&](WriteTxn& txn) { ASSERT_TRUE(txn.Put(key, value, lease).ok()); });
  }
  void Delete(std::string_view key) {
    Txn([&](WriteTxn& txn) { ASSERT_TRUE(txn.Delete(key).ok()); });
  }
  absl::Status Compact(int64_t revision) {
    Batch batch = store_->BeginBatch();
    CAIRN_RETURN_IF_ERROR(batch.SetCompactWatermark(Revision(revision)));
    return batch.Commit(Next());
  }
  // Runs removal to its end in steps of `rows_max`; returns the number of steps.
  int Remove(int rows_max) {
    for (int steps = 0;; ++steps) {
      const auto step = store_->FindRemovalStep(rows_max);
      EXPECT_TRUE(step.ok()) << step.status();
      if (step->empty()) return steps;
      Batch batch = store_->BeginBatch();
      const auto applied = batch.ApplyRemoval(*step);
      EXPECT_TRUE(applied.ok() && *applied);
      EXPECT_TRUE(batch.Commit(Next()).ok());
    }
  }

  std::string Get(std::string_view key, int64_t at = 0) {
    std::string text = "none";
    const auto point = store_->Get(key, Revision(at), [&](const KeyValueView& kv) {
      text = Text(kv);
      return true;
    });
    return point.ok() ? text : std::string(base::Message(point.status()));
  }
  std::vector<std::string> Scan(KeyRange range, int64_t at = 0, Values values = Values::kFetch) {
    std::vector<std::string> texts;
    const auto result = store_->Scan(
        {.range = range, .at = Revision(at), .values = values},
        [&](const KeyValueView& kv) {
          texts.push_back(Text(kv));
          return true;
        },
        [&] { texts.clear(); });
    EXPECT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->count, static_cast<int64_t>(texts.size()));
    return texts;
  }

  MemDisk disk_;
  uint64_t index_ = 0;
  std::unique_ptr<Store> store_;
};

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

}  // namespace
}  // namespace cairn::mvcc
