// A store in memory with a mini-language for histories.
//
// Test only.
#ifndef CAIRN_MVCC_STORE_FIXTURE_H_
#define CAIRN_MVCC_STORE_FIXTURE_H_

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "mvcc/key_value.h"
#include "mvcc/mem_backend.h"
#include "mvcc/store.h"

namespace cairn::mvcc {

inline constexpr StoreIdentity kIdentity = {ClusterId(0xc1), MemberId(0xa1)};

inline std::unique_ptr<Store> OpenStore(std::unique_ptr<Backend> backend) {
  auto store = Store::Open(std::move(backend), {.identity = kIdentity});
  EXPECT_TRUE(store.ok()) << store.status();
  return *std::move(store);
}

// "key=value@create.mod.version:lease"
inline std::string Text(const KeyValueView& kv) {
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

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_STORE_FIXTURE_H_
