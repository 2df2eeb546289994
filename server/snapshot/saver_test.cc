#include "server/snapshot/saver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "api/rpc.pb.h"
#include "base/fail_point.h"
#include "server/rpc/fake_call.h"
#include "server/snapshot/inspect.h"
#include "server/snapshot/test_saver.h"
#include "server/snapshot/test_state.h"
#include "wal/pins.h"

namespace cairn::server {
namespace {

using etcdserverpb::SnapshotResponse;
using testing::Contains;
using testing::Each;
using testing::Ge;
using testing::HasSubstr;
using testing::Le;

bool GoOn() { return false; }

// What the streams hold; how many there may be is in saver_limits_test.
class SaverTest : public SaverFixture {
 protected:
  // Has the clock pass ten milliseconds at each look, and others call as `calls` counts, which is
  // asked once for each message, on the thread that sends.
  void MakeSaverWithClock(std::function<uint64_t()> calls) {
    options_.message_bytes = 2048;
    options_.calls_begun = std::move(calls);
    options_.now = [passed = std::make_shared<std::atomic<int>>(0)] {
      return std::chrono::steady_clock::time_point(std::chrono::milliseconds(10 * ++*passed));
    };
    MakeSaver();
  }
};

TEST_F(SaverTest, SendsSmallMessagesWhileOthersCall) {
  MakeSaverWithClock([calls = uint64_t{0}]() mutable { return ++calls; });
  rpc::FakeStreamCall call;
  saver_->Save(call.TakeCall(), "3.7.0");
  const Saved saved = Receive(call);
  EXPECT_TRUE(saved.status.ok()) << saved.status;
  EXPECT_THAT(saved.sizes_bytes, Each(Le(options_.busy_message_bytes)));
}

TEST_F(SaverTest, SendsLargeMessagesWhileNobodyIsServed) {
  MakeSaverWithClock([] { return 7; });
  rpc::FakeStreamCall call;
  saver_->Save(call.TakeCall(), "3.7.0");
  const Saved saved = Receive(call);
  EXPECT_TRUE(saved.status.ok()) << saved.status;
  // The last one is what is left.
  EXPECT_THAT(saved.sizes_bytes, Contains(options_.message_bytes).Times(Ge(10)));
  const auto verified = VerifySnapshot(wal::PosixFs(), Keep(saved), Digest::kCheck, GoOn);
  EXPECT_TRUE(verified.ok()) << verified.status();
}

TEST_F(SaverTest, SendsSmallMessagesAfterAnEntryOfOthers) {
  // On the thread that sends, the only one that uses the state then.
  MakeSaverWithClock([this, messages = 0]() mutable {
    if (++messages == 10) {
      EXPECT_TRUE(state_->applier().Apply(History(kSavedEntries + 1, kSavedEntries + 1)).ok());
    }
    return 7;
  });
  rpc::FakeStreamCall call;
  saver_->Save(call.TakeCall(), "3.7.0");
  const Saved saved = Receive(call);
  EXPECT_TRUE(saved.status.ok()) << saved.status;
  ASSERT_GT(saved.sizes_bytes.size(), 20U);
  EXPECT_EQ(saved.sizes_bytes[8], options_.message_bytes);
  EXPECT_EQ(saved.sizes_bytes[9], options_.busy_message_bytes);
  EXPECT_EQ(saved.sizes_bytes[19], options_.message_bytes);
}

// What makes a copy enters the state's queue of writers, and what removes one the file system's
// transactions: everybody would wait for a thread that the scheduler passes over.
TEST_F(SaverTest, SendsAtALowPriorityAndHandlesCopiesAtThatOfTheProcess) {
  const auto niceness = [] { return getpriority(PRIO_PROCESS, static_cast<id_t>(gettid())); };
  const int own = niceness();
  constexpr int kNone = -100;
  std::atomic<int> sending{kNone};
  std::atomic<int> making{kNone};
  std::atomic<int> removing{kNone};
  options_.calls_begun = [&] {
    sending = niceness();
    return uint64_t{0};
  };
  MakeSaver();
  const base::ScopedFailPointObserver observer([&](std::string_view name) {
    if (name == "server.snapshot.checkpoint_made") making = niceness();
    if (name == "server.snapshot.checkpoint_removed") removing = niceness();
  });
  rpc::FakeStreamCall call;
  saver_->Save(call.TakeCall(), "3.7.0");
  EXPECT_TRUE(Receive(call).status.ok());
  saver_->Stop();
  EXPECT_GE(sending, std::max(own, 10));
  EXPECT_EQ(making, own);
  EXPECT_EQ(removing, own);
}

TEST_F(SaverTest, WhoHasGoneBeforeHasNoCopyMade) {
  std::atomic<int> made = 0;
  const base::ScopedFailPointObserver observer([&](std::string_view name) {
    if (name == "server.snapshot.checkpoint_made") ++made;
  });
  rpc::FakeStreamCall call;
  std::shared_ptr<rpc::StreamCall> served = call.TakeCall();
  call.Cancel();
  saver_->Save(std::move(served), "3.7.0");
  EXPECT_FALSE(call.WaitStatus().ok());
  saver_->Stop();
  EXPECT_EQ(made, 0);
}

TEST_F(SaverTest, WhoGoesWhileItsCopyIsMadeLeavesNothing) {
  HeldCopy held(1);
  rpc::FakeStreamCall call;
  saver_->Save(call.TakeCall(), "3.7.0");
  held.WaitUntilMade();
  call.Cancel();
  held.LetGo();
  EXPECT_FALSE(call.WaitStatus().ok());
  EXPECT_EQ(Copies(), 0);
  saver_->Stop();
}

TEST_F(SaverTest, AStopWhileACopyIsMadeEndsAllStreams) {
  HeldCopy held(1);
  rpc::FakeStreamCall first;
  rpc::FakeStreamCall second;
  saver_->Save(first.TakeCall(), "3.7.0");
  saver_->Save(second.TakeCall(), "3.7.0");
  held.WaitUntilMade();
  std::thread stop([this] { saver_->Stop(); });
  held.LetGo();
  stop.join();
  EXPECT_TRUE(absl::IsUnavailable(first.WaitStatus())) << first.WaitStatus();
  EXPECT_TRUE(absl::IsUnavailable(second.WaitStatus())) << second.WaitStatus();
  EXPECT_EQ(Copies(), 0);
}

// A transport says that there is room while the copies are removed.
TEST_F(SaverTest, AStopWhileClientsTakeWhatComesEndsAllStreams) {
  std::vector<rpc::FakeStreamCall> calls(4);
  for (rpc::FakeStreamCall& call : calls) saver_->Save(call.TakeCall(), "3.7.0");
  for (rpc::FakeStreamCall& call : calls) ASSERT_TRUE(call.WaitReceive().has_value());
  std::vector<std::thread> clients;
  for (rpc::FakeStreamCall& call : calls) {
    clients.emplace_back([&call] {
      while (call.WaitReceive().has_value()) {
      }
    });
  }
  saver_->Stop();
  for (std::thread& client : clients) client.join();
  for (rpc::FakeStreamCall& call : calls) EXPECT_TRUE(call.status().has_value());
  EXPECT_EQ(Copies(), 0);
}

TEST_F(SaverTest, OthersGoOnWhileACopyIsMade) {
  HeldCopy held(2);
  rpc::FakeStreamCall first;
  saver_->Save(first.TakeCall(), "3.7.0");
  ASSERT_TRUE(first.WaitReceive().has_value());
  CheckOk(state_->applier().Apply(History(kSavedEntries + 1, kSavedEntries + 1)).status());
  rpc::FakeStreamCall second;
  saver_->Save(second.TakeCall(), "3.7.0");
  held.WaitUntilMade();
  SnapshotResponse last;
  while (last.blob().size() != 32) {
    const std::optional<std::string> message = first.WaitReceive();
    ASSERT_TRUE(message.has_value());
    ASSERT_TRUE(last.ParseFromString(*message));
  }
  held.LetGo();
  EXPECT_TRUE(first.WaitStatus().ok()) << first.WaitStatus();
  EXPECT_TRUE(Receive(second).status.ok());
  saver_->Stop();
  EXPECT_EQ(Copies(), 0);
}

TEST_F(SaverTest, ACopyThatCannotBeMadeLeavesItsPlace) {
  options_.saves_max = 1;
  MakeSaver();
  std::atomic<int> made = 0;
  const base::ScopedFailPointObserver observer([&](std::string_view name) {
    if (name == "server.snapshot.checkpoint_made" && ++made == 1) {
      std::filesystem::remove_all(CopyPath());
    }
  });
  rpc::FakeStreamCall call;
  saver_->Save(call.TakeCall(), "3.7.0");
  const absl::Status status = call.WaitStatus();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(kCheckpointPrefix)));
  rpc::FakeStreamCall next;
  saver_->Save(next.TakeCall(), "3.7.0");
  EXPECT_TRUE(Receive(next).status.ok());
  saver_->Stop();
  EXPECT_EQ(Copies(), 0);
}

