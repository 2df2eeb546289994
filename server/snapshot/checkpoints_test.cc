#include "server/snapshot/checkpoints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
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
TEST_F(CheckpointsTest, NoCopyIsMadeWithoutRoomForItsFlush) {
  // More than any disk has.
  Checkpoints copies({.room_bytes = uint64_t{1} << 62}, wal::PosixFs(), state_->states(),
                     state_->store(), pins_);
  const auto refused = copies.Take(Index(kLast));
  EXPECT_TRUE(absl::IsResourceExhausted(refused.status())) << refused.status();
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("MiB free on its disk"));
  EXPECT_THAT(state_->Names(), Not(Contains(StartsWith(kCheckpointPrefix))));
  EXPECT_LT(state_->store().durable_applied().index, Index(kLast)) << "nothing was flushed";
  EXPECT_TRUE(pins_.Now().pins.empty());
}

// As a disk that refuses to remove anything while it is told to.
class StubbornStates final : public StateHome {
 public:
  explicit StubbornStates(const std::string& directory) : StateHome(wal::PosixFs(), directory, 1) {}

  absl::StatusOr<std::unique_ptr<mvcc::Backend>> Open(const std::string& /*path*/) override {
    return absl::UnimplementedError("copies are not opened");
  }
  absl::Status Remove(const std::string& path) override {
    if (is_stubborn) return absl::InternalError(path + ": Input/output error");
    std::filesystem::remove_all(path);
    return absl::OkStatus();
  }

  bool is_stubborn = false;
};

TEST_F(CheckpointsTest, WhatCouldNotBeRemovedIsTriedAgainAndCountsUntilThen) {
  StubbornStates states(directory_);
  Checkpoints copies({.copies_max = 1, .pin_after = {}}, wal::PosixFs(), states, state_->store(),
                     pins_);
  auto made = copies.Take(Index(kLast));
  ASSERT_TRUE(made.ok()) << made.status();
  const std::string path = (*made)->path;
  // What RocksDB leaves when it cannot finish one.
  std::filesystem::create_directory(path + ".tmp");
  states.is_stubborn = true;
  made->reset();
  EXPECT_TRUE(std::filesystem::exists(path));
  EXPECT_TRUE(pins_.Now().pins.empty()) << "nobody has it";
  const absl::Status refused = copies.Take(Index(kLast)).status();
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("1 of which could not be removed"));
  states.is_stubborn = false;
  made = copies.Take(Index(kLast));
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_NE((*made)->path, path);
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_FALSE(std::filesystem::exists(path + ".tmp"));
}

TEST_F(CheckpointsTest, ACopyIsSharedForHalfOfTheTimeThatItMayBeInUse) {
  std::chrono::steady_clock::time_point now;
  Checkpoints copies({.age_max = std::chrono::minutes(2), .now = [&] { return now; }},
                     wal::PosixFs(), state_->states(), state_->store(), pins_);
  const auto first = copies.Take(Index(kLast));
  ASSERT_TRUE(first.ok()) << first.status();
  now += std::chrono::minutes(1);
  const auto shared = copies.Take(Index(kLast));
  ASSERT_TRUE(shared.ok()) << shared.status();
  EXPECT_EQ(*shared, *first);
  now += std::chrono::seconds(1);
  const auto own = copies.Take(Index(kLast));
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_NE(*own, *first);
  EXPECT_FALSE(copies.IsTooOld(**first));
  now += std::chrono::minutes(1);
  EXPECT_TRUE(copies.IsTooOld(**first));
}

}  // namespace
}  // namespace cairn::server
