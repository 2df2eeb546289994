#include "wal/log_thread.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "wal/fault_fs.h"
#include "wal/test_log.h"

namespace cairn::wal {
namespace {

// Collects what the thread reports, and waits for it.
class Watcher {
 public:
  LogThread::Callbacks callbacks() {
    return {.durable =
                [this](Token last) {
                  base::MutexLock lock(mutex_);
                  EXPECT_GT(last, durable_);
                  durable_ = last;
                  wakes_.SignalAll();
                },
            .failed =
                [this](const absl::Status& status) {
                  base::MutexLock lock(mutex_);
                  EXPECT_TRUE(failure_.ok()) << "told twice";
                  failure_ = status;
                  wakes_.SignalAll();
                }};
  }

  void WaitFor(Token token) {
    base::MutexLock lock(mutex_);
    while (durable_ < token && failure_.ok()) wakes_.Wait(mutex_);
  }
  absl::Status WaitForFailure() {
    base::MutexLock lock(mutex_);
    while (failure_.ok()) wakes_.Wait(mutex_);
    return failure_;
  }
  Token durable() {
    base::MutexLock lock(mutex_);
    return durable_;
  }

 private:
  base::Mutex mutex_;
  base::ConditionVariable wakes_;
  Token durable_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

class LogThreadTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = Wal::Create(fs_, kTestDirectory, {.segment_bytes = 16384}, kTestIdentity);
    ASSERT_TRUE(opened.ok()) << opened.status();
    wal_ = std::move(opened->wal);
  }

  FaultFs fs_;
  std::unique_ptr<Wal> wal_;
  Watcher watcher_;
};

TEST_F(LogThreadTest, CompletesInOrderAndSurvivesThePowerCut) {
  constexpr uint64_t kEntries = 500;
  {
    LogThread thread(*wal_, {.spare_pause = std::chrono::microseconds(0)}, watcher_.callbacks());
    std::thread reader([this] {
      for (int i = 0; i < 200; ++i) {
        const Index last = wal_->last().index;
        if (last == Index()) continue;
        auto entries =
            wal_->ReadEntries(std::max(wal_->before_first().index + 1, Index(1)), last + 1, 10000);
        if (entries.ok()) {
          EXPECT_FALSE(entries->empty());
        }
      }
    });
    for (uint64_t i = 1; i <= kEntries; ++i) {
      Append append = EntriesOf(i, i, 1, 200);
      append.commit = Index(i);
      if (i % 50 == 0) append.marker = Marker{.id = {.term = Term(1), .index = Index(i - 1)}};
      EXPECT_EQ(thread.Submit(std::move(append)), i);
      if (i % 50 == 0) {
        watcher_.WaitFor(i);
        EXPECT_TRUE(wal_->CollectCovered(Index(i - 1)).ok());
      }
    }
    watcher_.WaitFor(kEntries);
    reader.join();
    const LogThreadFigures figures = thread.figures();
    EXPECT_EQ(figures.submissions, kEntries);
    EXPECT_LE(figures.batches, kEntries);
    fs_.PowerOff();
  }
  wal_.reset();
  fs_.Crash(7);
  auto opened = Wal::Open(fs_, kTestDirectory, {.segment_bytes = 16384}, kTestIdentity);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->recovered.last.index, Index(kEntries));
  EXPECT_EQ(opened->recovered.hard_state.commit, Index(kEntries));
}

TEST_F(LogThreadTest, StopDrainsAndProves) {
  LogThread thread(*wal_, {}, watcher_.callbacks());
  for (uint64_t i = 1; i <= 20; ++i) thread.Submit(EntriesOf(i, i, 1));
  EXPECT_TRUE(thread.Stop().ok());
  EXPECT_TRUE(thread.Stop().ok());
  EXPECT_EQ(watcher_.durable(), 20u);
  const uint64_t operations = fs_.operations();
  EXPECT_TRUE(wal_->WriteDurableThrough().ok());
  EXPECT_EQ(fs_.operations(), operations) << "proven already";
}