TEST_F(SaverTest, SendsTheStateAsItIs) {
  rpc::FakeStreamCall call;
  saver_->Save(call.TakeCall(), "3.7.0");
  const Saved saved = Receive(call);
  EXPECT_TRUE(saved.status.ok()) << saved.status;
  EXPECT_EQ(saved.data.size() % 512, 0U);
  const std::string path = Keep(saved);
  const auto verified = VerifySnapshot(wal::PosixFs(), path, Digest::kCheck, GoOn);
  ASSERT_TRUE(verified.ok()) << verified.status();
  EXPECT_EQ(verified->counts.live_keys, int64_t{kSavedEntries} - 3);
  EXPECT_EQ(verified->manifest.revision(), state_->store().published().revision.value());
  EXPECT_EQ(verified->manifest.applied_index(), kSavedEntries);
  const auto facts = InspectSnapshot(wal::PosixFs(), path, GoOn);
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(facts->hash, state_->Hash());
  EXPECT_EQ(facts->live_keys, int64_t{kSavedEntries} - 3);
  EXPECT_EQ(facts->manifest.storage_version(), "3.7.0");
  saver_->Stop();
  EXPECT_EQ(Copies(), 0);
}

TEST_F(SaverTest, ASlowClientHoldsUpNobodyAndSeesTheStateOfItsBeginning) {
  rpc::FakeStreamCall slow;
  saver_->Save(slow.TakeCall(), "3.7.0");
  ASSERT_TRUE(slow.WaitReceive().has_value());
  CheckOk(state_->applier().Apply(History(kSavedEntries + 1, kSavedEntries + 20)).status());
  rpc::FakeStreamCall fast;
  saver_->Save(fast.TakeCall(), "3.7.0");
  const Saved later = Receive(fast);
  EXPECT_TRUE(later.status.ok()) << later.status;
  // Never more than a message beyond what may be queued.
  EXPECT_LE(slow.queued_bytes(), 4096 + 1024);
  const auto found = InspectSnapshot(wal::PosixFs(), Keep(later), GoOn);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->live_keys, int64_t{kSavedEntries} + 17);
  const Saved first = Receive(slow);
  EXPECT_TRUE(first.status.ok()) << first.status;
}

