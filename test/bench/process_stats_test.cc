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

TEST(ParseResidentBytes, TakesTheLineOfThatName) {
  const std::string text = "Name:\tVmRSS:\nVmHWM:\t  9 kB\nVmRSS:\t   1234 kB\nRssAnon:\t 1 kB\n";
  const auto bytes = ParseResidentBytes(text);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes, 1234u << 10);
  const size_t line_end = text.find("kB\nRss") + 3;
  for (size_t size = 0; size < line_end; ++size) {
    SCOPED_TRACE(size);
    EXPECT_FALSE(ParseResidentBytes(text.substr(0, size)).ok());
  }
}

TEST(ResidentBytes, OfThisProcessAndOfNone) {
  const auto bytes = ResidentBytes(getpid());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_GT(*bytes, 1u << 16);
  EXPECT_EQ(ResidentBytes(0x7fffffff).status().code(), absl::StatusCode::kNotFound);
}

TEST(CpuTimeNs, OfThisProcessAndOfNone) {
  EXPECT_TRUE(CpuTimeNs(getpid()).ok());
  EXPECT_EQ(CpuTimeNs(0x7fffffff).status().code(), absl::StatusCode::kNotFound);
  EXPECT_GT(OwnCpuTimeNs(), 0);
}

}  // namespace
}  // namespace cairn::bench