TEST_F(LogThreadTest, AFailedSyncEndsItForGood) {
  LogThread thread(*wal_, {.idle_before_proof = std::chrono::hours(1)}, watcher_.callbacks());
  thread.Submit(EntriesOf(1, 1, 1));
  watcher_.WaitFor(1);
  // The maker of the spare syncs too, and may meet the fault first; the next one is for the log.
  fs_.PowerOff();
  thread.Submit(EntriesOf(2, 2, 1));
  EXPECT_EQ(watcher_.WaitForFailure().code(), absl::StatusCode::kInternal);
  thread.Submit(EntriesOf(3, 3, 1));
  EXPECT_FALSE(thread.Stop().ok());
  EXPECT_EQ(watcher_.durable(), 1u);
}

TEST_F(LogThreadTest, ASpareWhoseNameIsNotDurableEndsItForGood) {
  fs_.FailOnce(FaultOperation::kSyncDirectory, absl::StatusCode::kInternal);
  LogThread thread(*wal_, {}, watcher_.callbacks());
  EXPECT_EQ(watcher_.WaitForFailure().code(), absl::StatusCode::kInternal);
  EXPECT_FALSE(thread.Stop().ok());
}

TEST_F(LogThreadTest, AFullDiskIsAStateUntilThereIsRoom) {
  fs_.set_capacity_bytes(fs_.used_bytes());
  LogThread thread(*wal_, {.spare_retry = std::chrono::milliseconds(1)}, watcher_.callbacks());
  while (!thread.out_of_space()) std::this_thread::yield();
  thread.Submit(EntriesOf(1, 1, 1));
  watcher_.WaitFor(1);
  EXPECT_EQ(watcher_.durable(), 1u);
  fs_.set_capacity_bytes(1 << 20);
  while (thread.out_of_space()) std::this_thread::yield();
  EXPECT_TRUE(thread.Stop().ok());
  EXPECT_TRUE(wal_->has_spare());
}

// Whoever fills the disk to find out that it is full takes the room from others meanwhile.
TEST_F(LogThreadTest, WithoutRoomForASpareNoneIsBegun) {
  const uint64_t used_bytes = fs_.used_bytes();
  std::atomic<bool> has_room = false;
  std::atomic<int> asked = 0;
  LogThread thread(*wal_,
                   {.spare_retry = std::chrono::milliseconds(1),
                    .has_room_for_spare =
                        [&] {
                          ++asked;
                          return has_room.load();
                        }},
                   watcher_.callbacks());
  while (asked < 3) std::this_thread::yield();
  EXPECT_TRUE(thread.out_of_space());
  EXPECT_EQ(fs_.used_bytes(), used_bytes);
  has_room = true;
  while (thread.out_of_space()) std::this_thread::yield();
  EXPECT_TRUE(thread.Stop().ok());
  EXPECT_TRUE(wal_->has_spare());
}

TEST_F(LogThreadTest, IdlenessProvesTheLastBatch) {
  LogThread thread(*wal_, {.idle_before_proof = std::chrono::milliseconds(0)},
                   watcher_.callbacks());
  thread.Submit(EntriesOf(1, 1, 1));
  watcher_.WaitFor(1);
  EXPECT_TRUE(thread.Stop().ok());
}

constexpr std::chrono::milliseconds kNoInterval = std::chrono::hours(1);

// A log in another mode than kAlways.
class RelaxedLog {
 public:
  // A sync that nobody asks for comes after `interval`.
  explicit RelaxedLog(SyncMode mode, std::chrono::milliseconds interval = kNoInterval) {
    auto opened = Wal::Create(fs_, kTestDirectory, {.segment_bytes = 16384}, kTestIdentity);
    EXPECT_TRUE(opened.ok()) << opened.status();
    wal_ = std::move(opened->wal);
    thread_ = std::make_unique<LogThread>(
        *wal_, LogThreadOptions{.idle_before_proof = kNoInterval, .sync_interval = interval},
        watcher_.callbacks());
    Append({.sync_mode = mode});
    EXPECT_TRUE(IsSynced());
    EXPECT_EQ(thread_->figures().mode, mode);
  }

  // Submits, and waits until that is completed.
  void Append(wal::Append append) { watcher_.WaitFor(thread_->Submit(std::move(append))); }
  bool IsSynced() const {
    const LogFigures figures = wal_->figures();
    return figures.synced_bytes == figures.appended_bytes;
  }
  // What the next start finds after a power cut now.
  Recovered Crash(uint64_t seed) {
    fs_.PowerOff();
    thread_.reset();
    wal_.reset();
    fs_.Crash(seed);
    auto opened = Wal::Open(fs_, kTestDirectory, {.segment_bytes = 16384}, kTestIdentity);
    EXPECT_TRUE(opened.ok()) << opened.status();
    return opened->recovered;
  }

