// HashKV against values that etcd 3.7.3 gave for the same operations.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "mvcc/history.h"
#include "mvcc/mem_backend.h"
#include "mvcc/removal_turns.h"
#include "mvcc/store_fixture.h"

namespace cairn::mvcc {
namespace {

class HashTest : public StoreTest {
 protected:
  // One step of removal; false at the end.
  bool RemoveSome() {
    const auto step = store_->FindRemovalStep(1);
    EXPECT_TRUE(step.ok());
    if (step->empty()) return false;
    Batch batch = store_->BeginBatch();
    EXPECT_TRUE(*batch.ApplyRemoval(*step));
    EXPECT_TRUE(batch.Commit(Next()).ok());
    return true;
  }

  uint32_t Hash(int64_t at = 0) {
    const auto result = store_->HashKv(Revision(at));
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? result->hash : 0;
  }
};

TEST_F(HashTest, EqualsEtcdsValueThroughoutAHistoryHoweverFarRemovalHasCome) {
  EXPECT_EQ(Hash(), 1084519789u);
  Put("a", "1");  // 2
  Put("b", "1");  // 3
  Put("a", "2");  // 4
  Delete("b");    // 5
  Put("b", "3");  // 6
  EXPECT_EQ(Hash(), 2634762251u);
  EXPECT_EQ(Hash(4), 3086679940u);
  Txn([](WriteTxn& txn) {  // 7
    ASSERT_TRUE(txn.Put("c", "x", LeaseId(0)).ok());
    ASSERT_TRUE(txn.Put("d", "y", LeaseId(0)).ok());
    ASSERT_TRUE(*txn.Delete("a"));
  });
  EXPECT_EQ(Hash(), 2011014565u);
  ASSERT_TRUE(Compact(5).ok());
  do {
    EXPECT_EQ(Hash(), 3673008953u);
    EXPECT_EQ(Hash(6), 3051472u);
  } while (RemoveSome());
  ASSERT_TRUE(Compact(6).ok());
  do {
    EXPECT_EQ(Hash(7), 3673008953u);
  } while (RemoveSome());
  Txn([](WriteTxn& txn) { ASSERT_EQ(*txn.DeleteRange(KeyRange::All()), 3); });  // 8
  EXPECT_EQ(Hash(), 547651659u);
  Put("z", "1");  // 9
  Delete("z");    // 10
  ASSERT_TRUE(Compact(9).ok());
  // Nothing lives: what the finished compaction keeps counts.
  do {
    EXPECT_EQ(Hash(), 3794292878u);
    EXPECT_EQ(Hash(10), 3794292878u);
  } while (RemoveSome());
  Put("q", "1");  // 11
  EXPECT_EQ(Hash(), 708117097u);
}

// Threads that hash one after the other, so that some hash is always under way.
TEST_F(HashTest, HashesInALoopLeaveRemovalItsTurn) {
  for (int i = 0; i < 2000; ++i) Put("k", std::to_string(i));
  ASSERT_TRUE(Compact(2001).ok());
  std::atomic<bool> is_done = false;
  std::vector<std::thread> hashers;
  for (int i = 0; i < 2; ++i) {
    hashers.emplace_back([&] {
      while (!is_done) EXPECT_TRUE(store_->HashKv(kCurrent).ok());
    });
  }
  while (store_->removed_through() < Revision(2001)) {
    const auto step = store_->FindRemovalStep(100);
    ASSERT_TRUE(step.ok());
    if (step->empty()) {
      std::this_thread::yield();
      continue;
    }
    Batch batch = store_->BeginBatch();
    ASSERT_TRUE(batch.ApplyRemoval(*step).ok());
    EXPECT_TRUE(batch.Commit(Next()).ok());
  }
  is_done = true;
  for (std::thread& hasher : hashers) hasher.join();
}

TEST(RemovalTurnsTest, AWaitingRemovalGoesBeforeTheNextHold) {
  RemovalTurns turns;
  EXPECT_TRUE(turns.Ask());
  auto first = std::make_unique<RemovalTurns::Hold>(turns);
  auto second = std::make_unique<RemovalTurns::Hold>(turns);
  EXPECT_FALSE(turns.Ask());
  std::atomic<bool> has_third = false;
  std::thread third([&] {
    const RemovalTurns::Hold hold(turns);
    has_third = true;
  });
  first.reset();
  EXPECT_FALSE(turns.Ask());
  EXPECT_FALSE(has_third);
  second.reset();
  turns.Finish();
  third.join();
  EXPECT_TRUE(has_third);
  EXPECT_TRUE(turns.Ask());
  // A removal that does not come back for its turn holds up nobody for ever.
  auto fourth = std::make_unique<RemovalTurns::Hold>(turns);
  EXPECT_FALSE(turns.Ask());
  fourth.reset();
  const RemovalTurns::Hold fifth(turns);
}

TEST_F(HashTest, AnswersWithWhatItStoodAt) {
  Put("a", "1");
  Put("a", "2");
  ASSERT_TRUE(Compact(2).ok());
  const auto result = store_->HashKv(Revision(3));
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->compact_revision, Revision(2));
  EXPECT_EQ(result->hash_revision, Revision(3));
  EXPECT_EQ(result->current, Revision(3));
  EXPECT_TRUE(IsCompacted(store_->HashKv(Revision(1)).status()));
  EXPECT_TRUE(IsFutureRevision(store_->HashKv(Revision(4)).status()));
}

TEST_F(HashTest, WindowsOfAnySizeGiveOneValue) {
  for (int round = 0; round < 5; ++round) {
    for (const char* key : {"a", "b", "c", "d", "e"}) Put(key, std::to_string(round));
    Delete("b");
  }
  ASSERT_TRUE(Compact(20).ok());
  ASSERT_TRUE(store_->Flush().ok());
  store_.reset();
  const auto backend = disk_.Open();
  HashKvRange range = {.at = Revision(30), .watermark = Revision(20), .any_live = true};
  const auto whole = HashHistory(*backend, range);
  ASSERT_TRUE(whole.ok());
  for (const size_t window_rows : {2, 3, 4, 7}) {
    range.window_rows = window_rows;
    EXPECT_EQ(*HashHistory(*backend, range), *whole) << window_rows;
  }
}

TEST_F(HashTest, EndsWhereverItIsToldTo) {
  for (int i = 0; i < 4 * kRowsBetweenLooks; ++i) Put(std::to_string(i % 1000), "value");
  ASSERT_TRUE(Compact(2 * kRowsBetweenLooks).ok());
  int looks = 0;
  const auto count = [&looks] {
    ++looks;
    return false;
  };
  const auto whole = store_->HashKv(kCurrent, LiveKeys::kHash, count);
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(whole->hash, Hash());
  EXPECT_GT(looks, 4);
  for (int last = 1; last <= looks; ++last) {
    int left = last;
    const auto stopped = store_->HashKv(kCurrent, LiveKeys::kHash, [&left] { return --left == 0; });
    EXPECT_TRUE(absl::IsCancelled(stopped.status())) << stopped.status();
    EXPECT_EQ(left, 0);
  }
  EXPECT_EQ(whole->hash, Hash());
}

TEST_F(HashTest, OfWhatLivesIsTheSameWhateverHasHappenedSince) {
  const std::string large(5000, 'x');
  Put("a", "1");
  Put("b", large);
  Put("c", "1");
  Delete("c");
  Put("d", "1");
  const auto live_hash = [this](int64_t at) {
    const auto result = store_->HashKv(Revision(at), LiveKeys::kHash);
    EXPECT_TRUE(result.ok()) << result.status();
    return result->live_hash;
  };
  const uint32_t before = live_hash(6);
  EXPECT_NE(live_hash(5), before);
  EXPECT_EQ(store_->HashKv(Revision(6))->live_hash, 0U);
  Put("a", "2");
  Delete("b");
  Put("c", "2");
  EXPECT_NE(live_hash(9), before);
  EXPECT_EQ(live_hash(6), before);
  ASSERT_TRUE(Compact(6).ok());
  do {
    EXPECT_EQ(live_hash(6), before);
  } while (RemoveSome());
  EXPECT_EQ(live_hash(6), before);
}

TEST_F(HashTest, OfWhatLivesSeesARowOfTheLatestValuesThatHistoryDoesNot) {
  Put("a", "1");
  Put("b", "1");
  const auto before = store_->HashKv(kCurrent, LiveKeys::kHash);
  ASSERT_TRUE(before.ok());
  ASSERT_TRUE(store_->Flush().ok());
  store_.reset();
  auto backend = disk_.Open();
  std::string row;
  ASSERT_TRUE(*backend->Get(Family::kKeys, "b", [&row](std::string_view bytes) { row = bytes; }));
  row.at(row.rfind('1')) = '2';
  const auto batch = backend->NewBatch();
  batch->Put(Family::kKeys, "b", row);
  ASSERT_TRUE(backend->Write(*batch).ok());
  store_ = OpenStore(std::move(backend));
  const auto after = store_->HashKv(kCurrent, LiveKeys::kHash);
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(after->hash, before->hash);
  EXPECT_NE(after->live_hash, before->live_hash);
}

TEST_F(HashTest, OfTheWholeContentIsThatOfWhatLives) {
  Put("a", "1");
  const uint32_t before = *store_->Hash();
  Put("b", "1");
  EXPECT_NE(*store_->Hash(), before);
  const uint32_t after = *store_->Hash();
  ASSERT_TRUE(Compact(3).ok());
  while (RemoveSome()) {
  }
  EXPECT_EQ(*store_->Hash(), after);
}

}  // namespace
}  // namespace cairn::mvcc
