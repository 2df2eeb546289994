#include "server/compactor.h"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>

#include "server/test_member.h"

namespace cairn::server {
namespace {

class CompactorTest : public testing::Test {
 protected:
  void Start() {
    auto started = TestMember::Start(disk_);
    ASSERT_TRUE(started.ok()) << started.status();
    member_ = *std::move(started);
    ASSERT_TRUE(member_->runner().WaitReady(kTestPatience).ok());
  }
  void StartCompactor() {
    CompactorOptions options;
    options.step_rows = 3;
    options.pause = std::chrono::milliseconds(0);
    options.poll = std::chrono::milliseconds(1);
    options.on_fatal = fatal_.callback();
    compactor_ = std::make_unique<Compactor>(options, member_->store(), member_->runner());
  }
  void TearDown() override { compactor_.reset(); }

  absl::Status WaitCompacted(Revision revision) {
    std::promise<absl::Status> promise;
    member_->runner().WaitCompacted(revision, [&](absl::Status s) { promise.set_value(s); });
    return promise.get_future().get();
  }

  TestDisk disk_;
  FatalCounter fatal_;
  std::unique_ptr<TestMember> member_;
  std::unique_ptr<Compactor> compactor_;
};

TEST_F(CompactorTest, RemovalProceedsWithoutNewEntries) {
  ASSERT_NO_FATAL_FAILURE(Start());
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(member_->Put("key", std::to_string(i)).status.ok());
  const int64_t size_before_bytes = member_->store().logical_size_bytes();
  ASSERT_TRUE(member_->Compact(Revision(45)).ok());
  const mvcc::EntryApplied applied = member_->store().applied();
  StartCompactor();
  EXPECT_TRUE(WaitCompacted(Revision(45)).ok());
  EXPECT_EQ(member_->store().applied(), applied);
  EXPECT_LT(member_->store().logical_size_bytes(), size_before_bytes / 2);
  EXPECT_EQ(member_->Get("key").value, "49");
  compactor_.reset();
  EXPECT_EQ(fatal_.count(), 0);
}

TEST_F(CompactorTest, RemovalResumesAfterARestart) {
  ASSERT_NO_FATAL_FAILURE(Start());
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(member_->Put("key", std::to_string(i)).status.ok());
  ASSERT_TRUE(member_->Compact(Revision(45)).ok());
  const auto step = member_->store().FindRemovalStep(5);
  ASSERT_TRUE(step.ok() && !step->empty());
  ASSERT_TRUE(*member_->runner().CommitRemoval(*step));
  ASSERT_TRUE(member_->runner().Stop().ok());
  member_.reset();
  ASSERT_NO_FATAL_FAILURE(Start());
  // Where the last committed step ended, not from the start.
  const auto next = member_->store().FindRemovalStep(5);
  ASSERT_TRUE(next.ok());
  EXPECT_EQ(next->from, step->to);
  StartCompactor();
  EXPECT_TRUE(WaitCompacted(Revision(45)).ok());
  EXPECT_EQ(member_->Get("key").value, "49");
}

// The runner says so itself; the compactor only ends.
TEST_F(CompactorTest, AFailingStateEndsItWithoutASecondAlarm) {
  ASSERT_NO_FATAL_FAILURE(Start());
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(member_->Put("key", std::to_string(i)).status.ok());
  ASSERT_TRUE(member_->Compact(Revision(9)).ok());
  disk_.FailStateWrites();
  StartCompactor();
  member_->fatal().Wait().IgnoreError();
  compactor_->Stop();
  EXPECT_EQ(member_->fatal().count(), 1);
  EXPECT_EQ(fatal_.count(), 0);
}

}  // namespace
}  // namespace cairn::server