  FaultFs& fs() { return fs_; }
  Wal& wal() { return *wal_; }
  LogThread& thread() { return *thread_; }
  Watcher& watcher() { return watcher_; }

 private:
  FaultFs fs_;
  std::unique_ptr<Wal> wal_;
  Watcher watcher_;
  std::unique_ptr<LogThread> thread_;
};

TEST(RelaxedLogTest, ASyncComesAfterTheInterval) {
  RelaxedLog log(SyncMode::kInterval, std::chrono::milliseconds(1));
  log.Append(EntriesOf(1, 1, 1));
  while (!log.IsSynced()) std::this_thread::yield();
  EXPECT_TRUE(log.thread().Stop().ok());
}

TEST(RelaxedLogTest, WhatOthersActOnIsSyncedFirst) {
  Append term;
  term.hard_state = raft::HardState{.term = Term(2), .vote = MemberId(7)};
  Append installed;
  installed.snapshot_installed = {.id = {.term = Term(2), .index = Index(50)}, .configuration = {}};
  for (const SyncMode mode : {SyncMode::kInterval, SyncMode::kNever}) {
    RelaxedLog log(mode);
    for (const Append& append : {term, MarkerAt(0, 1), installed}) {
      log.Append({.commit = Index(1)});
      EXPECT_FALSE(log.IsSynced());
      log.Append(append);
      EXPECT_TRUE(log.IsSynced());
    }
    EXPECT_TRUE(log.thread().Stop().ok());
  }
}

TEST(RelaxedLogTest, ASyncThatIsAskedForCoversAllThatWasCompleted) {
  RelaxedLog log(SyncMode::kNever);
  std::vector<std::thread> askers;
  for (int asker = 0; asker < 3; ++asker) {
    askers.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        log.Append({.commit = Index(1)});
        const uint64_t completed_bytes = log.wal().figures().synced_bytes;
        EXPECT_TRUE(log.thread().SyncCompleted().ok());
        EXPECT_GE(log.wal().figures().synced_bytes, completed_bytes);
      }
    });
  }
  for (std::thread& asker : askers) asker.join();
  EXPECT_TRUE(log.IsSynced());
  EXPECT_TRUE(log.thread().Stop().ok());
}

TEST(RelaxedLogTest, ASyncThatFailsLaterEndsItAllTheSame) {
  RelaxedLog log(SyncMode::kNever);
  log.Append(EntriesOf(1, 1, 1));
  log.fs().PowerOff();
  EXPECT_EQ(log.thread().SyncCompleted().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(log.watcher().WaitForFailure().code(), absl::StatusCode::kInternal);
  EXPECT_FALSE(log.thread().SyncCompleted().ok());
  EXPECT_FALSE(log.thread().Stop().ok());
}

// What was completed and not synced may be gone; that it may be is not.
TEST(RelaxedLogTest, APowerCutTakesWhatWasNotSyncedAndTheLogSaysThatItMay) {
  uint64_t lost = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    RelaxedLog log(SyncMode::kInterval);
    log.Append(EntriesOf(1, 10, 1, 300));
    EXPECT_TRUE(log.thread().SyncCompleted().ok());
    // Over several segments, which repeat the mode.
    for (uint64_t i = 11; i <= 60; ++i) log.Append(EntriesOf(i, i, 1, 600));
    const Recovered recovered = log.Crash(seed);
    EXPECT_GE(recovered.last.index, Index(10));
    EXPECT_EQ(recovered.sync_mode, SyncMode::kInterval);
    lost += Index(60) - recovered.last.index;
  }
  EXPECT_GT(lost, 0u);
}

TEST(RelaxedLogTest, BackInAlwaysNothingIsLost) {
  RelaxedLog log(SyncMode::kInterval);
  log.Append(EntriesOf(1, 10, 1, 300));
  log.Append({.sync_mode = SyncMode::kAlways});
  EXPECT_TRUE(log.IsSynced());
  log.Append(EntriesOf(11, 20, 1, 300));
  EXPECT_TRUE(log.IsSynced());
  const Recovered recovered = log.Crash(3);
  EXPECT_EQ(recovered.last.index, Index(20));
  EXPECT_EQ(recovered.sync_mode, SyncMode::kAlways);
}

}  // namespace
}  // namespace cairn::wal
