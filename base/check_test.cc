#include "base/check.h"

#include <gtest/gtest.h>

#include "base/ids.h"

namespace cairn::base {
namespace {

TEST(CheckTest, HoldingChecksDoNothing) {
  CAIRN_CHECK(true);
  CAIRN_CHECK_EQ(1, 1);
  CAIRN_CHECK_LE(Index(1), Index(2));
}

TEST(CheckDeathTest, FailureNamesExpressionAndReason) {
  EXPECT_DEATH(CAIRN_CHECK(1 > 2, "numbers are off"), "check failed at .*: 1 > 2: numbers are off");
}

TEST(CheckDeathTest, ComparisonPrintsBothValues) {
  EXPECT_DEATH(CAIRN_CHECK_LE(Index(7), Index(3)), "Index\\(7\\) <= Index\\(3\\) \\(7 vs. 3\\)");
}

TEST(CheckTest, OperandsAreEvaluatedOnce) {
  int calls = 0;
  CAIRN_CHECK_EQ(++calls, 1);
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace cairn::base
