// The index of ranges against a list that is searched from end to end.
#include "watch/interval_index.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "base/random.h"

namespace cairn::watch {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<int> Hits(IntervalIndex<int>& index, std::string_view key) {
  std::vector<int> hits;
  index.Stab(key, [&](int value) { hits.push_back(value); });
  std::sort(hits.begin(), hits.end());
  return hits;
}

TEST(IntervalIndex, BoundsAndOpenEnds) {
  IntervalIndex<int> index(1);
  EXPECT_THAT(Hits(index, "a"), IsEmpty());
  index.Insert({"b", "d"}, 1);
  index.Insert({"b", std::nullopt}, 2);
  index.Insert({"", std::nullopt}, 3);
  index.Insert({"b", "c"}, 4);
  EXPECT_THAT(Hits(index, ""), ElementsAre(3));
  EXPECT_THAT(Hits(index, "b"), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(Hits(index, "c"), ElementsAre(1, 2, 3));
  EXPECT_THAT(Hits(index, "d"), ElementsAre(2, 3));
  EXPECT_EQ(*index.Find({"b", "c"}), 4);
  EXPECT_EQ(index.Find({"b", "e"}), nullptr);
  EXPECT_EQ(index.Find({"c", std::nullopt}), nullptr);
  index.Erase({"b", std::nullopt});
  EXPECT_THAT(Hits(index, "d"), ElementsAre(3));
  EXPECT_EQ(index.size(), 3u);
}

struct Entry {
  std::string first;
  std::optional<std::string> limit;
  int value;

  Interval interval() const {
    return {first, limit.has_value() ? std::optional<std::string_view>(*limit) : std::nullopt};
  }
};

TEST(IntervalIndex, AgreesWithAListUnderRandomChanges) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    std::mt19937_64 random(seed);
    const auto draw = [&](uint64_t count) { return random() % count; };
    const auto draw_key = [&] {
      std::string key;
      const uint64_t size = draw(4);
      for (uint64_t i = 0; i < size; ++i) key.push_back(static_cast<char>('a' + draw(3)));
      return key;
    };
    IntervalIndex<int> index(seed);
    std::deque<Entry> entries;  // Stable addresses: the index holds views.
    for (int step = 0; step < 600; ++step) {
      if (draw(3) != 0) {
        Entry entry = {draw_key(), std::nullopt, step};
        if (draw(5) != 0) entry.limit = draw_key();
        const bool is_known = std::any_of(entries.begin(), entries.end(), [&](const Entry& other) {
          return other.value >= 0 && other.interval() == entry.interval();
        });
        ASSERT_EQ(index.Find(entry.interval()) != nullptr, is_known);
        if (!is_known) {
          entries.push_back(entry);
          index.Insert(entries.back().interval(), step);
        }
      } else if (!entries.empty()) {
        Entry& victim = entries[draw(entries.size())];
        if (victim.value >= 0) index.Erase(victim.interval());
        victim.value = -1;
      }
      const std::string key = draw_key();
      std::vector<int> expected;
      for (const Entry& entry : entries) {
        if (entry.value >= 0 && entry.interval().Contains(key)) expected.push_back(entry.value);
      }
      std::sort(expected.begin(), expected.end());
      ASSERT_EQ(Hits(index, key), expected) << key;
    }
  }
}

// Keys whose order is that of the priorities which a treap gives them one after the other, if these
// are known: each goes below all that have a higher one, always on the same side.
std::vector<std::string> KeysForAChain(const std::vector<uint32_t>& priorities) {
  std::vector<uint32_t> sorted = priorities;
  std::sort(sorted.begin(), sorted.end());
  std::vector<std::string> keys;
  for (const uint32_t priority : priorities) {
    const auto rank = std::lower_bound(sorted.begin(), sorted.end(), priority) - sorted.begin();
    keys.push_back(fmt::format("{:06}", rank));
  }
  return keys;
}

size_t HeightWith(uint64_t seed, const std::vector<std::string>& keys) {
  IntervalIndex<int> index(seed);
  for (const std::string& key : keys) index.Insert({key, std::nullopt}, 0);
  return index.Height();
}

// What a client could do if it knew the seed, and cannot do to another.
TEST(IntervalIndex, RangesChosenForOneSeedAreAnyRangesForAnother) {
  constexpr size_t kRanges = 3000;
  base::Random generator(7);
  std::vector<uint32_t> priorities;
  for (size_t i = 0; i < kRanges; ++i)
    priorities.push_back(static_cast<uint32_t>(generator.Next() >> 32));
  const std::vector<std::string> keys = KeysForAChain(priorities);
  EXPECT_EQ(HeightWith(7, keys), kRanges);
  // A random search tree of so many nodes is about 30 high.
  for (uint64_t seed = 8; seed < 28; ++seed) EXPECT_LT(HeightWith(seed, keys), 64u);
}

// The numbers of a well-known generator with its well-known seed.
TEST(IntervalIndex, AWellKnownSequenceMakesNoChain) {
  constexpr size_t kRanges = 50'000;
  uint32_t random = 2463534242;
  std::vector<uint32_t> priorities;
  for (size_t i = 0; i < kRanges; ++i) {
    random ^= random << 13;
    random ^= random >> 17;
    random ^= random << 5;
    priorities.push_back(random);
  }
  const std::vector<std::string> keys = KeysForAChain(priorities);
  for (uint64_t seed = 0; seed < 2; ++seed) EXPECT_LT(HeightWith(seed, keys), 96u);
}

}  // namespace
}  // namespace cairn::watch