TEST_F(SaverTest, AClientThatGoesLeavesNothing) {
  rpc::FakeStreamCall call;
  saver_->Save(call.TakeCall(), "3.7.0");
  ASSERT_TRUE(call.WaitReceive().has_value());
  EXPECT_EQ(Copies(), 1);
  call.Cancel();
  EXPECT_FALSE(call.WaitStatus().ok());
  EXPECT_EQ(Copies(), 0);
}

TEST_F(SaverTest, PinsTheLogBehindACopyWhileItIsSent) {
  rpc::FakeStreamCall call;
  saver_->Save(call.TakeCall(), "3.7.0");
  ASSERT_TRUE(call.WaitReceive().has_value()) << "it has begun, and the client takes no more";
  const std::vector<wal::Pin> pins = pins_.Now().pins;
  ASSERT_EQ(pins.size(), 1u);
  EXPECT_EQ(pins[0].kind, wal::PinKind::kBackup);
  EXPECT_EQ(pins[0].from, Index(kSavedEntries + 1));
  saver_->Stop();
  EXPECT_TRUE(pins_.Now().pins.empty());
}

TEST_F(SaverTest, AStopEndsWhatIsUnderWay) {
  rpc::FakeStreamCall call;
  saver_->Save(call.TakeCall(), "3.7.0");
  ASSERT_TRUE(call.WaitReceive().has_value());
  saver_->Stop();
  EXPECT_EQ(Copies(), 0);
  const Saved saved = Receive(call);
  EXPECT_TRUE(absl::IsUnavailable(saved.status)) << saved.status;
  EXPECT_TRUE(saved.digest.empty());
  rpc::FakeStreamCall late;
  saver_->Save(late.TakeCall(), "3.7.0");
  EXPECT_TRUE(absl::IsUnavailable(late.WaitStatus()));
}

TEST_F(SaverTest, ABrokenFileEndsTheStreamWithDataLoss) {
  rpc::FakeStreamCall call;
  saver_->Save(call.TakeCall(), "3.7.0");
  ASSERT_TRUE(call.WaitReceive().has_value());
  // Half a file, of all those that have not left yet.
  const std::string copy = CopyPath();
  for (const auto& entry : std::filesystem::directory_iterator(copy)) {
    // Not the tables, which the state uses too.
    if (entry.path().extension() == ".sst") {
      std::filesystem::remove(entry.path());
    } else {
      std::filesystem::resize_file(entry.path(), 1);
    }
  }
  const Saved saved = Receive(call);
  EXPECT_TRUE(absl::IsDataLoss(saved.status)) << saved.status;
  EXPECT_TRUE(saved.digest.empty());
  EXPECT_THAT(std::string(saved.status.message()), HasSubstr(copy));
}

TEST_F(SaverTest, ACopyThatIsNoStateIsNotSent) {
  const base::ScopedFailPointObserver observer([this](std::string_view name) {
    if (name == "server.snapshot.checkpoint_made") {
      std::filesystem::resize_file(CopyPath() + "/CURRENT", 0);
    }
  });
  rpc::FakeStreamCall call;
  saver_->Save(call.TakeCall(), "3.7.0");
  const Saved saved = Receive(call);
  EXPECT_TRUE(saved.data.empty());
  EXPECT_TRUE(absl::IsDataLoss(saved.status)) << saved.status;
  saver_->Stop();
  EXPECT_EQ(Copies(), 0);
}

}  // namespace
}  // namespace cairn::server
