// A member whose log is not synced before every acknowledgement: what it may lose, what it must
// not, and who may not be one. Over disks that lose power.
#include "server/sync_mode.h"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "base/status.h"
#include "server/log_trimmer.h"
#include "server/membership_change.h"
#include "server/test_member.h"

namespace cairn::server {
namespace {

using std::chrono::milliseconds;
using wal::SyncMode;

constexpr milliseconds kNoInterval = std::chrono::hours(1);

TEST(CheckSyncModeTest, OneMemberOnly) {
  Config config = TestConfig();
  EXPECT_TRUE(CheckSyncMode(config, 3).ok());
  EXPECT_EQ(SyncModeRisk(config), "");
  for (const SyncMode mode : {SyncMode::kInterval, SyncMode::kNever}) {
    config = TestConfig();
    config.wal_sync_mode = mode;
    EXPECT_TRUE(CheckSyncMode(config, 0).ok());
    EXPECT_TRUE(CheckSyncMode(config, 1).ok());
    const absl::Status two = CheckSyncMode(config, 2);
    EXPECT_EQ(two.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_NE(base::Message(two).find("this one has 2"), std::string_view::npos) << two;
    config.joins_existing = true;
    EXPECT_EQ(CheckSyncMode(config, 0).code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_NE(SyncModeRisk(config).find("power loss"), std::string::npos);
  }
}

TEST(CheckSyncModeTest, ANewClusterOfThreeIsRefused) {
  TestDisk disk;
  Config config = TestConfig();
  config.wal_sync_mode = SyncMode::kInterval;
  for (const char* name : {"n2", "n3"}) {
    config.initial_cluster.push_back({name, {fmt::format("http://{}:2380", name)}});
  }
  const uint64_t operations = disk.fs().operations();
  EXPECT_EQ(Bootstrap(disk.foundation(), config).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(disk.fs().operations(), operations) << "nothing is made";
}

class SyncModeTest : public testing::Test {
 protected:
  ~SyncModeTest() override {
    trimmer_.reset();
    member_.reset();
  }

  // As a member with this mode starts: it relaxes once all that the log holds is applied.
  void Start(SyncMode mode, milliseconds interval = kNoInterval) {
    auto started = TestMember::Start(disk_, kTestPatience, {}, interval);
    ASSERT_TRUE(started.ok()) << started.status();
    member_ = *std::move(started);
    ASSERT_TRUE(member_->runner().WaitReady(kTestPatience).ok());
    if (mode != SyncMode::kAlways) {
      ASSERT_TRUE(member_->RelaxSync(disk_, mode).ok());
    }
    EXPECT_EQ(member_->runner().status().sync_mode, mode);
  }
  void Trim() {
    LogTrimmerOptions options;
    options.replay_entries_max = 10;
    options.poll = milliseconds(1);
    options.on_fatal = fatal_.callback();
    const Index marked =
        member_->recovered().marker.has_value() ? member_->recovered().marker->id.index : Index(0);
    trimmer_ = std::make_unique<LogTrimmer>(options, marked, member_->wal(), member_->store(),
                                            member_->runner(), member_->pins());
  }
  // The machine or only the process ends, not in order.
  void Crash(uint64_t seed, bool is_power_cut) {
    disk_.fs().PowerOff();
    trimmer_.reset();
    member_->StopForGood();
    disk_.Crash(seed, is_power_cut, [&] { member_.reset(); });
  }
  // Counts up, and returns the revision of the last put.
  Revision Put(int puts, size_t value_bytes = 100) {
    Revision revision;
    for (int i = 0; i < puts; ++i) {
      const Node::Outcome outcome =
          member_->Put("counter", fmt::format("{}{}", ++counter_, std::string(value_bytes, ' ')));
      EXPECT_TRUE(outcome.status.ok()) << outcome.status;
      revision = outcome.revision;
    }
    return revision;
  }
  int Counter() const {
    const std::string value = member_->Get("counter").value;
    return value.empty() ? 0 : std::stoi(value);
  }
  bool IsSynced() const {
    const wal::LogFigures figures = member_->runner().log_stats().log;
    return figures.synced_bytes == figures.appended_bytes;
  }

  TestDisk disk_;
  FatalCounter fatal_;
  std::unique_ptr<TestMember> member_;
  std::unique_ptr<LogTrimmer> trimmer_;
  int counter_ = 0;
};

// What was synced is there, a prefix of the rest may be, no revision comes twice, and the state,
// which is flushed and cut behind all the while, never has what the log has not.
TEST_F(SyncModeTest, APowerCutTakesAnEndAndNoRevisionIsIssuedTwice) {
  int lost = 0;
  Revision issued;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    ASSERT_NO_FATAL_FAILURE(Start(seed % 4 == 0 ? SyncMode::kNever : SyncMode::kInterval,
                                  seed % 3 == 0 ? milliseconds(1) : kNoInterval));
    if (seed > 1) {
      EXPECT_GT(member_->store().published().revision, issued);
      EXPECT_LE(Counter(), counter_);
      lost += counter_ - Counter();
      counter_ = Counter();
    }
    const bool trims = random() % 2 == 0;
    if (trims) Trim();
    Put(static_cast<int>(random() % 30), random() % 1000);
    ASSERT_TRUE(member_->runner().SyncLog().ok());
    const int synced = counter_;
    issued = Put(1 + static_cast<int>(random() % 40), random() % 1000);
    Crash(seed, random() % 4 != 0);
    // The next start sees how much there is; until then the least is known.
    auto opened = wal::Wal::Open(disk_.fs(), "/data/wal", {.segment_bytes = 16384}, std::nullopt);
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_EQ(opened->recovered.sync_mode, seed % 4 == 0 ? SyncMode::kNever : SyncMode::kInterval);
    opened->wal.reset();
    ASSERT_NO_FATAL_FAILURE(Start(SyncMode::kAlways));
    EXPECT_GE(Counter(), synced);
    ASSERT_TRUE(member_->runner().Stop().ok());
    member_.reset();
  }
  EXPECT_GT(lost, 0) << "nothing was at stake";
}

TEST_F(SyncModeTest, AKilledProcessLosesNothing) {
  ASSERT_NO_FATAL_FAILURE(Start(SyncMode::kInterval));
  const Revision issued = Put(20);
  Crash(1, /*is_power_cut=*/false);
  ASSERT_NO_FATAL_FAILURE(Start(SyncMode::kInterval));
  EXPECT_EQ(Counter(), 20);
  EXPECT_EQ(member_->store().published().revision, issued + kRevisionRaise);
  EXPECT_EQ(Put(1), issued + kRevisionRaise + 1);
}

TEST_F(SyncModeTest, AStopInOrderLosesNothingAndRaisesNothing) {
  for (const SyncMode mode : {SyncMode::kInterval, SyncMode::kNever}) {
    ASSERT_NO_FATAL_FAILURE(Start(mode));
    const Revision issued = Put(20);
    EXPECT_FALSE(IsSynced());
    ASSERT_TRUE(member_->runner().Stop().ok());
    disk_.fs().PowerOff();
    disk_.Crash(3, true, [&] { member_.reset(); });
    ASSERT_NO_FATAL_FAILURE(Start(mode));
    EXPECT_EQ(member_->store().published().revision, issued);
    EXPECT_EQ(Counter(), counter_);
    ASSERT_TRUE(member_->runner().Stop().ok());
    member_.reset();
  }
}

// The raise is an entry: it is there again after the next restart, and once.
TEST_F(SyncModeTest, TheRaiseIsRemembered) {
  ASSERT_NO_FATAL_FAILURE(Start(SyncMode::kInterval));
  const Revision issued = Put(5);
  Crash(1, false);
  for (int i = 0; i < 3; ++i) {
    ASSERT_NO_FATAL_FAILURE(Start(SyncMode::kAlways));
    EXPECT_EQ(member_->store().published().revision, issued + kRevisionRaise);
    Crash(1, true);
  }
}

TEST_F(SyncModeTest, WhatIsAcknowledgedIsSyncedAfterTheInterval) {
  ASSERT_NO_FATAL_FAILURE(Start(SyncMode::kInterval, milliseconds(1)));
  Put(10);
  while (!IsSynced()) std::this_thread::yield();
  Crash(5, true);
  ASSERT_NO_FATAL_FAILURE(Start(SyncMode::kInterval));
  EXPECT_EQ(Counter(), 10);
}

// A flush of the state waits for the log, so it syncs what nobody else asks for.
TEST_F(SyncModeTest, TheStateIsFlushedBehindTheLog) {
  ASSERT_NO_FATAL_FAILURE(Start(SyncMode::kNever));
  Put(10);
  EXPECT_FALSE(IsSynced());
  const auto flushed = member_->store().Flush();
  ASSERT_TRUE(flushed.ok()) << flushed.status();
  EXPECT_TRUE(IsSynced());
  Put(10);
  EXPECT_FALSE(IsSynced());
  ASSERT_TRUE(member_->store().Checkpoint("/data/copy").ok());
  EXPECT_TRUE(IsSynced());
}

TEST_F(SyncModeTest, ASyncThatFailsStopsTheMember) {
  ASSERT_NO_FATAL_FAILURE(Start(SyncMode::kInterval, milliseconds(1)));
  Put(1);
  disk_.fs().PowerOff();
  // The next write fails, or the sync of what was written.
  EXPECT_NE(base::Message(member_->fatal().Wait()).find("the power is off"),
            std::string_view::npos);
  EXPECT_FALSE(member_->store().Flush().ok()) << "the state must not outrun the log";
  EXPECT_FALSE(member_->runner().Stop().ok());
}

TEST_F(SyncModeTest, AnotherMemberIsAddedBehindASyncedLog) {
  for (const ChangeKind kind : {ChangeKind::kAddLearner, ChangeKind::kAddVoter}) {
    TestDisk disk;
    auto started = TestMember::Start(disk);
    ASSERT_TRUE(started.ok()) << started.status();
    std::unique_ptr<TestMember> member = *std::move(started);
    NodeRunner& runner = member->runner();
    ASSERT_TRUE(runner.WaitReady(kTestPatience).ok());
    ASSERT_TRUE(member->RelaxSync(disk, SyncMode::kInterval).ok());
    const Revision issued = member->Put("key", "before").revision;
    MembershipChange change;
    change.steps = {{kind, {.id = MemberId(77), .peer_urls = {"http://other:2380"}}}};
    std::promise<Node::Outcome> changed;
    runner.ProposeChange(change, [&](Node::Outcome outcome) { changed.set_value(outcome); });
    EXPECT_TRUE(changed.get_future().get().status.ok());
    EXPECT_EQ(runner.sync_mode(), SyncMode::kAlways);
    EXPECT_EQ(runner.log_stats().thread.mode, SyncMode::kAlways);
    EXPECT_EQ(runner.RelaxSync(SyncMode::kInterval).code(), absl::StatusCode::kFailedPrecondition);
    disk.fs().PowerOff();
    member->StopForGood();
    disk.Crash(7, true, [&] { member.reset(); });
    Config config = TestConfig();
    auto again = Bootstrap(disk.foundation(), config);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->recovered.sync_mode, SyncMode::kAlways);
    EXPECT_LE(again->store->published().revision, issued);
    EXPECT_GE(again->recovered.last.index, Index(4)) << "bootstrap, empty, put, change";
  }
}

// The change is in the log, but not in the state yet: the first look at the members is not enough.
TEST_F(SyncModeTest, AStartThatReplaysAnAdditionDoesNotRelax) {
  ASSERT_NO_FATAL_FAILURE(Start(SyncMode::kAlways));
  MembershipChange change;
  change.steps = {{ChangeKind::kAddLearner, {.id = MemberId(77), .peer_urls = {"http://o:2380"}}}};
  std::promise<Node::Outcome> changed;
  member_->runner().ProposeChange(change,
                                  [&](Node::Outcome outcome) { changed.set_value(outcome); });
  ASSERT_TRUE(changed.get_future().get().status.ok());
  disk_.fs().PowerOff();
  member_->StopForGood();
  disk_.Crash(0, false, [&] { member_.reset(); });
  ASSERT_NO_FATAL_FAILURE(Start(SyncMode::kAlways));
  EXPECT_EQ(member_->runner().RelaxSync(SyncMode::kNever).code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace cairn::server
