// The threads of a member under real concurrency. The thread sanitizer runs it too.
#include "server/node_runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "api/errors.h"
#include "api/rpc.pb.h"
#include "base/status.h"
#include "server/log_pins.h"
#include "server/membership_change.h"
#include "server/peer/codec.h"
#include "server/rpc/fake_call.h"
#include "server/test_member.h"

namespace cairn::server {
namespace {

using api::Error;
using std::chrono::milliseconds;

class NodeRunnerTest : public testing::Test {
 protected:
  void Start(milliseconds proposal_timeout = kTestPatience) {
    auto started = TestMember::Start(disk_, proposal_timeout);
    ASSERT_TRUE(started.ok()) << started.status();
    member_ = *std::move(started);
    const absl::Status ready = member_->runner().WaitReady(kTestPatience);
    ASSERT_TRUE(ready.ok()) << ready;
  }
  NodeRunner& runner() { return member_->runner(); }

  absl::Status Barrier() {
    std::promise<absl::Status> promise;
    runner().ReadBarrier(nullptr,
                         [&](absl::Status status) { promise.set_value(std::move(status)); });
    return promise.get_future().get();
  }

  // Removes everything that compactions left, a few rows a step.
  void RemoveAll() {
    while (true) {
      const auto step = member_->store().FindRemovalStep(2);
      ASSERT_TRUE(step.ok()) << step.status();
      if (step->empty()) return;
      const auto committed = runner().CommitRemoval(*step);
      ASSERT_TRUE(committed.ok()) << committed.status();
    }
  }

  // Makes sure that the next sync of a file is the log's own.
  void WaitForSpare() {
    while (!member_->wal().has_spare()) std::this_thread::yield();
  }

  TestDisk disk_;
  std::unique_ptr<TestMember> member_;
};

void RunThreads(int count, const std::function<void(int)>& work) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
}

// Many entries share one batch of the state: each must see what those before it did.
TEST_F(NodeRunnerTest, AHundredProposersOfOneKeyMakeTheVersionsOneToN) {
  ASSERT_NO_FATAL_FAILURE(Start());
  constexpr int kProposers = 100;
  constexpr int kPutsEach = 5;
  std::vector<std::vector<int64_t>> versions(kProposers);
  RunThreads(kProposers, [&](int i) {
    for (int put = 0; put < kPutsEach; ++put) {
      etcdserverpb::PutRequest request;
      request.set_key("one");
      request.set_value(fmt::format("{}/{}", i, put));
      request.set_prev_kv(true);
      const Node::Outcome outcome = member_->Propose(CommandKind::kPut, request);
      ASSERT_TRUE(outcome.status.ok()) << outcome.status;
      etcdserverpb::PutResponse response;
      ASSERT_TRUE(response.ParseFromString(outcome.rest.Flatten()));
      versions[static_cast<size_t>(i)].push_back(response.prev_kv().version() + 1);
    }
  });
  std::vector<int64_t> all;
  for (const std::vector<int64_t>& own : versions) {
    EXPECT_TRUE(std::is_sorted(own.begin(), own.end()));
    all.insert(all.end(), own.begin(), own.end());
  }
  std::sort(all.begin(), all.end());
  for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i], static_cast<int64_t>(i) + 1);
  EXPECT_EQ(all.size(), size_t{kProposers} * kPutsEach);
  EXPECT_EQ(member_->Get("one").version, kProposers * kPutsEach);
  EXPECT_TRUE(runner().Stop().ok());
  EXPECT_EQ(member_->fatal().count(), 0);
}

