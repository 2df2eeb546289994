#include "mvcc/overlay.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

namespace cairn::mvcc {
namespace {

std::string_view Keep(Overlay& overlay, std::string_view bytes) {
  return overlay.arena().Copy(bytes);
}

TEST(Overlay, RollBackRestoresWhatWasKnown) {
  Overlay overlay;
  overlay.BeginTxn();
  overlay.SetDirty(overlay.Touch("kept"), Keep(overlay, "1"));
  overlay.AddRevision({Revision(2), 0}, Keep(overlay, "row"));
  overlay.CommitTxn();
  overlay.SetClean(overlay.Touch("read"), {});

  overlay.BeginTxn();
  overlay.SetDirty(overlay.Touch("kept"), Keep(overlay, "2"));
  overlay.SetDirty(overlay.Touch("kept"), {});
  overlay.SetDirty(overlay.Touch("read"), Keep(overlay, "2"));
  overlay.SetDirty(overlay.Touch("new"), Keep(overlay, "2"));
  overlay.AddRevision({Revision(3), 0}, Keep(overlay, "row"));
  EXPECT_NE(overlay.FindRevision({Revision(3), 0}), nullptr);
  overlay.RollBackTxn();

  EXPECT_EQ(overlay.Find("kept")->row, "1");
  EXPECT_EQ(overlay.Find("read")->knowledge, Overlay::Knowledge::kClean);
  EXPECT_EQ(overlay.Find("new"), nullptr);
  EXPECT_EQ(overlay.FindRevision({Revision(3), 0}), nullptr);
  EXPECT_NE(overlay.FindRevision({Revision(2), 0}), nullptr);
  EXPECT_EQ(overlay.FindRevision({Revision(2), 1}), nullptr);
}

TEST(Overlay, AKeyThatIsInTheArenaIsNotCopied) {
  Overlay overlay;
  const std::string_view own = Keep(overlay, "key");
  const size_t used_bytes = overlay.arena().used_bytes();
  const size_t index = overlay.TouchOwned(own);
  EXPECT_EQ(overlay.Touch("key"), index);
  EXPECT_EQ(overlay.TouchOwned(own), index);
  EXPECT_EQ(overlay.entry(index).key.data(), own.data());
  EXPECT_EQ(overlay.arena().used_bytes(), used_bytes);
}

// However touches and orderings alternate, the order is that of a map.
TEST(Overlay, OrdersOnDemand) {
  std::mt19937_64 random(1);
  Overlay overlay;
  std::map<std::string, size_t> model;
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 20; ++i) {
      const std::string key = std::to_string(random() % 500);
      const size_t index = overlay.Touch(key);
      EXPECT_EQ(model.emplace(key, index).first->second, index);
    }
    overlay.Order();
    ASSERT_EQ(overlay.ordered_size(), model.size());
    size_t position = 0;
    for (const auto& [key, index] : model) EXPECT_EQ(overlay.ordered(position++).key, key);
    const std::string bound = std::to_string(random() % 500);
    EXPECT_EQ(overlay.LowerBound(bound),
              static_cast<size_t>(std::distance(model.begin(), model.lower_bound(bound))));
  }
  overlay.Reset();
  overlay.Order();
  EXPECT_EQ(overlay.ordered_size(), 0u);
}

TEST(Arena, KeepsSmallAndLargeBytesUntilReset) {
  Arena arena;
  for (int round = 0; round < 3; ++round) {
    std::vector<std::pair<std::string, std::string_view>> kept;
    for (size_t size : {0, 1, 1000, 60'000, 70'000, 30'000, 1'000'000}) {
      std::string bytes(size, static_cast<char>('a' + size % 26));
      const std::string_view copy = arena.Copy(bytes);
      kept.emplace_back(std::move(bytes), copy);
    }
    for (const auto& [bytes, copy] : kept) EXPECT_EQ(bytes, copy);
    EXPECT_GT(arena.used_bytes(), 1'000'000u);
    arena.Reset();
    EXPECT_EQ(arena.used_bytes(), 0u);
  }
}

}  // namespace
}  // namespace cairn::mvcc
