// Readers, a writer and removal at once: every answer is one that a single moment could have given.
//
// The writer keeps the sum of all values at zero in every revision, by moving amounts between keys
// and by deleting and creating pairs. Any read at any revision must find that sum. Under the thread
// sanitizer this also proves the absence of races in our own code (the backend in memory is ours
// too).
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "mvcc/mem_backend.h"
#include "mvcc/store.h"

namespace cairn::mvcc {
namespace {

constexpr int kBatches = 400;
constexpr int kReaders = 3;
constexpr int kPairs = 8;

std::string Debit(uint64_t pair) { return "debit" + std::to_string(pair); }
std::string Credit(uint64_t pair) { return "credit" + std::to_string(pair); }

class Contest {
 public:
  Contest() {
    auto store =
        Store::Open(disk_.Open(), {.identity = {.cluster = ClusterId(1), .member = MemberId(1)}});
    CAIRN_CHECK(store.ok());
    store_ = *std::move(store);
  }

  void Run() {
    std::vector<std::thread> threads;
    for (int i = 0; i < kReaders; ++i) threads.emplace_back([this, i] { Read(i); });
    threads.emplace_back([this] { Hash(); });
    // A writer that is done before the readers have begun shows nothing.
    running_.wait();
    Write();
    is_done_ = true;
    for (std::thread& thread : threads) thread.join();
    EXPECT_GT(reads_, 0);
  }

 private:
  void Write() {
    std::mt19937_64 random(1);
    uint64_t index = 0;
    RemovalStep step;
    for (int round = 1; round <= kBatches; ++round) {
      Batch batch = store_->BeginBatch();
      for (int i = 0; i < 3; ++i) {
        WriteTxn txn = batch.BeginTxn();
        const uint64_t pair = random() % kPairs;
        if (random() % 4 == 0) {
          EXPECT_TRUE(txn.Delete(Debit(pair)).ok());
          EXPECT_TRUE(txn.Delete(Credit(pair)).ok());
        } else {
          const std::string amount = std::to_string(random() % 1000);
          EXPECT_TRUE(txn.Put(Debit(pair), "-" + amount, LeaseId(0)).ok());
          EXPECT_TRUE(txn.Put(Credit(pair), amount, LeaseId(0)).ok());
        }
        txn.Commit();
      }
      if (round % 10 == 0) {
        EXPECT_TRUE(batch.SetCompactWatermark(batch.current().revision - 5).ok());
      }
      // The step found in the round before, which by now may be refused: a hash is reading.
      CAIRN_CHECK(batch.ApplyRemoval(step).ok());
      CAIRN_CHECK(batch.Commit({Index(++index), Term(1)}).ok());
      auto found = store_->FindRemovalStep(7);
      CAIRN_CHECK(found.ok());
      step = *std::move(found);
    }
  }

  void Read(int reader) {
    std::mt19937_64 random(static_cast<uint64_t>(reader));
    Revision newest;
    running_.count_down();
    do {
      const Published seen = store_->published();
      EXPECT_GE(seen.revision, newest);
      newest = seen.revision;
      const bool is_current = random() % 2 == 0;
      const Revision at =
          is_current ? kCurrent : seen.revision - static_cast<int64_t>(random() % 8);
      int64_t sum = 0;
      const auto result = store_->Scan(
          {.range = KeyRange::All(), .at = at},
          [&](const KeyValueView& kv) {
            sum += std::stoll(std::string(kv.value));
            return true;
          },
          [&sum] { sum = 0; });
      if (result.ok()) {
        EXPECT_EQ(sum, 0);
        EXPECT_GE(result->point.current, seen.revision);
      } else {
        EXPECT_FALSE(is_current) << result.status();
        EXPECT_TRUE(IsCompacted(result.status())) << result.status();
      }
      const auto point =
          store_->Get(Debit(random() % kPairs), kCurrent, [](const KeyValueView&) { return true; });
      EXPECT_TRUE(point.ok()) << point.status();
      ++reads_;
    } while (!is_done_);
  }

  void Hash() {
    running_.count_down();
    while (!is_done_) {
      const auto first = store_->HashKv(kCurrent);
      EXPECT_TRUE(first.ok()) << first.status();
      if (!first.ok()) return;
      const auto again = store_->HashKv(first->hash_revision);
      // The same revision under the same watermark has the same value, whatever came between.
      if (again.ok() && again->compact_revision == first->compact_revision) {
        EXPECT_EQ(again->hash, first->hash);
      }
    }
  }

  MemDisk disk_;
  std::unique_ptr<Store> store_;
  std::latch running_{kReaders + 1};
  std::atomic<bool> is_done_{false};
  std::atomic<int64_t> reads_{0};
};

TEST(Concurrency, EveryReadSeesOneMoment) { Contest().Run(); }

}  // namespace
}  // namespace cairn::mvcc