TEST_F(NodeRunnerTest, ConcurrentCompareAndSwapWinsOncePerRevision) {
  ASSERT_NO_FATAL_FAILURE(Start());
  ASSERT_TRUE(member_->Put("counter", "0").status.ok());
  constexpr int kProposers = 16;
  constexpr int kAttempts = 20;
  base::Mutex mutex;
  std::multiset<Revision> won;
  RunThreads(kProposers, [&](int i) {
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      const Revision seen = member_->Get("counter").mod_revision;
      etcdserverpb::TxnRequest request;
      etcdserverpb::Compare* compare = request.add_compare();
      compare->set_key("counter");
      compare->set_target(etcdserverpb::Compare::MOD);
      compare->set_mod_revision(seen.value());
      etcdserverpb::PutRequest* put = request.add_success()->mutable_request_put();
      put->set_key("counter");
      put->set_value(fmt::format("{}/{}", i, attempt));
      const Node::Outcome outcome = member_->Propose(CommandKind::kTxn, request);
      ASSERT_TRUE(outcome.status.ok()) << outcome.status;
      etcdserverpb::TxnResponse response;
      ASSERT_TRUE(response.ParseFromString(outcome.rest.Flatten()));
      if (!response.succeeded()) continue;
      base::MutexLock lock(mutex);
      won.insert(seen);
    }
  });
  base::MutexLock lock(mutex);
  EXPECT_FALSE(won.empty());
  for (const Revision revision : won) EXPECT_EQ(won.count(revision), 1U) << revision;
  EXPECT_EQ(member_->Get("counter").version, static_cast<int64_t>(won.size()) + 1);
}

TEST_F(NodeRunnerTest, ABarrierAfterAnAcknowledgedPutSeesIt) {
  ASSERT_NO_FATAL_FAILURE(Start());
  RunThreads(4, [&](int i) {
    const std::string key = fmt::format("key {}", i);
    for (int put = 0; put < 30; ++put) {
      const std::string value = std::to_string(put);
      ASSERT_TRUE(member_->Put(key, value).status.ok());
      // A sole voter may skip the round; both ways must see the put.
      if (put % 2 == 0) {
        EXPECT_TRUE(runner().CanReadNow());
      } else {
        const absl::Status status = Barrier();
        ASSERT_TRUE(status.ok()) << status;
      }
      EXPECT_EQ(member_->Get(key).value, value);
    }
  });
}

// Whatever moment Stop comes at, nobody is forgotten and nobody is called twice.
TEST_F(NodeRunnerTest, EveryWaiterIsCalledExactlyOnceAroundAStop) {
  for (int round = 0; round < 8; ++round) {
    SCOPED_TRACE(round);
    ASSERT_NO_FATAL_FAILURE(Start());
    constexpr int kThreads = 6;
    std::atomic<int> asked = 0;
    std::atomic<int> called = 0;
    std::atomic<int> acknowledged = 0;
    std::atomic<bool> ends = false;
    std::thread stopper([&] {
      while (acknowledged.load() < 20 * (round + 1)) std::this_thread::yield();
      EXPECT_TRUE(runner().Stop().ok());
      ends = true;
    });
    RunThreads(kThreads, [&](int i) {
      const auto count = [&](const absl::Status& status) {
        ++called;
        if (status.ok()) {
          ++acknowledged;
        } else {
          EXPECT_EQ(status, api::ToStatus(Error::kServerStopped));
        }
      };
      etcdserverpb::PutRequest request;
      request.set_key(fmt::format("key {}", i));
      // Bounded: so many may be under way at a time.
      for (int n = 0; !ends; ++n) {
        while (asked - called > 200 && !ends) std::this_thread::yield();
        ++asked;
        request.set_value(std::to_string(n));
        if (i % 3 == 2) {
          runner().ReadBarrier(nullptr, count);
        } else {
          runner().Propose(CommandKind::kPut, request.SerializeAsString(),
                           [count](Node::Outcome outcome) { count(outcome.status); });
        }
      }
    });
    stopper.join();
    EXPECT_EQ(asked.load(), called.load());
    EXPECT_EQ(member_->fatal().count(), 0);
    member_.reset();
  }
}

TEST_F(NodeRunnerTest, AReadThatIsQueuedBehindOthersIsAnsweredByAStop) {
  ASSERT_NO_FATAL_FAILURE(Start());
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  for (int i = 0; i < NodeRunner::kConfirmedThreads; ++i) {
    std::promise<void> begun;
    runner().ReadBarrier(nullptr, [&](const absl::Status&) {
      begun.set_value();
      released.wait();
    });
    begun.get_future().wait();
  }
  // Confirmed, it waits for a thread.
  std::promise<absl::Status> read;
  std::future<absl::Status> answer = read.get_future();
  runner().ReadBarrier(nullptr, [&](absl::Status status) { read.set_value(std::move(status)); });
  std::promise<absl::Status> put;
  etcdserverpb::PutRequest request;
  request.set_key("after the read");
  runner().Propose(CommandKind::kPut, request.SerializeAsString(),
                   [&](Node::Outcome outcome) { put.set_value(outcome.status); });
  ASSERT_TRUE(put.get_future().get().ok());
  std::thread stopper([&] { EXPECT_TRUE(runner().Stop().ok()); });
  EXPECT_EQ(answer.get(), api::ToStatus(Error::kServerStopped));
  release.set_value();
  stopper.join();
}

