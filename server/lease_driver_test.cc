// Leases on a whole member whose clock the test moves: the log, the threads and the restarts are
// real. The thread sanitizer runs it too.
#include "server/lease_driver.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "api/errors.h"
#include "api/rpc.pb.h"
#include "base/mutex.h"
#include "base/status.h"
#include "server/test_member.h"

namespace cairn::server {
namespace {

constexpr lease::Milliseconds kElectionMs = 1000;
constexpr lease::Milliseconds kIntervalMs = 300'000;

class LeaseDriverTest : public testing::Test {
 protected:
  void SetUp() override { Start(); }

  void Start() {
    LeaseManagerOptions leases;
    leases.lessor = {.election_timeout_ms = kElectionMs, .checkpoint_interval_ms = kIntervalMs};
    leases.wait = kTestPatience;
    leases.now_ms = [this] { return now_ms_ += each_look_takes_ms_; };
    auto started = TestMember::Start(disk_, kTestPatience, leases);
    ASSERT_TRUE(started.ok()) << started.status();
    member_ = *std::move(started);
    const absl::Status ready = member_->runner().WaitReady(kTestPatience);
    ASSERT_TRUE(ready.ok()) << ready;
  }
  // The power fails: what was not durable is lost.
  void Crash() {
    disk_.fs().PowerOff();
    member_->runner().Stop().IgnoreError();
    member_->StopForGood();
    disk_.Crash(++crashes_, true, [&] { member_.reset(); });
    Start();
  }

  LeaseManager& leases() { return member_->runner().leases(); }
  absl::Status Grant(int64_t id, int64_t ttl_s) {
    etcdserverpb::LeaseGrantRequest request;
    request.set_id(id);
    request.set_ttl(ttl_s);
    return member_->Propose(CommandKind::kLeaseGrant, request).status;
  }
  void Put(std::string_view key, int64_t lease) {
    etcdserverpb::PutRequest request;
    request.set_key(std::string(key));
    request.set_lease(lease);
    const Node::Outcome outcome = member_->Propose(CommandKind::kPut, request);
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  }
  int64_t Keys() { return member_->store().Count(mvcc::KeyRange::All(), mvcc::kCurrent)->count; }
  // Waits until `condition` holds; the member's own threads make it so.
  template <typename Condition>
  void Await(const Condition& condition) {
    const auto deadline = std::chrono::steady_clock::now() + kTestPatience;
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      std::this_thread::yield();
    }
  }
  int64_t Renew(int64_t id) {
    std::promise<absl::StatusOr<int64_t>> promise;
    leases().RenewLater(
        LeaseId(id), [&](absl::StatusOr<int64_t> ttl_s) { promise.set_value(std::move(ttl_s)); });
    const absl::StatusOr<int64_t> ttl_s = promise.get_future().get();
    EXPECT_TRUE(ttl_s.ok()) << ttl_s.status();
    return ttl_s.value_or(-1);
  }
  Index Applied() { return member_->runner().status().applied; }
  lease::Milliseconds Remaining(int64_t id) {
    const auto view = leases().Find(LeaseId(id));
    return view.has_value() ? view->remaining_ms.value_or(-1) : -1;
  }

