#include "base/fail_point.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace cairn::base {
namespace {

TEST(FailPointTest, IsInertWithoutAnObserver) { FailPoint("base.test.nobody"); }

TEST(FailPointTest, TellsTheObserverEachPointInOrder) {
  std::vector<std::string> seen;
  {
    ScopedFailPointObserver observer([&](std::string_view name) { seen.emplace_back(name); });
    FailPoint("base.test.first");
    FailPoint("base.test.second");
  }
  FailPoint("base.test.third");
  EXPECT_EQ(seen, (std::vector<std::string>{"base.test.first", "base.test.second"}));
}

}  // namespace
}  // namespace cairn::base
