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
    const LogThread::Figures figures = thread.figures();
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

TEST_F(LogThreadTest, IdlenessProvesTheLastBatch) {
  LogThread thread(*wal_, {.idle_before_proof = std::chrono::milliseconds(0)},
                   watcher_.callbacks());
  thread.Submit(EntriesOf(1, 1, 1));
  watcher_.WaitFor(1);
  EXPECT_TRUE(thread.Stop().ok());
}

}  // namespace
}  // namespace cairn::wal
