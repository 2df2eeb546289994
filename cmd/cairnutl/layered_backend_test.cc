#include "cmd/cairnutl/layered_backend.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "mvcc/mem_backend.h"

namespace cairn::cairnutl {
namespace {

using mvcc::CacheUse;
using mvcc::Family;

using Model = std::map<std::string, std::string>;

std::string KeyOf(uint64_t number) { return "k" + std::to_string(number % 40); }

std::vector<std::pair<std::string, std::string>> Walk(const mvcc::Backend& backend,
                                                      const std::string& first,
                                                      const std::string& limit) {
  std::vector<std::pair<std::string, std::string>> rows;
  const auto walk = backend.NewIterator(Family::kKeys, limit, CacheUse::kFill);
  for (walk->Seek(first); walk->Valid(); walk->Next())
    rows.emplace_back(walk->key(), walk->value());
  EXPECT_TRUE(walk->status().ok());
  return rows;
}

// Random changes above random rows, against a plain map.
TEST(LayeredBackendTest, ReadsAsIfThereWereOneLayer) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    std::mt19937_64 random(seed);
    mvcc::MemDisk disk;
    std::unique_ptr<mvcc::Backend> below = disk.Open();
    Model model;
    const auto change = [&](mvcc::Backend& backend, int count) {
      const auto batch = backend.NewBatch();
      for (int i = 0; i < count; ++i) {
        const std::string key = KeyOf(random());
        if (random() % 3 == 0) {
          batch->Delete(Family::kKeys, key);
          model.erase(key);
        } else {
          const std::string value = std::to_string(random() % 1000);
          batch->Put(Family::kKeys, key, value);
          model[key] = value;
        }
      }
      ASSERT_TRUE(backend.Write(*batch).ok());
    };
    change(*below, 30);
    LayeredBackend layered(std::move(below));
    for (int batch = 0; batch < 3; ++batch) {
      change(layered, 8);
      for (int i = 0; i < 40; ++i) {
        const std::string key = KeyOf(i);
        std::string value;
        const auto found =
            layered.Get(Family::kKeys, key, [&](std::string_view row) { value = row; });
        ASSERT_TRUE(found.ok());
        ASSERT_EQ(*found, model.contains(key)) << key;
        if (*found) {
          ASSERT_EQ(value, model[key]);
        }
      }
      const std::string first = KeyOf(random());
      const std::string limit = random() % 2 == 0 ? "" : KeyOf(random());
      const auto begin = model.lower_bound(first);
      auto end = limit.empty() ? model.end() : model.lower_bound(limit);
      if (!limit.empty() && limit < first) end = begin;
      const std::vector<std::pair<std::string, std::string>> expected(begin, end);
      ASSERT_EQ(Walk(layered, first, limit), expected) << seed;
    }
  }
}

TEST(LayeredBackendTest, NothingReachesWhatLiesBelow) {
  mvcc::MemDisk disk;
  LayeredBackend layered(disk.Open());
  const auto batch = layered.NewBatch();
  batch->Put(Family::kMeta, "a", "1");
  ASSERT_TRUE(layered.Write(*batch).ok());
  EXPECT_EQ(disk.unflushed_batches(), 0U);
  EXPECT_TRUE(absl::IsFailedPrecondition(layered.Flush()));
  EXPECT_TRUE(absl::IsFailedPrecondition(layered.Checkpoint("/x")));
}

}  // namespace
}  // namespace cairn::cairnutl
