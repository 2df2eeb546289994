#include "lease/lease_table.h"

#include <gtest/gtest.h>

namespace cairn::lease {
namespace {

constexpr LeaseId kOne{1};
constexpr LeaseId kTwo{-2};

TEST(LeaseTableTest, TellsWhatChangedOnceAndInOrder) {
  LeaseTable table;
  ASSERT_TRUE(table.Grant(kOne, Index(10), 60));
  EXPECT_FALSE(table.Grant(kOne, Index(11), 70));
  ASSERT_TRUE(table.Grant(kTwo, Index(12), 5));
  table.Attach(kOne);
  table.Attach(kOne);
  table.Detach(kOne);
  const LeaseFacts one = {.granted = Index(10), .ttl_s = 60, .key_count = 1};
  const LeaseFacts two = {.granted = Index(12), .ttl_s = 5};
  EXPECT_EQ(table.TakeUpdates(), (std::vector<LeaseUpdate>{{kTwo, two}, {kOne, one}}));
  EXPECT_EQ(table.TakeUpdates(), (std::vector<LeaseUpdate>{}));
  EXPECT_EQ(table.All(), (std::vector<LeaseUpdate>{{kTwo, two}, {kOne, one}}));
  EXPECT_EQ(table.size(), 2u);

  table.Remove(kTwo);
  EXPECT_EQ(table.Find(kTwo), nullptr);
  EXPECT_EQ(table.TakeUpdates(), (std::vector<LeaseUpdate>{{kTwo, std::nullopt}}));
}

TEST(LeaseTableTest, AnEndedLeaseIsNotTheNextOneOfItsId) {
  LeaseTable table;
  ASSERT_TRUE(table.Grant(kOne, Index(10), 60));
  table.Remove(kOne);
  ASSERT_TRUE(table.Grant(kOne, Index(20), 60));
  EXPECT_FALSE(table.Holds({kOne, Index(10)}));
  EXPECT_TRUE(table.Holds({kOne, Index(20)}));
  EXPECT_FALSE(table.Checkpoint({kOne, Index(10)}, 5));
  EXPECT_FALSE(table.Clear({kTwo, Index(20)}));
  EXPECT_EQ(table.Find(kOne)->checkpoint_ms, std::nullopt);

  EXPECT_TRUE(table.Checkpoint({kOne, Index(20)}, 5));
  EXPECT_EQ(table.Find(kOne)->checkpoint_ms, 5);
  EXPECT_TRUE(table.Clear({kOne, Index(20)}));
  EXPECT_EQ(table.Find(kOne)->checkpoint_ms, std::nullopt);
}

TEST(LeaseTableTest, ALeaseThatIsEndingStaysUntilItsKeysAreGone) {
  LeaseTable table;
  ASSERT_TRUE(table.Grant(kOne, Index(10), 60));
  table.Attach(kOne);
  ASSERT_TRUE(table.Checkpoint({kOne, Index(10)}, 5));
  EXPECT_FALSE(table.Find(kOne)->is_ending());
  table.BeginEnd(kOne);
  EXPECT_TRUE(table.Find(kOne)->is_ending());
  EXPECT_EQ(table.TakeUpdates(),
            (std::vector<LeaseUpdate>{{kOne, LeaseFacts{.granted = Index(10), .key_count = 1}}}));
  EXPECT_FALSE(table.Checkpoint({kOne, Index(10)}, 5));
  EXPECT_FALSE(table.Grant(kOne, Index(11), 60));
  table.Detach(kOne);
  table.Remove(kOne);
  EXPECT_TRUE(table.Grant(kOne, Index(12), 60));
}

TEST(LeaseTableTest, RestoresRowsWithoutCallingThemChanged) {
  LeaseTable table;
  const LeaseFacts facts = {.granted = Index(3), .ttl_s = 9, .checkpoint_ms = 1, .key_count = 4};
  ASSERT_TRUE(table.Restore(kOne, facts));
  EXPECT_FALSE(table.Restore(kOne, facts));
  EXPECT_EQ(*table.Find(kOne), facts);
  EXPECT_EQ(table.TakeUpdates(), (std::vector<LeaseUpdate>{}));
}

}  // namespace
}  // namespace cairn::lease