// Two lists of everything and a hash never delay a get.
TEST_F(NodeRunnerTest, AConfirmedReadWaitsForNoLargeOne) {
  ASSERT_NO_FATAL_FAILURE(Start());
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  for (int i = 0; i < NodeRunner::kReadThreads; ++i) {
    ASSERT_TRUE(runner().RunInReadPool([released] { released.wait(); }));
  }
  ASSERT_TRUE(runner().RunHash([released] { released.wait(); }));
  EXPECT_TRUE(Barrier().ok());
  release.set_value();
}

// A stop waits for what reads, which would go on for as long as there are rows.
TEST_F(NodeRunnerTest, AStopEndsWhatReadsForLong) {
  ASSERT_NO_FATAL_FAILURE(Start());
  std::atomic<int> reading = 0;
  const auto read_on = [&] {
    ++reading;
    while (!runner().EndsReads()) std::this_thread::yield();
  };
  for (int i = 0; i < NodeRunner::kReadThreads; ++i) ASSERT_TRUE(runner().RunInReadPool(read_on));
  ASSERT_TRUE(runner().RunHash(read_on));
  while (reading <= NodeRunner::kReadThreads) std::this_thread::yield();
  EXPECT_TRUE(runner().Stop().ok());
}

TEST_F(NodeRunnerTest, AfterAStopEverythingIsRefusedAtOnce) {
  ASSERT_NO_FATAL_FAILURE(Start());
  ASSERT_TRUE(member_->Put("key", "value").status.ok());
  ASSERT_TRUE(runner().Stop().ok());
  ASSERT_TRUE(runner().Stop().ok());
  const absl::Status stopped = api::ToStatus(Error::kServerStopped);
  EXPECT_EQ(member_->Put("key", "later").status, stopped);
  EXPECT_EQ(Barrier(), stopped);
  EXPECT_FALSE(runner().CanReadNow());
  EXPECT_FALSE(runner().RunInReadPool([] { FAIL(); }));
  EXPECT_FALSE(runner().RunHash([] { FAIL(); }));
  absl::Status compacted;
  runner().WaitCompacted(Revision(2), [&](absl::Status status) { compacted = status; });
  EXPECT_EQ(compacted, stopped);
  EXPECT_TRUE(absl::IsUnavailable(runner().WaitReady(milliseconds(0))));
  EXPECT_TRUE(absl::IsCancelled(runner().MarkDurable({Term(1), Index(1)})));
  EXPECT_TRUE(absl::IsCancelled(runner().CommitRemoval({}).status()));
}

// A graceful stop leaves nothing to replay.
TEST_F(NodeRunnerTest, AStopMakesTheStateDurableAndMarksIt) {
  ASSERT_NO_FATAL_FAILURE(Start());
  ASSERT_TRUE(member_->Put("key", "value").status.ok());
  ASSERT_TRUE(runner().Stop().ok());
  const Index applied = member_->store().applied().index;
  disk_.Crash(0, true, [&] { member_.reset(); });
  ASSERT_NO_FATAL_FAILURE(Start());
  EXPECT_EQ(member_->applied_at_start().index, applied);
  ASSERT_TRUE(member_->recovered().marker.has_value());
  EXPECT_EQ(member_->recovered().marker->id.index, applied);
  EXPECT_EQ(member_->Get("key").value, "value");
}

TEST_F(NodeRunnerTest, ATooLargeRequestIsRefusedUnproposed) {
  ASSERT_NO_FATAL_FAILURE(Start());
  const Index last = member_->wal().last().index;
  EXPECT_EQ(member_->Put("key", std::string(size_t{1} << 20, 'x')).status,
            api::ToStatus(Error::kRequestTooLarge));
  EXPECT_EQ(member_->wal().last().index, last);
  EXPECT_TRUE(member_->Put("key", std::string(size_t{1} << 19, 'x')).status.ok());
}

