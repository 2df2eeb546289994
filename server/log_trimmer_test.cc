#include "server/log_trimmer.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>

#include "base/status.h"
#include "server/disk_room.h"
#include "server/test_member.h"

namespace cairn::server {
namespace {

TEST(IsFlushDueTest, AtHalfOfEitherBound) {
  LogTrimmerOptions options;
  options.replay_bytes_max = 1000;
  options.replay_entries_max = 100;
  EXPECT_FALSE(IsFlushDue(options, 0, 0));
  EXPECT_FALSE(IsFlushDue(options, 499, 49));
  EXPECT_TRUE(IsFlushDue(options, 500, 0));
  EXPECT_TRUE(IsFlushDue(options, 0, 50));
  // --snapshot-count=1: after each entry, but never without one.
  options.replay_entries_max = 1;
  EXPECT_FALSE(IsFlushDue(options, 0, 0));
  EXPECT_TRUE(IsFlushDue(options, 0, 1));
}

class LogTrimmerTest : public testing::Test {
 protected:
  void Start() {
    auto started = TestMember::Start(disk_);
    ASSERT_TRUE(started.ok()) << started.status();
    member_ = *std::move(started);
    ASSERT_TRUE(member_->runner().WaitReady(kTestPatience).ok());
    LogTrimmerOptions options;
    options.replay_entries_max = 10;
    options.poll = std::chrono::milliseconds(1);
    options.on_fatal = fatal_.callback();
    const Index marked =
        member_->recovered().marker.has_value() ? member_->recovered().marker->id.index : Index(0);
    trimmer_ = std::make_unique<LogTrimmer>(options, marked, member_->wal(), member_->store(),
                                            member_->runner(), *pins_);
  }
  void TearDown() override { trimmer_.reset(); }

  // One that nothing else makes flush.
  LogTrimmerOptions OnALowDisk() {
    LogTrimmerOptions options;
    options.poll = std::chrono::milliseconds(1);
    options.directories = {testing::TempDir()};
    options.state_directory = testing::TempDir();
    // More than any disk has.
    options.disk_reserve_bytes = uint64_t{1} << 61;
    options.early_flush_pause = std::chrono::milliseconds(1);
    options.on_fatal = fatal_.callback();
    return options;
  }

  // With other options; returns what is marked.
  Index StartAnew(const LogTrimmerOptions& options) {
    trimmer_.reset();
    const Index marked = member_->store().durable_applied().index;
    trimmer_ = std::make_unique<LogTrimmer>(options, marked, member_->wal(), member_->store(),
                                            member_->runner(), *pins_);
    return marked;
  }

  // Writes until the log begins behind `index`, but at least `writes` times.
  void WriteUntilCut(Index index, int writes) {
    for (int i = 0; i < writes || member_->wal().before_first().index < index; ++i) {
      ASSERT_TRUE(member_->Put("key", std::string(1000, 'x')).status.ok());
    }
  }

  void WaitUntilCut(Index index) {
    while (member_->wal().before_first().index < index) std::this_thread::yield();
  }

