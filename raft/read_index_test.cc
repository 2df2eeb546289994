#include "raft/read_index.h"

#include <gtest/gtest.h>

namespace cairn::raft {
namespace {

constexpr MemberId kSelf(1);

TEST(ReadRounds, ReadsShareTheNextRoundAndNeverOneAlreadySent) {
  ReadRounds rounds;
  rounds.Add({kSelf, 1});
  rounds.Add({kSelf, 2});
  EXPECT_TRUE(rounds.WantsRound());
  EXPECT_EQ(rounds.Start(5, Index(10), true), 1u);
  EXPECT_FALSE(rounds.WantsRound());
  rounds.Add({kSelf, 3});  // After round 1 left.
  const auto confirmed = rounds.Confirm(1);
  ASSERT_EQ(confirmed.size(), 2u);
  EXPECT_EQ(confirmed[1].request.context, 2u);
  EXPECT_EQ(confirmed[1].index, Index(10));
  EXPECT_TRUE(rounds.WantsRound());
}

TEST(ReadRounds, ALaterRoundConfirmsAllBeforeIt) {
  ReadRounds rounds;
  rounds.Add({kSelf, 1});
  rounds.Start(5, Index(10), true);
  rounds.Add({kSelf, 2});
  rounds.Start(6, Index(12), true);
  const auto confirmed = rounds.Confirm(2);
  ASSERT_EQ(confirmed.size(), 2u);
  EXPECT_EQ(confirmed[0].index, Index(10));
  EXPECT_EQ(confirmed[1].index, Index(12));
  EXPECT_TRUE(rounds.Confirm(1).empty());  // Overtaken.
}

TEST(ReadRounds, ConfirmsTheTickAtWhichTheRoundWasSent) {
  ReadRounds rounds;
  rounds.Start(5, Index(1), false);
  rounds.Start(5, Index(1), false);
  rounds.Start(7, Index(1), false);
  rounds.Confirm(1);
  EXPECT_EQ(rounds.confirmed_tick(), 5u);
  rounds.Confirm(2);
  EXPECT_EQ(rounds.confirmed_tick(), 5u);
  rounds.Confirm(3);
  EXPECT_EQ(rounds.confirmed_tick(), 7u);
}

TEST(ReadRounds, ReadsMayWaitThroughRounds) {
  ReadRounds rounds;
  rounds.Add({kSelf, 1});
  rounds.Start(5, Index(3), false);  // Nothing of this term is committed yet.
  EXPECT_TRUE(rounds.Confirm(1).empty());
  EXPECT_TRUE(rounds.has_waiting());
}

TEST(ReadRounds, OverlapIsBoundedButTheNextHeartbeatTakesTheRest) {
  ReadRounds rounds;
  uint64_t context = 0;
  do {
    rounds.Add({kSelf, ++context});
    if (rounds.WantsRound()) rounds.Start(1, Index(1), true);
  } while (!rounds.has_waiting());
  EXPECT_EQ(context, 17u);
  const uint64_t round = rounds.Start(2, Index(1), true);
  EXPECT_EQ(rounds.Confirm(round).size(), 17u);
}

TEST(ReadRounds, GivesBackWhatIsOpenWhenLeadershipEnds) {
  ReadRounds rounds;
  rounds.Add({kSelf, 1});
  rounds.Start(1, Index(1), true);
  rounds.Add({MemberId(2), 2});
  const auto open = rounds.TakeAll();
  ASSERT_EQ(open.size(), 2u);
  EXPECT_EQ(open[0].context, 1u);
  EXPECT_EQ(open[1].from, MemberId(2));
  EXPECT_FALSE(rounds.has_waiting());
}

}  // namespace
}  // namespace cairn::raft