TEST_F(NodeRunnerTest, AFailingLogIsFatalOnceAndNothingIsAcknowledgedAfterwards) {
  for (const absl::StatusCode code :
       {absl::StatusCode::kInternal, absl::StatusCode::kResourceExhausted}) {
    for (const wal::FaultOperation operation :
         {wal::FaultOperation::kWrite, wal::FaultOperation::kSync}) {
      SCOPED_TRACE(fmt::format("code {}, operation {}", static_cast<int>(code),
                               static_cast<int>(operation)));
      ASSERT_NO_FATAL_FAILURE(Start(milliseconds(100)));
      ASSERT_TRUE(member_->Put("before", "kept").status.ok());
      WaitForSpare();
      disk_.fs().FailOnce(operation, code);
      RunThreads(4, [&](int i) {
        EXPECT_EQ(member_->Put(fmt::format("key {}", i), "lost").status,
                  api::ToStatus(Error::kTimeout));
      });
      EXPECT_EQ(member_->fatal().Wait().code(), code);
      EXPECT_EQ(member_->Put("later", "lost").status, api::ToStatus(Error::kTimeout));
      EXPECT_FALSE(runner().CanReadNow());
      EXPECT_EQ(runner().WaitReady(kTestPatience).code(), code);
      EXPECT_TRUE(absl::IsCancelled(runner().MarkDurable({Term(1), Index(1)})));
      EXPECT_EQ(runner().Stop().code(), code);
      EXPECT_EQ(member_->fatal().count(), 1);
      disk_.Crash(static_cast<uint64_t>(operation), true, [&] { member_.reset(); });
      ASSERT_NO_FATAL_FAILURE(Start());
      EXPECT_EQ(member_->Get("before").value, "kept");
      EXPECT_EQ(member_->Get("later").value, "");
      member_.reset();
    }
  }
}

