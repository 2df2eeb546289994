#include "mvcc/chain.h"

#include <gtest/gtest.h>

#include <vector>

namespace cairn::mvcc {
namespace {

using Verdict = ChainStep::Verdict;

RowRevision Row(int64_t main, int64_t sub = 0) { return {Revision(main), sub}; }

TEST(Chain, LandmarksAreOnePerHexadecimalDigit) {
  EXPECT_EQ(LandmarkCount(0), 0);
  EXPECT_EQ(LandmarkCount(1), 1);
  EXPECT_EQ(LandmarkCount(15), 1);
  EXPECT_EQ(LandmarkCount(16), 2);
  EXPECT_EQ(LandmarkCount(255), 2);
  EXPECT_EQ(LandmarkCount(256), 3);
  EXPECT_EQ(LandmarkCount((uint64_t{1} << 60) - 1), kLandmarksMax);
}

// The position with its lowest non-zero hexadecimal digit cleared, written down as dumbly as can
// be.
uint64_t SkipPosition(uint64_t position) {
  uint64_t unit = 1;
  while (position / unit % 16 == 0) unit *= 16;
  return position - position / unit % 16 * unit;
}

TEST(Chain, SkipPointersClearTheLowestDigitOfThePosition) {
  ChainPlace place;
  std::vector<RowRevision> rows = {Row(10)};
  for (uint64_t position = 1; position <= 70'000; ++position) {
    rows.push_back(Row(10 + 3 * static_cast<int64_t>(position), 1));
    const RowRevision skip = AdvanceChain(place, rows[position - 1], rows[position]);
    ASSERT_EQ(place.position, position);
    ASSERT_EQ(skip, rows[SkipPosition(position)]) << position;
  }
}

TEST(Chain, ReachesAnyOfAThousandOlderRowsInFewSteps) {
  struct Links {
    RowRevision previous;
    RowRevision skip;
  };
  constexpr int kRows = 1000;
  std::vector<Links> links(kRows + 1);
  ChainPlace place;
  for (int i = 1; i <= kRows; ++i) {
    links[static_cast<size_t>(i)] = {Row(i - 1 + 1),
                                     AdvanceChain(place, Row(i - 1 + 1), Row(i + 1))};
  }
  int64_t steps = 0;
  for (int64_t at = 1; at <= kRows; ++at) {
    RowRevision here = Row(kRows + 1);
    for (;;) {
      ++steps;
      const Links& link = links[static_cast<size_t>(here.main.value() - 1)];
      const ChainStep step =
          NextChainStep(ChangeKind::kUpdate, link.previous, link.skip, Revision(at));
      here = step.row;
      if (step.verdict == Verdict::kAnswer) break;
      ASSERT_EQ(step.verdict, Verdict::kFollow);
    }
    ASSERT_EQ(here, Row(at));
  }
  EXPECT_LT(steps / kRows, 30);
}

TEST(Chain, Steps) {
  const struct {
    const char* name;
    ChangeKind kind;
    RowRevision previous;
    RowRevision skip;
    Verdict verdict;
    RowRevision row;
  } cases[] = {
      {"first row of its key", ChangeKind::kCreation, kNoRow, kNoRow, Verdict::kAbsent, kNoRow},
      {"created after a tombstone that may be gone", ChangeKind::kCreation, Row(5), Row(3),
       Verdict::kAbsent, kNoRow},
      {"created again, all above", ChangeKind::kCreation, Row(9), Row(3), Verdict::kFollow, Row(9)},
      {"previous row is the answer", ChangeKind::kUpdate, Row(5, 7), Row(3), Verdict::kAnswer,
       Row(5, 7)},
      {"previous row is still above", ChangeKind::kUpdate, Row(6), Row(3), Verdict::kFollow,
       Row(6)},
      {"the skip pointer is above too", ChangeKind::kDeletion, Row(9), Row(6, 2), Verdict::kFollow,
       Row(6, 2)},
      {"an update of nothing", ChangeKind::kUpdate, kNoRow, kNoRow, Verdict::kBroken, kNoRow},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const ChainStep step = NextChainStep(c.kind, c.previous, c.skip, Revision(5));
    EXPECT_EQ(step.verdict, c.verdict);
    EXPECT_EQ(step.row, c.row);
  }
}

}  // namespace
}  // namespace cairn::mvcc