  TestDisk disk_;
  FatalCounter fatal_;
  // The member's own would be told that it is alone.
  static constexpr wal::TailToKeep kTail = {.entries_max = 60, .bytes_max = 1 << 20};
  std::unique_ptr<LogPins> pins_ = std::make_unique<LogPins>(LogPinsOptions{.tail = kTail});
  std::unique_ptr<TestMember> member_;
  std::unique_ptr<LogTrimmer> trimmer_;
};

TEST_F(LogTrimmerTest, TheLogStaysShortAndNeverLosesWhatTheStateHasNot) {
  ASSERT_NO_FATAL_FAILURE(Start());
  for (int i = 0; i < 300 || member_->wal().before_first().index < Index(100); ++i) {
    ASSERT_TRUE(member_->Put("key", std::string(1000, 'x')).status.ok());
    EXPECT_LE(member_->wal().before_first().index, member_->store().durable_applied().index);
  }
  trimmer_->Stop();
  EXPECT_EQ(fatal_.count(), 0);
  // The power goes, without a graceful stop: the state is what was flushed.
  disk_.fs().PowerOff();
  trimmer_.reset();
  EXPECT_FALSE(member_->runner().Stop().ok());
  const Revision revision = member_->store().published().revision;
  disk_.Crash(0, true, [&] { member_.reset(); });
  ASSERT_NO_FATAL_FAILURE(Start());
  EXPECT_EQ(member_->store().published().revision, revision);
}

TEST_F(LogTrimmerTest, WhatACopyPinsIsKeptUntilItIsReleased) {
  LogPins::Hold hold = pins_->Add(wal::PinKind::kSnapshot, 1, Index(20));
  ASSERT_NO_FATAL_FAILURE(Start());
  ASSERT_NO_FATAL_FAILURE(WriteUntilCut(Index(1), 35));
  EXPECT_LT(member_->wal().before_first().index, Index(20));
  const Index last = member_->wal().last().index;
  hold.Release();
  // Without another write: it goes as soon as it may.
  WaitUntilCut(Index(20));
  EXPECT_EQ(member_->wal().last().index, last);
  EXPECT_EQ(fatal_.count(), 0);
}

TEST_F(LogTrimmerTest, ACopyThatPinsTooMuchPinsNothing) {
  pins_ = std::make_unique<LogPins>(LogPinsOptions{.copy_bytes_max = 50'000});
  const LogPins::Hold hold = pins_->Add(wal::PinKind::kSnapshot, 1, Index(20));
  ASSERT_NO_FATAL_FAILURE(Start());
  ASSERT_NO_FATAL_FAILURE(WriteUntilCut(Index(100), 1));
}

TEST_F(LogTrimmerTest, TheTailStaysForOthersAndAFollowerFarBehindIsLeft) {
  pins_->SetAlone(false);
  pins_->SetFollowers({{.id = MemberId(7), .match = Index(5)}});
  ASSERT_NO_FATAL_FAILURE(Start());
  ASSERT_NO_FATAL_FAILURE(WriteUntilCut(Index(100), 1));
  EXPECT_GE(member_->wal().last().index - member_->wal().before_first().index, 60u);
  const wal::Retention retention = member_->wal().Retained(pins_->Now());
  ASSERT_EQ(retention.pins.size(), 2u);
  EXPECT_TRUE(retention.pins[0].is_kept);
  EXPECT_FALSE(retention.pins[1].is_kept);
}

TEST_F(LogTrimmerTest, AFailedFlushIsFatalAndRemovesNothing) {
  ASSERT_NO_FATAL_FAILURE(Start());
  ASSERT_TRUE(member_->Put("key", "value").status.ok());
  // Two flushes may have passed already; from here on none does.
  disk_.fs().PowerOff();
  trimmer_.reset();
  const Index before_first = member_->wal().before_first().index;
  LogTrimmerOptions options;
  options.replay_entries_max = 1;
  options.poll = std::chrono::milliseconds(1);
  options.on_fatal = fatal_.callback();
  trimmer_ = std::make_unique<LogTrimmer>(options, Index(0), member_->wal(), member_->store(),
                                          member_->runner(), *pins_);
  EXPECT_NE(base::Message(fatal_.Wait()).find("the power is off"), std::string_view::npos);
  trimmer_->Stop();
  EXPECT_EQ(member_->wal().before_first().index, before_first);
}

TEST_F(LogTrimmerTest, WithoutRoomForAFlushNoneBeginsAndWritesAreRefused) {
  ASSERT_NO_FATAL_FAILURE(Start());
  LogTrimmerOptions options = OnALowDisk();
  options.replay_entries_max = 1;
  options.flush_spare_bytes = uint64_t{1} << 61;
  const Index marked = StartAnew(options);
  EXPECT_TRUE(member_->runner().RefusesWrites());
  EXPECT_TRUE(member_->runner().IsOutOfSpace());
  // What others commit is taken all the same.
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(member_->Put("key", "value").status.ok());
  EXPECT_EQ(member_->store().durable_applied().index, marked);
  options.flush_spare_bytes = 0;
  StartAnew(options);
  EXPECT_FALSE(member_->runner().RefusesWrites());
  EXPECT_TRUE(member_->runner().IsOutOfSpace());
  while (member_->store().durable_applied().index == marked) std::this_thread::yield();
  EXPECT_EQ(fatal_.count(), 0);
}

// Else a log that is covered would keep the room for which everybody waits.
TEST_F(LogTrimmerTest, WhereWritesAreRefusedWhatFitsIsFlushedAndTheLogShrinks) {
  ASSERT_NO_FATAL_FAILURE(Start());
  LogTrimmerOptions options = OnALowDisk();
  // Twice what is free, of which an eighth is needed for the flush.
  options.flush_spare_bytes = 2 * FreeDiskBytes(testing::TempDir()).value_or(0);
  StartAnew(options);
  EXPECT_TRUE(member_->runner().RefusesWrites());
  EXPECT_TRUE(member_->runner().IsOutOfSpace());
  ASSERT_NO_FATAL_FAILURE(WriteUntilCut(Index(100), 1));
  EXPECT_EQ(fatal_.count(), 0);
}

TEST_F(LogTrimmerTest, OnALowDiskFlushesBeginEarly) {
  ASSERT_NO_FATAL_FAILURE(Start());
  LogTrimmerOptions options = OnALowDisk();
  options.flush_spare_bytes = 0;
  options.early_flush_bytes = 0;
  StartAnew(options);
  EXPECT_FALSE(member_->runner().RefusesWrites());
  ASSERT_NO_FATAL_FAILURE(WriteUntilCut(Index(100), 1));
  EXPECT_EQ(fatal_.count(), 0);
}

TEST_F(LogTrimmerTest, LittleRoomOnTheDiskIsTold) {
  ASSERT_NO_FATAL_FAILURE(Start());
  EXPECT_FALSE(member_->runner().IsOutOfSpace());
  trimmer_.reset();
  LogTrimmerOptions options;
  options.directories = {"/no/such/directory", testing::TempDir()};
  options.disk_reserve_bytes = uint64_t{1} << 62;
  options.on_fatal = fatal_.callback();
  trimmer_ = std::make_unique<LogTrimmer>(options, Index(0), member_->wal(), member_->store(),
                                          member_->runner(), *pins_);
  EXPECT_TRUE(member_->runner().IsOutOfSpace());
  // Deletes and compactions still pass, and so does whatever was accepted before.
  EXPECT_TRUE(member_->Put("key", "value").status.ok());
  trimmer_.reset();
  options.disk_reserve_bytes = 0;
  trimmer_ = std::make_unique<LogTrimmer>(options, Index(0), member_->wal(), member_->store(),
                                          member_->runner(), *pins_);
  EXPECT_FALSE(member_->runner().IsOutOfSpace());
}

}  // namespace
}  // namespace cairn::server