TEST_F(NodeRunnerTest, AFailingStateIsFatalOnceAndNothingIsAcknowledgedAfterwards) {
  ASSERT_NO_FATAL_FAILURE(Start(milliseconds(100)));
  ASSERT_TRUE(member_->Put("before", "kept").status.ok());
  disk_.FailStateWrites();
  EXPECT_EQ(member_->Put("key", "value").status, api::ToStatus(Error::kTimeout));
  EXPECT_EQ(base::Message(member_->fatal().Wait()), "state: on cue");
  EXPECT_EQ(member_->Put("later", "value").status, api::ToStatus(Error::kTimeout));
  EXPECT_TRUE(absl::IsCancelled(runner().CommitRemoval({}).status()));
  EXPECT_EQ(runner().Stop().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(member_->fatal().count(), 1);
  // The log has it: the next start replays what was not answered.
  disk_.Crash(0, true, [&] { member_.reset(); });
  ASSERT_NO_FATAL_FAILURE(Start());
  EXPECT_EQ(member_->Get("before").value, "kept");
  EXPECT_EQ(member_->Get("key").value, "value");
}

// What a failed write left is unknown, whoever made it: a removal's failure ends the applying too.
TEST_F(NodeRunnerTest, AFailingRemovalIsFatalAndNothingIsAppliedAfterwards) {
  ASSERT_NO_FATAL_FAILURE(Start(milliseconds(100)));
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(member_->Put("key", std::to_string(i)).status.ok());
  ASSERT_TRUE(member_->Compact(Revision(5)).ok());
  const auto step = member_->store().FindRemovalStep(100);
  ASSERT_TRUE(step.ok() && !step->empty());
  disk_.FailStateWrites();
  EXPECT_EQ(runner().CommitRemoval(*step).status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(base::Message(member_->fatal().Wait()), "state: on cue");
  const Index applied = runner().status().applied;
  EXPECT_FALSE(member_->Put("key", "later").status.ok());
  EXPECT_EQ(runner().status().applied, applied);
  EXPECT_EQ(member_->fatal().count(), 1);
}

TEST_F(NodeRunnerTest, WaitCompactedEndsWithTheLastRow) {
  ASSERT_NO_FATAL_FAILURE(Start());
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(member_->Put("key", std::to_string(i)).status.ok());
  ASSERT_TRUE(member_->Compact(Revision(15)).ok());
  std::promise<absl::Status> compacted;
  std::atomic<bool> is_done = false;
  runner().WaitCompacted(Revision(15), [&](absl::Status status) {
    is_done = true;
    compacted.set_value(std::move(status));
  });
  EXPECT_FALSE(is_done);
  ASSERT_NO_FATAL_FAILURE(RemoveAll());
  EXPECT_TRUE(compacted.get_future().get().ok());
  EXPECT_GE(member_->store().removed_through(), Revision(15));
  // Done already: at once.
  bool is_called = false;
  runner().WaitCompacted(Revision(15), [&](absl::Status status) { is_called = status.ok(); });
  EXPECT_TRUE(is_called);
  // And one that never finishes hears of the stop.
  absl::Status stopped;
  runner().WaitCompacted(Revision(16), [&](absl::Status status) { stopped = status; });
  ASSERT_TRUE(runner().Stop().ok());
  EXPECT_EQ(stopped, api::ToStatus(Error::kServerStopped));
}

TEST_F(NodeRunnerTest, MarkDurableIsInTheLogWhenItReturns) {
  ASSERT_NO_FATAL_FAILURE(Start());
  ASSERT_TRUE(member_->Put("key", "value").status.ok());
  const auto durable = member_->store().Flush();
  ASSERT_TRUE(durable.ok());
  ASSERT_TRUE(runner().MarkDurable({durable->term, durable->index}).ok());
  disk_.fs().PowerOff();
  EXPECT_FALSE(runner().Stop().ok());
  disk_.Crash(0, true, [&] { member_.reset(); });
  ASSERT_NO_FATAL_FAILURE(Start());
  ASSERT_TRUE(member_->recovered().marker.has_value());
  EXPECT_EQ(member_->recovered().marker->id.index, durable->index);
}

// Members whose answers come when the test says.
class SlowPeers final : public AbsentPeers {
 public:
  void Call(MemberId /*to*/, std::string_view /*method*/, std::string /*request*/,
            milliseconds /*timeout*/, CallDone done) override {
    held.push_back(std::move(done));
  }
  std::vector<CallDone> held;
};

// A member that neither votes nor hears of a leader, unless the test says so.
class LonelyNodeRunnerTest : public testing::Test {
 protected:
  static constexpr MemberId kOther{99};

  void Start(size_t waiting_bytes_max, milliseconds proposal_timeout) {
    auto bootstrapped = Bootstrap(disk_.foundation(), TestConfig());
    ASSERT_TRUE(bootstrapped.ok()) << bootstrapped.status();
    member_ = *std::move(bootstrapped);
    raft::RestoredState restored = std::move(member_.raft);
    restored.hard_state.commit = Index(0);
    auto entries = member_.wal->ReadEntries(Index(1), Index(2), 1);
    ASSERT_TRUE(entries.ok());
    restored.entries = *entries;
    restored.before_entries = {};
    NodeRunnerOptions options = TestRunnerOptions(member_);
    options.proposal_timeout = proposal_timeout;
    options.core.waiting_bytes_max = waiting_bytes_max;
    options.on_fatal = fatal_.callback();
    options.peers = &peers_;
    options.pins = &pins_;
    runner_ = std::make_unique<NodeRunner>(std::move(options), std::move(restored), *member_.wal,
                                           *member_.store, *member_.applier);
  }
  raft::Message FromOther(uint64_t term) const {
    return {kOther, member_.identity.member, Term(term), raft::Heartbeat{}};
  }
  // Everything that was handed in before has been looked at, and what came of it can be seen.
  raft::CoreStatus Look() {
    LookOnce();
    return LookOnce();
  }
  raft::CoreStatus LookOnce() {
    std::promise<absl::StatusOr<raft::CoreStatus>> look;
    runner_->LookAtRaft(
        [&](absl::StatusOr<raft::CoreStatus> raft) { look.set_value(std::move(raft)); });
    return look.get_future().get().value();
  }

  TestDisk disk_;
  FatalCounter fatal_;
  SlowPeers peers_;
  LogPins pins_;
  Bootstrapped member_;
  std::unique_ptr<NodeRunner> runner_;
};

TEST_F(LonelyNodeRunnerTest, ProposalsTimeOutAndReadsWait) {
  ASSERT_NO_FATAL_FAILURE(Start(200, milliseconds(50)));
  // Whoever joins a cluster begins so: it may answer, and has little to say.
  EXPECT_TRUE(runner_->WaitReady(kTestPatience).ok());
  const auto propose = [&](size_t bytes) {
    std::promise<absl::Status> promise;
    runner_->Propose(CommandKind::kPut, std::string(bytes, 'x'),
                     [&](Node::Outcome outcome) { promise.set_value(outcome.status); });
    return promise.get_future().get();
  };
  EXPECT_EQ(propose(300), api::ToStatus(Error::kTooManyRequests));
  EXPECT_EQ(propose(10), api::ToStatus(Error::kDeadlineExceeded));
  std::promise<absl::Status> read;
  runner_->ReadBarrier(nullptr, [&](absl::Status status) { read.set_value(std::move(status)); });
  EXPECT_TRUE(runner_->Stop().ok());
  EXPECT_EQ(read.get_future().get(), api::ToStatus(Error::kServerStopped));
  EXPECT_EQ(fatal_.count(), 0);
}

// Three texts tell an operator where to look; which of them depends on the leaders there were.
TEST_F(LonelyNodeRunnerTest, ATimeOutTellsItsLikelyReason) {
  ASSERT_NO_FATAL_FAILURE(Start(size_t{1} << 20, milliseconds(50)));
  uint64_t term = 5;
  // A proposal that times out while the test says who leads, every few milliseconds.
  const auto propose_under = [&](const std::function<MemberId()>& leader) {
    std::promise<absl::Status> promise;
    std::future<absl::Status> answer = promise.get_future();
    runner_->Propose(CommandKind::kPut, "x",
                     [&](Node::Outcome outcome) { promise.set_value(outcome.status); });
    while (answer.wait_for(milliseconds(2)) != std::future_status::ready) {
      runner_->Step(
          {raft::Message{leader(), member_.identity.member, Term(term), raft::Heartbeat{}}});
    }
    return answer.get();
  };
  // A machine that stands still for an election has another try.
  const auto expect = [&](Error error, const std::function<MemberId()>& leader) {
    const auto deadline = std::chrono::steady_clock::now() + kTestPatience;
    absl::Status status;
    do {
      status = propose_under(leader);
      EXPECT_FALSE(status.ok());
    } while (status != api::ToStatus(error) && std::chrono::steady_clock::now() < deadline);
    EXPECT_EQ(status, api::ToStatus(error));
  };
  expect(Error::kTimeoutLeaderFailure, [&] { return MemberId(100 + ++term); });
  ++term;
  // It is known who leads, but there is no connection.
  expect(Error::kTimeoutConnectionLost, [] { return kOther; });
  EXPECT_TRUE(runner_->Stop().ok());
}

// A cluster without a leader is asked again and again by clients that give up: they leave nothing.
TEST_F(LonelyNodeRunnerTest, ReadsEndWithTheirCalls) {
  ASSERT_NO_FATAL_FAILURE(Start(200, kTestPatience));
  const absl::Status stopped = api::ToStatus(Error::kServerStopped);
  rpc::FakeUnaryCall gone(""), patient("");
  for (rpc::FakeUnaryCall* const fake : {&gone, &patient}) {
    std::unique_ptr<rpc::UnaryCall> call = fake->TakeCall();
    const rpc::UnaryCall* const caller = call.get();
    runner_->ReadBarrier(
        caller, [call = std::move(call)](absl::Status status) { call->Finish(std::move(status)); });
  }
  gone.Cancel();
  EXPECT_EQ(gone.Wait().status(), stopped);
  EXPECT_FALSE(patient.finished());
  EXPECT_TRUE(runner_->Stop().ok());
  EXPECT_EQ(patient.Wait().status(), stopped);
}

// What is asked of another member is answered by a stop, and its late answer finds nobody.
TEST_F(LonelyNodeRunnerTest, AStopAnswersCallsOfOtherMembers) {
  ASSERT_NO_FATAL_FAILURE(Start(200, kTestPatience));
  runner_->Step({FromOther(7)});
  ASSERT_EQ(Look().leader, kOther);
  std::vector<absl::Status> answers;
  runner_->FindLeaseOnLeader(LeaseId(1), [&](const absl::StatusOr<std::optional<int64_t>>& found) {
    answers.push_back(found.status());
  });
  runner_->CallPeer(kOther, "Promote", "", [&](const absl::StatusOr<std::string>& response) {
    answers.push_back(response.status());
  });
  ASSERT_EQ(peers_.held.size(), 2u);
  runner_.reset();
  ASSERT_EQ(answers.size(), 2u);
  for (auto& done : peers_.held) std::move(done)(absl::UnavailableError("late"));
  EXPECT_EQ(answers.size(), 2u);
}

TEST_F(LonelyNodeRunnerTest, WhatOthersSayIsBounded) {
  ASSERT_NO_FATAL_FAILURE(Start(200, kTestPatience));
  std::vector<raft::Message> messages(NodeRunner::kInboxBytesMax / EncodedBytes(FromOther(7)),
                                      FromOther(7));
  messages.push_back(FromOther(8));
  runner_->Step(std::move(messages));
  EXPECT_EQ(Look().term, Term(7));
  runner_->Step({FromOther(8)});
  EXPECT_EQ(Look().term, Term(8));
}

// Clients ask at once; each change is applied before the next is appended, and the one that cannot
// be is refused by name.
TEST_F(NodeRunnerTest, ChangesOfTheMembersTakeTurns) {
  ASSERT_NO_FATAL_FAILURE(Start());
  const MemberId self = runner().member_id();
  std::atomic<int> made = 0;
  std::atomic<int> refused = 0;
  RunThreads(4, [&](int thread) {
    for (int i = 0; i < 5; ++i) {
      MembershipChange change;
      // Learners, so that one member remains the quorum; each is asked for twice.
      const uint64_t id = 100 + static_cast<uint64_t>(thread / 2 * 5 + i);
      change.steps = {{ChangeKind::kAddLearner, {.id = MemberId(id)}}};
      std::promise<Node::Outcome> outcome;
      runner().ProposeChange(change, [&](Node::Outcome o) { outcome.set_value(std::move(o)); });
      const absl::Status status = outcome.get_future().get().status;
      ++(status.ok() ? made : refused);
      EXPECT_TRUE(status.ok() || status == api::ToStatus(Error::kMemberExists)) << status;
    }
  });
  EXPECT_EQ(made, 10);
  EXPECT_EQ(refused, 10);
  EXPECT_EQ(runner().members()->size(), 11U);
  std::promise<absl::StatusOr<raft::CoreStatus>> look;
  runner().LookAtRaft(
      [&](absl::StatusOr<raft::CoreStatus> raft) { look.set_value(std::move(raft)); });
  const absl::StatusOr<raft::CoreStatus> raft = look.get_future().get();
  ASSERT_TRUE(raft.ok());
  EXPECT_EQ(raft->configuration.voters, std::vector<MemberId>{self});
  EXPECT_EQ(raft->configuration.learners.size(), 10U);
  EXPECT_EQ(raft->peers.size(), 10U);
}

TEST_F(NodeRunnerTest, WhatWaitsForMembersIsRefusedAtTheEnd) {
  ASSERT_NO_FATAL_FAILURE(Start());
  ASSERT_TRUE(runner().Stop().ok());
  absl::Status status;
  MembershipChange change;
  change.steps = {{ChangeKind::kRemove, {.id = MemberId(5)}}};
  runner().ProposeChange(change, [&](Node::Outcome outcome) { status = outcome.status; });
  EXPECT_EQ(status, api::ToStatus(Error::kServerStopped));
  runner().LookAtRaft(
      [&](const absl::StatusOr<raft::CoreStatus>& raft) { status = raft.status(); });
  EXPECT_EQ(status, api::ToStatus(Error::kServerStopped));
}

}  // namespace
}  // namespace cairn::server
