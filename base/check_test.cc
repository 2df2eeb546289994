#include "base/check.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <string>

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

// Standard error is a pipe that nobody reads, and full.
void FailWithoutAReader() {
  int ends[2];
  if (pipe(ends) != 0 || fcntl(ends[1], F_SETFL, O_NONBLOCK) != 0) std::_Exit(1);
  const std::string block(4096, 'x');
  while (write(ends[1], block.data(), block.size()) > 0) {
  }
  fcntl(ends[1], F_SETFL, 0);
  dup2(ends[1], STDERR_FILENO);
  CAIRN_CHECK(false);
}

TEST(CheckDeathTest, EndsAlsoWhenNobodyReadsWhy) {
  EXPECT_EXIT(FailWithoutAReader(), testing::KilledBySignal(SIGABRT), "");
}

TEST(CheckTest, OperandsAreEvaluatedOnce) {
  int calls = 0;
  CAIRN_CHECK_EQ(++calls, 1);
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace cairn::base
