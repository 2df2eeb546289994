// Who is refused a snapshot, who is given up, and how many copies are made for all of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "server/rpc/eager_call.h"
#include "server/rpc/fake_call.h"
#include "server/snapshot/saver.h"
#include "server/snapshot/test_saver.h"
#include "server/snapshot/test_state.h"

namespace cairn::server {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

class SaverLimitsTest : public SaverFixture {
 protected:
  void Save(rpc::FakeStreamCall& call) { saver_->Save(call.TakeCall(), "3.7.0"); }
  void Write() {
    ++last_;
    CheckOk(state_->applier().Apply(History(last_, last_)).status());
  }
  // Saves, and receives nothing.
  absl::Status SaveAndTakeNothing() {
    MakeSaver();
    rpc::FakeStreamCall call;
    Save(call);
    const absl::Status status = call.WaitStatus();
    EXPECT_EQ(call.queued_bytes(), 0);
    return status;
  }

  uint64_t last_ = kSavedEntries;
};

TEST_F(SaverLimitsTest, CopiesAreSharedAndBounded) {
  std::vector<rpc::FakeStreamCall> calls(options_.saves_max + 1);
  for (rpc::FakeStreamCall& call : calls) saver_->Save(call.TakeCall(), "3.7.0");
  const absl::Status refused = calls.back().WaitStatus();
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  for (size_t i = 0; i < options_.saves_max; ++i) ASSERT_TRUE(calls[i].WaitReceive().has_value());
  EXPECT_EQ(Copies(), 1);
  for (rpc::FakeStreamCall& call : calls) call.Cancel();
  saver_->Stop();
  EXPECT_EQ(Copies(), 0);
}

// Whoever begins after a write needs a younger copy: that is no reason to refuse anybody.
TEST_F(SaverLimitsTest, AsManySaveAsMayAlsoWithWritesBetween) {
  std::vector<rpc::FakeStreamCall> calls(options_.saves_max);
  for (size_t i = 0; i < calls.size(); ++i) {
    Save(calls[i]);
    ASSERT_TRUE(calls[i].WaitReceive().has_value()) << i << ": " << calls[i].WaitStatus();
    Write();
  }
  EXPECT_EQ(Copies(), static_cast<int>(options_.saves_max));
  rpc::FakeStreamCall refused;
  saver_->Save(refused.TakeCall(), "3.7.0");
  EXPECT_TRUE(absl::IsResourceExhausted(refused.WaitStatus())) << refused.WaitStatus();
  for (rpc::FakeStreamCall& call : calls) {
    const Saved saved = Receive(call);
    EXPECT_TRUE(saved.status.ok()) << saved.status;
  }
  saver_->Stop();
  EXPECT_EQ(Copies(), 0);
}

// All of it fits into the queue: what is sent is not yet taken.
TEST_F(SaverLimitsTest, AStreamCountsUntilItsClientHasTakenAll) {
  options_.queue_bytes = int64_t{16} << 20;
  options_.saves_max = 1;
  MakeSaver();
  rpc::FakeStreamCall call;
  saver_->Save(call.TakeCall(), "3.7.0");
  ASSERT_TRUE(call.WaitReceive().has_value());
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  // The copy goes when all is queued.
  while (Copies() > 0 && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
  EXPECT_EQ(Copies(), 0);
  EXPECT_GT(call.queued_bytes(), 0);
  EXPECT_FALSE(call.status().has_value());
  rpc::FakeStreamCall refused;
  saver_->Save(refused.TakeCall(), "3.7.0");
  EXPECT_TRUE(absl::IsResourceExhausted(refused.WaitStatus())) << refused.WaitStatus();
  while (call.Receive().has_value()) {
  }
  EXPECT_TRUE(call.WaitStatus().ok()) << call.WaitStatus();
  rpc::FakeStreamCall next;
  saver_->Save(next.TakeCall(), "3.7.0");
  EXPECT_TRUE(Receive(next).status.ok());
}

TEST_F(SaverLimitsTest, WhoTakesNothingOfTheEndIsGivenUpToo) {
  options_.queue_bytes = int64_t{16} << 20;
  options_.stall_max = milliseconds(20);
  const absl::Status status = SaveAndTakeNothing();
  EXPECT_TRUE(absl::IsAborted(status)) << status;
}

// With a client that keeps the thread busy beside it.
TEST_F(SaverLimitsTest, WhoTakesNothingIsGivenUpAlsoWhenOthersTakeAll) {
  // Far less than the whole snapshot may take.
  options_.stall_max = std::chrono::seconds(1);
  // Turned by the thread that sends.
  std::atomic<std::chrono::steady_clock::time_point> now;
  options_.now = [&now] { return now.load(); };
  MakeSaver();
  rpc::FakeStreamCall stalled;
  const std::shared_ptr<rpc::StreamCall> given_up = stalled.TakeCall();
  rpc::FakeStreamCall eager;
  int messages = 0;
  int messages_after = 0;
  const auto on_write = [&] {
    now = now.load() + options_.stall_max;
    ++messages;
    if (given_up->cancelled()) ++messages_after;
  };
  // It has its turn first, and fills its queue in that.
  saver_->Save(given_up, "3.7.0");
  saver_->Save(std::make_shared<rpc::EagerCall>(eager.TakeCall(), on_write), "3.7.0");
  ASSERT_TRUE(eager.WaitStatus().ok()) << eager.WaitStatus();
  saver_->Stop();
  EXPECT_TRUE(absl::IsAborted(stalled.WaitStatus())) << stalled.WaitStatus();
  EXPECT_GT(messages_after, messages / 2);
}

TEST_F(SaverLimitsTest, WhoTakesNothingIsGivenUp) {
  options_.stall_max = milliseconds(20);
  const absl::Status status = SaveAndTakeNothing();
  EXPECT_TRUE(absl::IsAborted(status)) << status;
  saver_->Stop();
  EXPECT_EQ(Copies(), 0);
}

TEST_F(SaverLimitsTest, WhoTakesTooLongIsGivenUp) {
  options_.age_max = milliseconds(20);
  const absl::Status status = SaveAndTakeNothing();
  EXPECT_TRUE(absl::IsAborted(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("takes too long"));
  saver_->Stop();
  EXPECT_EQ(Copies(), 0);
}

TEST_F(SaverLimitsTest, ALowDiskLetsACopyLiveForAShorterTime) {
  std::atomic<bool> is_low = false;
  options_.is_disk_low = [&] { return is_low.load(); };
  options_.low_disk_age_max = milliseconds(20);
  MakeSaver();
  rpc::FakeStreamCall call;
  Save(call);
  ASSERT_TRUE(call.WaitReceive().has_value());
  EXPECT_EQ(call.WaitStatus(milliseconds(100)).code(), absl::StatusCode::kDeadlineExceeded);
  is_low = true;
  const absl::Status status = call.WaitStatus();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("save from another member"));
  saver_->Stop();
  EXPECT_EQ(Copies(), 0);
}

TEST_F(SaverLimitsTest, WhereAllPlacesAreTakenTheSlowestGivesUpItsOwn) {
  options_.saves_max = 2;
  options_.full_stall_max = milliseconds(20);
  MakeSaver();
  rpc::FakeStreamCall first({.peer = "10.0.0.1:4711"});
  Save(first);
  ASSERT_TRUE(first.WaitReceive().has_value());
  EXPECT_EQ(first.WaitStatus(milliseconds(100)).code(), absl::StatusCode::kDeadlineExceeded)
      << "there is room for another";
  rpc::FakeStreamCall second({.peer = "10.0.0.2:4711"});
  Save(second);
  const absl::Status status = first.WaitStatus();
  EXPECT_TRUE(absl::IsAborted(status)) << status;
  EXPECT_TRUE(Receive(second).status.ok());
  rpc::FakeStreamCall third;
  Save(third);
  EXPECT_TRUE(Receive(third).status.ok());
}

TEST_F(SaverLimitsTest, ARefusalSaysWhoSaves) {
  options_.saves_max = 2;
  MakeSaver();
  rpc::FakeStreamCall first({.peer = "10.0.0.1:4711"});
  rpc::FakeStreamCall second({.peer = "10.0.0.2:4711"});
  Save(first);
  Save(second);
  rpc::FakeStreamCall third;
  Save(third);
  const absl::Status refused = third.WaitStatus();
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("by 10.0.0.1:4711, 10.0.0.2:4711;"));
}

// Each copy is a flush: who writes, begins and goes in a loop must not have one each time.
TEST_F(SaverLimitsTest, BetweenTwoCopiesLiesAPauseAndWhoWaitsSharesTheNext) {
  options_.copy_pause_min = milliseconds(500);
  MakeSaver();
  HeldCopy held(1);
  rpc::FakeStreamCall first;
  Save(first);
  held.WaitUntilMade();
  std::vector<rpc::FakeStreamCall> others(3);
  for (rpc::FakeStreamCall& other : others) {
    Write();
    Save(other);
  }
  const auto start = std::chrono::steady_clock::now();
  held.LetGo();
  EXPECT_TRUE(Receive(first).status.ok());
  for (rpc::FakeStreamCall& other : others) EXPECT_TRUE(Receive(other).status.ok());
  EXPECT_GE(std::chrono::steady_clock::now() - start, options_.copy_pause_min);
  EXPECT_EQ(held.made(), 2);
  saver_->Stop();
  EXPECT_EQ(Copies(), 0);
}

TEST_F(SaverLimitsTest, WhoGoesInThePauseLeavesItsPlaceAndNoCopy) {
  options_.copy_pause_min = std::chrono::hours(1);
  options_.saves_max = 2;
  MakeSaver();
  const HeldCopy copies(0);  // None is held.
  rpc::FakeStreamCall first;
  Save(first);
  ASSERT_TRUE(first.WaitReceive().has_value());
  Write();
  rpc::FakeStreamCall second;
  Save(second);
  // What has been made is let go of in the pause, too.
  EXPECT_TRUE(Receive(first).status.ok());
  EXPECT_EQ(Copies(), 0);
  EXPECT_FALSE(second.status().has_value());
  second.Cancel();
  EXPECT_FALSE(second.WaitStatus().ok());
  EXPECT_EQ(copies.made(), 1);
  saver_->Stop();
}

TEST_F(SaverLimitsTest, OnALowDiskThereIsOneCopyAtMost) {
  std::atomic<bool> is_low = true;
  options_.is_disk_low = [&] { return is_low.load(); };
  MakeSaver();
  rpc::FakeStreamCall first;
  Save(first);
  ASSERT_TRUE(first.WaitReceive().has_value());
  rpc::FakeStreamCall shares;
  Save(shares);
  ASSERT_TRUE(shares.WaitReceive().has_value());
  Write();
  rpc::FakeStreamCall wants_another;
  Save(wants_another);
  const absl::Status refused = wants_another.WaitStatus();
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("the disk is nearly full"));
  is_low = false;
  rpc::FakeStreamCall later;
  Save(later);
  EXPECT_TRUE(Receive(later).status.ok());
  saver_->Stop();
}

TEST_F(SaverLimitsTest, WhereACopyCannotBeMadeAllWhoWaitForItHearWhy) {
  options_.copy_pause_min = milliseconds(500);
  MakeSaver();
  HeldCopy held(1, [this] { std::filesystem::remove_all(CopyPath()); });
  rpc::FakeStreamCall first;
  Save(first);
  held.WaitUntilMade();
  std::vector<rpc::FakeStreamCall> others(3);
  for (rpc::FakeStreamCall& other : others) Save(other);
  held.LetGo();
  EXPECT_FALSE(first.WaitStatus().ok());
  for (rpc::FakeStreamCall& other : others) EXPECT_FALSE(other.WaitStatus().ok());
  EXPECT_EQ(held.made(), 2);
}

TEST_F(SaverLimitsTest, AStopEndsThePause) {
  options_.copy_pause_min = std::chrono::hours(1);
  MakeSaver();
  rpc::FakeStreamCall first;
  Save(first);
  EXPECT_TRUE(Receive(first).status.ok());
  rpc::FakeStreamCall second;
  Save(second);
  saver_->Stop();
  EXPECT_TRUE(absl::IsUnavailable(second.WaitStatus())) << second.WaitStatus();
}

}  // namespace
}  // namespace cairn::server
