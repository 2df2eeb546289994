#include "lease/expiry_queue.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace cairn::lease {
namespace {

constexpr Milliseconds kBucket = ExpiryQueue::kBucketMs;

LeaseName Name(int64_t id) { return {LeaseId(id), Index(1)}; }

std::vector<int64_t> Pop(ExpiryQueue& queue, Milliseconds now_ms) {
  std::vector<int64_t> ids;
  while (const std::optional<LeaseName> name = queue.PopDue(now_ms)) {
    ids.push_back(name->id.value());
  }
  return ids;
}

TEST(ExpiryQueueTest, ComesUpInOrderAndNeverEarly) {
  ExpiryQueue queue;
  EXPECT_EQ(queue.next_ms(), std::nullopt);
  queue.Add(Name(3), 10 * kBucket);
  queue.Add(Name(1), kBucket);
  queue.Add(Name(2), kBucket);
  EXPECT_EQ(queue.next_ms(), kBucket);
  EXPECT_EQ(Pop(queue, kBucket - 1), (std::vector<int64_t>{}));
  EXPECT_EQ(Pop(queue, kBucket), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(Pop(queue, 10 * kBucket - 1), (std::vector<int64_t>{}));
  EXPECT_EQ(queue.size(), 1u);
  EXPECT_EQ(Pop(queue, 10 * kBucket), (std::vector<int64_t>{3}));
  EXPECT_EQ(queue.size(), 0u);
}

TEST(ExpiryQueueTest, WhatIsPutBackComesFirst) {
  ExpiryQueue queue;
  queue.Add(Name(1), 1);
  queue.Add(Name(2), 1);
  ASSERT_EQ(queue.PopDue(kBucket), Name(1));
  queue.PutBack(Name(1));
  // Also before what is due earlier by its time.
  queue.Add(Name(3), 0);
  EXPECT_EQ(queue.next_ms(), 0);
  EXPECT_EQ(Pop(queue, kBucket), (std::vector<int64_t>{1, 2, 3}));
}

TEST(ExpiryQueueTest, ClearForgetsAlsoWhatIsDue) {
  ExpiryQueue queue;
  for (int id = 1; id <= 3; ++id) queue.Add(Name(id), 1);
  ASSERT_EQ(queue.PopDue(kBucket), Name(1));
  queue.Add(Name(4), 1000);
  queue.Clear();
  EXPECT_EQ(queue.size(), 0u);
  EXPECT_EQ(queue.next_ms(), std::nullopt);
  EXPECT_EQ(Pop(queue, 100'000), (std::vector<int64_t>{}));
}

// Against a list that is searched: each item once, at its time or at most a bucket later.
TEST(ExpiryQueueTest, AgreesWithAList) {
  for (uint32_t seed = 1; seed <= 50; ++seed) {
    std::mt19937 random(seed);
    ExpiryQueue queue;
    std::vector<std::pair<Milliseconds, int64_t>> list;
    Milliseconds now_ms = 0;
    int64_t next_id = 1;
    for (int step = 0; step < 300; ++step) {
      const Milliseconds at_ms = now_ms + random() % 2000;
      queue.Add(Name(next_id), at_ms);
      list.emplace_back(at_ms, next_id++);
      now_ms += random() % 50;
      if (random() % 3 != 0) continue;
      for (const int64_t id : Pop(queue, now_ms)) {
        const auto found = std::find_if(list.begin(), list.end(),
                                        [&](const auto& item) { return item.second == id; });
        ASSERT_NE(found, list.end()) << "seed " << seed;
        EXPECT_LE(found->first, now_ms) << "seed " << seed;
        list.erase(found);
      }
      for (const auto& [due_ms, id] : list) EXPECT_GT(due_ms + kBucket, now_ms) << "seed " << seed;
      EXPECT_EQ(queue.size(), list.size());
    }
  }
}

}  // namespace
}  // namespace cairn::lease
