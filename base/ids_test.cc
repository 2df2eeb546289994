#include "base/ids.h"

#include <gtest/gtest.h>

#include <type_traits>
#include <unordered_set>

namespace cairn {
namespace {

TEST(IdsTest, StepsComparesAndPrintsLikeItsRepresentation) {
  Index index(41);
  EXPECT_EQ(++index, Index(42));
  EXPECT_EQ(index + 3, Index(45));
  EXPECT_EQ(Index(45) - index, 3u);
  EXPECT_LT(Term(1), Term(2));
  EXPECT_EQ(fmt::format("{} {:x}", index, MemberId(255)), "42 ff");
}

TEST(IdsTest, DifferentTagsDoNotMix) {
  static_assert(!std::is_convertible_v<Term, Index>);
  static_assert(!std::is_convertible_v<uint64_t, Index>);
  static_assert(!std::is_constructible_v<Index, Term>);
}

TEST(IdsTest, Hashes) {
  EXPECT_EQ((std::unordered_set<LeaseId>{LeaseId(-1), LeaseId(2), LeaseId(-1)}).size(), 2u);
}

TEST(IdsTest, RowRevisionsOrderByMainThenSub) {
  EXPECT_LT(kNoRow, (RowRevision{Revision(2), 0}));
  EXPECT_LT((RowRevision{Revision(2), 9}), (RowRevision{Revision(3), 0}));
  EXPECT_LT((RowRevision{Revision(3), 0}), (RowRevision{Revision(3), 1}));
}

}  // namespace
}  // namespace cairn
