#include "server/snapshot/checkpoints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "server/log_pins.h"
#include "server/snapshot/test_state.h"

namespace cairn::server {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr uint64_t kLast = 20;

// Copies that are sent are shown in transfer_test and saver_test.
class CheckpointsTest : public testing::Test {
 protected:
  CheckpointsTest() : directory_(testing::TempDir() + "/checkpoints") {
    std::filesystem::remove_all(directory_);
    state_ = std::make_unique<State>(directory_, kMembers[0].id, kLast);
  }

  const std::string directory_;
  std::unique_ptr<State> state_;
  LogPins pins_;
};

// A flush without room would stop the member, which served all the same.
TEST_F(CheckpointsTest, ACopyThatNeedsAFlushIsNotMadeWithoutRoomForIt) {
  // More than any disk has.
  Checkpoints copies({.flush_room_bytes = uint64_t{1} << 62}, wal::PosixFs(), state_->states(),
                     state_->store(), pins_);
  const auto refused = copies.Take(Index(kLast));
  EXPECT_TRUE(absl::IsResourceExhausted(refused.status())) << refused.status();
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("MiB free on its disk"));
  EXPECT_THAT(state_->Names(), Not(Contains(StartsWith(kCheckpointPrefix))));
  EXPECT_LT(state_->store().durable_applied().index, Index(kLast)) << "nothing was flushed";
  EXPECT_TRUE(pins_.Now().pins.empty());

  // What needs no flush needs no room.
  ASSERT_TRUE(state_->store().Flush().ok());
  const auto made = copies.Take(Index(kLast));
  EXPECT_TRUE(made.ok()) << made.status();
}

TEST_F(CheckpointsTest, ACopyIsMadeWithRoomForTheFlush) {
  Checkpoints copies({.flush_room_bytes = 1}, wal::PosixFs(), state_->states(), state_->store(),
                     pins_);
  const auto made = copies.Take(Index(kLast));
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_THAT(state_->Names(), Contains(StartsWith(kCheckpointPrefix)));
}

}  // namespace
}  // namespace cairn::server
