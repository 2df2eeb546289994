// Installing a snapshot on a follower without threads, over disks that lose power at every
// operation and at every named point: whatever survives, the next start has either the old state or
// the new one, with a log that fits, and goes on from there.
#include "server/snapshot_install.h"

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "api/rpc.pb.h"
#include "base/fail_point.h"
#include "base/status.h"
#include "server/installed_at.h"
#include "server/membership.h"
#include "server/test_follower.h"

namespace cairn::server {
namespace {

class SnapshotInstallTest : public testing::Test {
 protected:
  // That the state is the history's through `index`, and that it goes on from there.
  static void ExpectAt(Follower& follower, uint64_t index) {
    ASSERT_TRUE(follower.status().ok()) << follower.status();
    EXPECT_EQ(follower.store().applied().index, Index(index));
    Ahead ahead(index + 5);
    ASSERT_TRUE(follower.Append(History(index + 1, index + 5), Index(index + 5)).ok());
    EXPECT_EQ(follower.store().applied().index, Index(index + 5));
    EXPECT_EQ(follower.store().HashKv(mvcc::kCurrent)->hash,
              ahead.store().HashKv(mvcc::kCurrent)->hash);
    EXPECT_EQ(follower.applier().membership().members.size(), 3U);
  }
};

TEST_F(SnapshotInstallTest, TakesTheStatesPlaceInThisOrder) {
  TestDisk disk;
  PrepareFollower(disk, 3, 8);
  Ahead ahead(40);
  ahead.Send(disk);
  {
    Follower follower(disk);
    std::vector<std::string> points;
    absl::StatusOr<InstallOutcome> outcome;
    {
      const base::ScopedFailPointObserver observer([&](std::string_view name) {
        if (name.starts_with("server.")) points.emplace_back(name);
      });
      outcome = Install(disk, follower);
    }
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_TRUE(outcome->is_installed);
    EXPECT_EQ(outcome->id, (raft::EntryId{Term(5), Index(40)}));
    EXPECT_EQ(points,
              (std::vector<std::string>{
                  "server.install.term_synced", "server.install.verified", "server.install.adopted",
                  "server.install.flushed", "server.install.begun", "server.install.drained",
                  "server.state.fresh_synced", "server.state.pointer_written",
                  "server.state.pointer_synced", "server.state.pointer_renamed",
                  "server.state.switched", "server.install.recorded", "server.install.finished"}));
    EXPECT_EQ(follower.wal().before_first(), outcome->id);
    EXPECT_EQ(follower.wal().last(), outcome->id);
    EXPECT_EQ(follower.core().commit(), Index(40));
    EXPECT_FALSE(disk.rows().Exists("/data/state/1"));
    ExpectAt(follower, 40);
  }
  Follower again(disk);
  ASSERT_TRUE(again.status().ok()) << again.status();
  EXPECT_EQ(again.store().applied().index, Index(45)) << "what was not flushed is replayed";
}

// The power fails, or the process dies, at each operation of the disk; several outcomes each.
TEST_F(SnapshotInstallTest, CutShortAtAnyOperationTheNextStartHasOneStateOrTheOther) {
  const Ahead source(40);
  struct Case {
    uint64_t applied, last;
  };
  // A log that ends before the snapshot, at it, and behind it.
  for (const Case& c : {Case{3, 3}, Case{3, 8}, Case{10, 30}, Case{10, 40}, Case{10, 60}}) {
    std::set<uint64_t> found;
    bool is_done = false;
    for (uint64_t operations = 0; !is_done; ++operations) {
      for (uint64_t seed = 0; seed < 4; ++seed) {
        SCOPED_TRACE(fmt::format("applied {}, last {}, {} operations, seed {}", c.applied, c.last,
                                 operations, seed));
        TestDisk disk;
        PrepareFollower(disk, c.applied, c.last);
        Ahead(40).Send(disk);
        auto follower = std::make_unique<Follower>(disk);
        ASSERT_TRUE(follower->status().ok());
        is_done = Install(
                      disk, *follower, [] { return absl::OkStatus(); }, operations)
                      .ok();
        disk.fs().PowerOff();
        disk.Crash(seed, seed != 0, [&] { follower.reset(); });
        // As the next start does.
        const std::unique_ptr<StateHome> states = disk.states();
        disk.rows().Remove(states->fresh_path());

        Follower next(disk);
        ASSERT_TRUE(next.status().ok()) << next.status();
        const uint64_t at = next.store().applied().index.value();
        found.insert(at);
        if (at == 40) {
          EXPECT_EQ(next.wal().before_first(), (raft::EntryId{Term(5), Index(40)}));
          EXPECT_EQ(next.wal().last(), (raft::EntryId{Term(5), Index(40)}));
        } else {
          EXPECT_FALSE(is_done);
          EXPECT_EQ(at, c.applied);
          EXPECT_EQ(next.wal().last().index, Index(c.last));
          Ahead(40).Send(disk);
          ASSERT_TRUE(Install(disk, next).ok());
        }
        ExpectAt(next, 40);
        if (HasFailure()) return;
      }
    }
    EXPECT_EQ(found, (std::set<uint64_t>{c.applied, 40}));
  }
}

// The n-th call of each kind fails, for every n until one passes without: the installation says so,
// and the next start has the old state or the new one.
TEST_F(SnapshotInstallTest, WhicheverCallFailsTheNextStartHasOneStateOrTheOther) {
  struct Kind {
    wal::FaultOperation operation;
    absl::StatusCode code;
  };
  for (const Kind& kind : {Kind{wal::FaultOperation::kCreate, absl::StatusCode::kResourceExhausted},
                           Kind{wal::FaultOperation::kWrite, absl::StatusCode::kResourceExhausted},
                           Kind{wal::FaultOperation::kSync, absl::StatusCode::kInternal},
                           Kind{wal::FaultOperation::kRename, absl::StatusCode::kInternal},
                           Kind{wal::FaultOperation::kSyncDirectory, absl::StatusCode::kInternal},
                           Kind{wal::FaultOperation::kOpen, absl::StatusCode::kInternal}}) {
    bool has_struck = true;
    for (uint64_t n = 0; has_struck; ++n) {
      for (const bool is_power_cut : {false, true}) {
        SCOPED_TRACE(fmt::format("call {} of kind {}, power cut {}", n,
                                 static_cast<int>(kind.operation), is_power_cut));
        TestDisk disk;
        PrepareFollower(disk, 10, 30);
        Ahead(40).Send(disk);
        auto follower = std::make_unique<Follower>(disk);
        ASSERT_TRUE(follower->status().ok());
        // After the test's own look at the pointer.
        const std::unique_ptr<StateHome> states = disk.states();
        disk.fs().FailOnce(kind.operation, kind.code, n);
        const auto outcome = InstallSnapshot(
            {follower->identity(), kLeaderTerm}, *states, [] { return absl::OkStatus(); },
            *follower);
        has_struck = !disk.fs().has_fault();
        if (!outcome.ok()) {
          EXPECT_TRUE(has_struck);
          EXPECT_EQ(outcome.status().code(), kind.code) << outcome.status();
        }
        disk.Crash(n, is_power_cut, [&] { follower.reset(); });
        ASSERT_TRUE(disk.fs().SyncDirectory(TestDisk::kStates).ok());
        disk.rows().Remove(disk.states()->fresh_path());
        Follower next(disk);
        ASSERT_TRUE(next.status().ok()) << next.status();
        const uint64_t at = next.store().applied().index.value();
        EXPECT_TRUE(at == 40 || (at == 10 && !outcome.ok())) << at;
        ExpectAt(next, at);
        if (HasFailure()) return;
      }
    }
  }
}

// And at each named point between two of them.
TEST_F(SnapshotInstallTest, CutShortAtAnyNamedPointTheNextStartHasOneStateOrTheOther) {
  for (int stop_at = 0; stop_at < 13; ++stop_at) {
    for (const bool is_power_cut : {false, true}) {
      SCOPED_TRACE(fmt::format("point {}", stop_at));
      TestDisk disk;
      PrepareFollower(disk, 10, 30);
      Ahead(40).Send(disk);
      auto follower = std::make_unique<Follower>(disk);
      int passed = 0;
      {
        const base::ScopedFailPointObserver observer([&](std::string_view name) {
          if (name.starts_with("server.") && passed++ == stop_at) disk.fs().PowerOff();
        });
        const bool is_installed = Install(disk, *follower).ok();
        EXPECT_EQ(is_installed, stop_at == 11 || stop_at == 12);
        EXPECT_EQ(follower->has_failed(), stop_at >= 8 && !is_installed);
      }
      disk.Crash(stop_at, is_power_cut, [&] { follower.reset(); });
      Follower next(disk);
      ASSERT_TRUE(next.status().ok()) << next.status();
      const uint64_t at = next.store().applied().index.value();
      if (stop_at >= 10) {
        EXPECT_EQ(at, 40U);
      }
      if (stop_at <= 7) {
        EXPECT_EQ(at, 10U);
      }
      ExpectAt(next, at);
    }
  }
}

TEST_F(SnapshotInstallTest, OneThatTheLogHoldsIsDroppedAndCountsAsSuccess) {
  TestDisk disk;
  {
    Follower follower(disk);
    ASSERT_TRUE(follower.Append(History(4, 30), Index(9)).ok());
    ASSERT_TRUE(follower.store().Flush().ok());
  }
  for (const uint64_t last : {8, 20}) {
    Ahead(last).Send(disk);
    Follower follower(disk);
    const auto outcome = Install(disk, follower);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_FALSE(outcome->is_installed);
    EXPECT_EQ(outcome->id.index, Index(last));
    EXPECT_FALSE(disk.rows().Exists("/data/state/2"));
    EXPECT_EQ(follower.store().applied().index, Index(last == 8 ? 9 : 20));
  }
}

TEST_F(SnapshotInstallTest, WhatDoesNotCheckOutLeavesEverythingAsItWas) {
  TestDisk disk;
  PrepareFollower(disk, 10, 12);
  Follower follower(disk);
  const auto refusal =
      [&](absl::FunctionRef<absl::Status()> verify = [] { return absl::OkStatus(); }) {
        const absl::StatusOr<InstallOutcome> outcome = Install(disk, follower, verify);
        EXPECT_FALSE(disk.rows().Exists("/data/state/2"));
        EXPECT_FALSE(follower.has_failed());
        return std::string(absl::StatusCodeToString(outcome.status().code())) + ": " +
               std::string(base::Message(outcome.status()));
      };
  Ahead(40).Send(disk);
  EXPECT_EQ(refusal([] { return base::MakeStatus(absl::StatusCode::kDataLoss, "a checksum"); }),
            "DATA_LOSS: a checksum");
  Ahead(0).Send(disk);
  EXPECT_EQ(refusal(),
            "DATA_LOSS: a snapshot through index 0 of term 0 with 0 voters, from a leader of term "
            "5");
  Ahead(40, ClusterId(0xbad)).Send(disk);
  EXPECT_EQ(refusal(), fmt::format("FAILED_PRECONDITION: state: a snapshot of cluster bad, not of "
                                   "cluster {:x}",
                                   kCluster));
  EXPECT_EQ(refusal(), "DATA_LOSS: state: a snapshot without a state") << "nothing has arrived";
  // The disk is full when the pointer is written: nothing has changed yet.
  Ahead(40).Send(disk);
  {
    const base::ScopedFailPointObserver observer([&](std::string_view name) {
      if (name == "server.install.drained") {
        disk.fs().FailOnce(wal::FaultOperation::kCreate, absl::StatusCode::kResourceExhausted);
      }
    });
    EXPECT_TRUE(refusal().starts_with("RESOURCE_EXHAUSTED"));
  }
  EXPECT_EQ(follower.calls().back(), "abandon");
  EXPECT_EQ(follower.store().applied().index, Index(10));
  Ahead(40).Send(disk);
  ASSERT_TRUE(Install(disk, follower).ok());
  ExpectAt(follower, 40);
}

TEST_F(SnapshotInstallTest, ASnapshotOfALaterTermThanItsSenderIsRefused) {
  TestDisk disk;
  PrepareFollower(disk, 3, 3);
  Ahead(40).Send(disk);
  Follower follower(disk);
  const std::unique_ptr<StateHome> states = disk.states();
  const auto outcome = InstallSnapshot(
      {follower.identity(), Term(4)}, *states, [] { return absl::OkStatus(); }, follower);
  EXPECT_TRUE(absl::IsDataLoss(outcome.status())) << outcome.status();
}

}  // namespace
}  // namespace cairn::server
