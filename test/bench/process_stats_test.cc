#include "test/bench/process_stats.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace cairn::bench {
namespace {

TEST(ParseCpuTimeNs, AddsUserAndSystemTime) {
  const auto time =
      ParseCpuTimeNs("42 (etcd) S 1 42 42 0 -1 4194560 9 0 0 0 150 25 0 0 20 0 9 0 7 1 2", 100);
  ASSERT_TRUE(time.ok()) << time.status();
  EXPECT_EQ(*time, 1'750'000'000);
}

TEST(ParseCpuTimeNs, TheCommandMayHoldAnything) {
  const auto time = ParseCpuTimeNs("1 (a) S 1 (b) R 1 1 1 0 -1 4 9 0 0 0 1 2 0 0 20", 100);
  ASSERT_TRUE(time.ok()) << time.status();
  EXPECT_EQ(*time, 30'000'000);
}

TEST(ParseCpuTimeNs, RefusesEveryTruncationBeforeTheLastField) {
  const std::string_view line = "42 (etcd) S 1 42 42 0 -1 4194560 9 0 0 0 150 25";
  for (size_t size = 0; size < line.size() - 2; ++size) {
    SCOPED_TRACE(size);
    EXPECT_FALSE(ParseCpuTimeNs(line.substr(0, size), 100).ok());
  }
  EXPECT_TRUE(ParseCpuTimeNs(line, 100).ok());
}

TEST(CpuTimeNs, OfThisProcessAndOfNone) {
  EXPECT_TRUE(CpuTimeNs(getpid()).ok());
  EXPECT_EQ(CpuTimeNs(0x7fffffff).status().code(), absl::StatusCode::kNotFound);
  EXPECT_GT(OwnCpuTimeNs(), 0);
}

}  // namespace
}  // namespace cairn::bench