  std::atomic<lease::Milliseconds> now_ms_ = 1'000'000;
  std::atomic<lease::Milliseconds> each_look_takes_ms_ = 0;
  TestDisk disk_;
  uint64_t crashes_ = 0;
  std::unique_ptr<TestMember> member_;
};

TEST_F(LeaseDriverTest, EndsWhatIsDueWithItsKeys) {
  ASSERT_TRUE(Grant(1, 10).ok());
  ASSERT_TRUE(Grant(2, 20).ok());
  Put("a", 1);
  Put("b", 1);
  Put("c", 2);
  now_ms_ += 10'100;
  Await([&] { return leases().count() == 1; });
  EXPECT_EQ(Keys(), 1);
  EXPECT_EQ(member_->store().published().revision, Revision(5));
  EXPECT_EQ(Renew(1), 0);
  EXPECT_EQ(Renew(2), 20);
  EXPECT_EQ(Remaining(2), 20'000);
}

// A storm: so many leases with a key each, all granted at once.
class LeaseStormTest : public LeaseDriverTest {
 protected:
  static constexpr int kLeases = 2000;

  void GrantAll() {
    std::vector<std::promise<void>> done(2 * kLeases);
    for (int id = 1; id <= kLeases; ++id) {
      etcdserverpb::LeaseGrantRequest grant;
      grant.set_id(id);
      grant.set_ttl(10);
      etcdserverpb::PutRequest put;
      put.set_key(fmt::format("key {}", id));
      put.set_lease(id);
      member_->runner().Propose(
          CommandKind::kLeaseGrant, grant.SerializeAsString(),
          [&, id](const Node::Outcome&) { done[static_cast<size_t>(2 * id - 2)].set_value(); });
      member_->runner().Propose(
          CommandKind::kPut, put.SerializeAsString(),
          [&, id](const Node::Outcome&) { done[static_cast<size_t>(2 * id - 1)].set_value(); });
    }
    for (std::promise<void>& each : done) each.get_future().wait();
    ASSERT_EQ(Keys(), kLeases);
  }
  // The entries that it takes to end them all.
  int64_t EndAll() {
    const Index before = Applied();
    now_ms_ += 10'100;
    Await([&] { return leases().count() == 0; });
    EXPECT_EQ(Keys(), 0);
    return static_cast<int64_t>(Applied().value() - before.value());
  }
};

// One entry ends many leases, and one waits for the other.
TEST_F(LeaseStormTest, EndsInFewEntries) {
  ASSERT_NO_FATAL_FAILURE(GrantAll());
  constexpr int64_t kKeys = LeaseDriver::kKeysPerEntryMin;
  EXPECT_EQ(EndAll(), (kLeases + kKeys - 1) / kKeys);
}

// What takes long to commit ends more at once: 20 keys for each of 10 ms at least.
TEST_F(LeaseStormTest, EndsInFewerWhereCommitsTakeLong) {
  ASSERT_NO_FATAL_FAILURE(GrantAll());
  each_look_takes_ms_ = 10;
  EXPECT_LE(EndAll(), 1 + (kLeases + 199) / 200);
}

TEST_F(LeaseDriverTest, RenewalsCostNoEntry) {
  ASSERT_TRUE(Grant(1, 10).ok());
  const Index before = Applied();
  for (int n = 0; n < 1000; ++n) {
    now_ms_ += 5000;
    ASSERT_EQ(leases().Renew(LeaseId(1)), 10);
  }
  EXPECT_EQ(Applied(), before);
}

// A restart lengthens a lease to its whole time and an election timeout, never shortens it.
TEST_F(LeaseDriverTest, ARestartStartsLeasesAnew) {
  ASSERT_TRUE(Grant(1, 60).ok());
  Put("a", 1);
  now_ms_ += 50'000;
  ASSERT_NO_FATAL_FAILURE(Crash());
  EXPECT_EQ(Remaining(1), 60'000 + kElectionMs);
  EXPECT_EQ(Keys(), 1);
  now_ms_ += 61'100;
  Await([&] { return leases().count() == 0; });
  EXPECT_EQ(Keys(), 0);
  // What ended stays ended.
  ASSERT_NO_FATAL_FAILURE(Crash());
  EXPECT_EQ(leases().count(), 0u);
  EXPECT_EQ(Keys(), 0);
}

TEST_F(LeaseDriverTest, AQuietLeaseRestartsFromItsCheckpointUnlessItWasRenewed) {
  ASSERT_TRUE(Grant(1, 3600).ok());
  ASSERT_TRUE(Grant(2, 3600).ok());
  now_ms_ += kIntervalMs + 100;
  const auto is_noted = [&](int64_t id) {
    return leases().Find(LeaseId(id))->facts.checkpoint_ms.has_value();
  };
  Await([&] { return is_noted(1) && is_noted(2); });
  // The first renewal is answered after its note is gone, so the restart cannot cut it short.
  EXPECT_EQ(Renew(2), 3600);
  EXPECT_FALSE(is_noted(2));
  const Index before = Applied();
  EXPECT_EQ(Renew(2), 3600);
  EXPECT_EQ(Applied(), before);

  now_ms_ += 1000;
  ASSERT_NO_FATAL_FAILURE(Crash());
  EXPECT_LE(Remaining(1), 3'600'000 - kIntervalMs + kElectionMs);
  EXPECT_GE(Remaining(1), 3'600'000 - kIntervalMs - 1100);
  EXPECT_EQ(Remaining(2), 3'600'000 + kElectionMs);
  EXPECT_EQ(Renew(1), 3600);
}

TEST_F(LeaseDriverTest, AWaitingRenewalIsAnsweredWhenTheMemberStops) {
  ASSERT_TRUE(Grant(1, 10).ok());
  leases().Confirm(0);
  std::promise<absl::Status> promise;
  leases().RenewLater(LeaseId(1),
                      [&](absl::StatusOr<int64_t> ttl_s) { promise.set_value(ttl_s.status()); });
  EXPECT_TRUE(member_->runner().Stop().ok());
  const absl::Status status = promise.get_future().get();
  // The driver may have confirmed the lead again before.
  EXPECT_TRUE(status.ok() || status == api::ToStatus(api::Error::kServerStopped)) << status;
}

// What the core refuses is not asked for again before the next tick: no thread spins on it.
TEST(LeaseDriverRefusalTest, WaitsForATickAfterARefusal) {
  lease::Milliseconds now_ms = 0;
  LeaseManager leases({.lessor = {}, .wait = {}, .now_ms = [&] { return now_ms; }});
  NodeCoreOptions options;
  options.raft.id = MemberId(1);
  options.raft.uncommitted_bytes_max = 1;
  raft::RestoredState restored;
  restored.hard_state = {.term = Term(1), .commit = Index(1)};
  restored.configuration.voters = {MemberId(1)};
  restored.applied = {Term(1), Index(1)};
  restored.last = {Term(1), Index(1)};
  NodeCore core(options, std::move(restored));
  LeaseDriver driver(leases, core, MemberId(1), 7, options.raft.election_timeout_ticks);
  uint64_t written = 0;
  const auto take_work = [&] {
    const Work work = core.TakeWork();
    for (const LogWrite& write : work.log) written = write.number;
    for (const ApplyRange& apply : work.apply) core.Applied(apply.range.limit - 1);
    return !work.log.empty() || !work.apply.empty();
  };
  const auto sync = [&] {
    while (take_work()) core.LogDurable(written);
  };
  driver.Run(true);
  EXPECT_FALSE(leases.is_primary());
  sync();
  driver.Run(false);
  ASSERT_TRUE(leases.is_primary());
  const lease::LeaseFacts facts = {.granted = Index(2), .ttl_s = 10};
  leases.Applied(Index(2), std::vector{lease::LeaseUpdate{LeaseId(1), facts}});
  now_ms = 10'100;

  // Somebody's entry is not committed yet, and that is all the core takes.
  raft::Payload filler = std::make_shared<const std::string>("filler");
  ASSERT_EQ(core.ProposeAsLeader(filler).outcome, raft::ProposeOutcome::kAccepted);
  driver.Run(true);
  EXPECT_FALSE(driver.has_more());
  EXPECT_FALSE(driver.waits_for_applied());
  EXPECT_EQ(leases.Renew(LeaseId(1)), 10);  // It is not being revoked.

  now_ms = 20'200;
  sync();
  driver.Run(true);
  EXPECT_TRUE(driver.waits_for_applied());
  EXPECT_EQ(leases.Renew(LeaseId(1)), std::nullopt);
}

// A cluster of two without threads; only the first has ticks, so it is the one that leads.
class LeaseHandOverTest : public testing::Test {
 protected:
  LeaseHandOverTest()
      : leases_({.lessor = {.election_timeout_ms = kElectionMs},
                 .wait = kTestPatience,
                 .now_ms = [this] { return now_ms_; }}) {
    for (const uint64_t id : {1, 2}) {
      NodeCoreOptions options;
      options.raft.id = MemberId(id);
      raft::RestoredState restored;
      restored.hard_state = {.term = Term(1), .commit = Index(1)};
      restored.configuration.voters = {MemberId(1), MemberId(2)};
      restored.applied = {Term(1), Index(1)};
      restored.last = {Term(1), Index(1)};
      cores_.push_back(std::make_unique<NodeCore>(options, std::move(restored)));
    }
    driver_.emplace(leases_, leader(), MemberId(1), /*start_nonce=*/7,
                    raft::CoreOptions().election_timeout_ticks);
  }

  NodeCore& leader() { return *cores_[0]; }
  NodeCore& follower() { return *cores_[1]; }
  void Tick() {
    now_ms_ += 100;
    leader().Tick();
    driver_->Run(/*is_tick=*/true);
    Exchange();
    driver_->Run(/*is_tick=*/false);
  }
  // Until neither has anything to do.
  void Exchange() {
    for (bool is_busy = true; is_busy;) {
      is_busy = false;
      for (const std::unique_ptr<NodeCore>& core : cores_) {
        Work work = core->TakeWork();
        is_busy |= !work.empty();
        for (const LogWrite& write : work.log) core->LogDurable(write.number);
        for (const ApplyRange& apply : work.apply) core->Applied(apply.range.limit - 1);
        NodeCore& other = core == cores_[0] ? follower() : leader();
        for (raft::Message& message : work.messages) other.Step(std::move(message));
      }
    }
  }

  lease::Milliseconds now_ms_ = 0;
  LeaseManager leases_;
  std::vector<std::unique_ptr<NodeCore>> cores_;
  std::optional<LeaseDriver> driver_;
};

TEST_F(LeaseHandOverTest, RenewsNothingFromTheBeginningOfATransferOn) {
  for (int i = 0; i < 100 && !leases_.is_confirmed(); ++i) Tick();
  ASSERT_TRUE(leases_.is_confirmed());
  const lease::LeaseFacts facts = {.granted = Index(2), .ttl_s = 10};
  leases_.Applied(Index(2), std::vector{lease::LeaseUpdate{LeaseId(1), facts}});
  ASSERT_EQ(leases_.Renew(LeaseId(1)), 10);

  // No tick comes, and nothing has left yet that would have the other one campaign.
  ASSERT_TRUE(leader().TransferLeadership(MemberId(2)));
  driver_->Run(/*is_tick=*/false);
  EXPECT_TRUE(leases_.is_primary());
  EXPECT_FALSE(leases_.is_confirmed());
  EXPECT_EQ(leases_.Renew(LeaseId(1)), std::nullopt);

  Exchange();
  driver_->Run(/*is_tick=*/false);
  EXPECT_TRUE(follower().raft().is_leader());
  EXPECT_FALSE(leases_.is_primary());
}

}  // namespace
}  // namespace cairn::server
