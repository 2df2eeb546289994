#include "test/bench/sync_probe.h"

#include <gtest/gtest.h>

#include "base/status.h"
#include "wal/fault_fs.h"

namespace cairn::bench {
namespace {

constexpr char kDirectory[] = "/probe";

TEST(CompareSyncs, LeavesNothingBehind) {
  wal::FaultFs fs;
  ASSERT_TRUE(fs.CreateDirectory(kDirectory).ok());
  const auto times = CompareSyncs(fs, kDirectory, 1024, 20);
  ASSERT_TRUE(times.ok()) << times.status();
  EXPECT_GT(times->filled_us, 0);
  EXPECT_GT(times->append_us, 0);
  const auto left = fs.ListDirectory(kDirectory);
  ASSERT_TRUE(left.ok()) << left.status();
  EXPECT_TRUE(left->empty());
}

TEST(CompareSyncs, RefusesWhatTheLogNeverWrites) {
  wal::FaultFs fs;
  ASSERT_TRUE(fs.CreateDirectory(kDirectory).ok());
  for (const size_t batch_bytes : {0, 1, 511, 513}) {
    EXPECT_EQ(CompareSyncs(fs, kDirectory, batch_bytes, 1).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(CompareSyncs(fs, kDirectory, 512, 0).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace cairn::bench
