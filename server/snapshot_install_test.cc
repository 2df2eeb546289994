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
#include "server/test_member.h"

namespace cairn::server {
namespace {

constexpr char kCopy[] = "copy";

Config ThreeMembers() {
  Config config = TestConfig();
  config.initial_cluster = {{"n1", {"http://localhost:2380"}},
                            {"n2", {"http://localhost:2381"}},
                            {"n3", {"http://localhost:2382"}}};
  return config;
}

const Members kMembers = InitialMembers(ThreeMembers().initial_cluster, "etcd-cluster");
const MemberId kSelf = DeriveMemberId({"http://localhost:2380"}, "etcd-cluster");
const MemberId kLeader = DeriveMemberId({"http://localhost:2381"}, "etcd-cluster");
const ClusterId kCluster = DeriveClusterId({kMembers[0].id, kMembers[1].id, kMembers[2].id});
constexpr Term kLeaderTerm{5};

void CheckOk(const absl::Status& status) { CAIRN_CHECK(status.ok(), status.ToString()); }

raft::Entry Put(uint64_t index, Term term, const std::string& key) {
  etcdserverpb::PutRequest request;
  request.set_key(key);
  request.set_value("value " + std::to_string(index));
  return {term, Index(index), raft::EntryKind::kCommand,
          std::make_shared<const std::string>(EncodeCommand(
              {.kind = CommandKind::kPut, .proposer = kLeader, .nonce = 1, .sequence = index},
              request.SerializeAsString()))};
}

Term TermOf(uint64_t index) { return Term(index <= 3 ? 1 : index <= 10 ? 3 : 5); }

// The cluster's history: the bootstrap entries, then a put each.
std::vector<raft::Entry> History(uint64_t first, uint64_t last) {
  std::vector<raft::Entry> entries;
  for (uint64_t index = first; index <= last; ++index) {
    entries.push_back(index <= kMembers.size()
                          ? BootstrapEntries(kMembers)[index - 1]
                          : Put(index, TermOf(index), "k" + std::to_string(index % 7)));
  }
  return entries;
}

// Another member, far ahead, and a checkpoint of its state.
class Ahead {
 public:
  explicit Ahead(uint64_t last, ClusterId cluster = kCluster) {
    auto store = mvcc::Store::Open(disk_.Open(), {.identity = {cluster, kLeader}});
    CheckOk(store.status());
    store_ = *std::move(store);
    auto applier = Applier::Open(*store_, {.id = kLeader, .nonce = 1});
    CheckOk(applier.status());
    applier_ = *std::move(applier);
    if (last > 0) CheckOk(applier_->Apply(History(1, last)).status());
    CheckOk(store_->Checkpoint(kCopy).status());
  }

  // Puts the checkpoint where `to` expects a fresh state.
  void Send(TestDisk& to) { to.rows().Copy(disk_, kCopy, to.states()->fresh_path()); }
  const mvcc::Store& store() const { return *store_; }

 private:
  mvcc::MemDisk disk_;
  std::unique_ptr<mvcc::Store> store_;
  std::unique_ptr<Applier> applier_;
};

// A follower without threads: the real core, log and applier, driven by hand.
class Follower final : public InstallHost {
 public:
  explicit Follower(TestDisk& disk) {
    auto opened = Bootstrap(disk.foundation(), ThreeMembers());
    status_ = opened.status();
    if (!status_.ok()) return;
    member_ = *std::move(opened);
    core_ = std::make_unique<raft::Core>(
        raft::CoreOptions{.id = member_.identity.member, .random_seed = 1}, member_.raft);
    status_ = Drain();
  }

  const absl::Status& status() const { return status_; }
  mvcc::Store& store() { return *member_.store; }
  wal::Wal& wal() { return *member_.wal; }
  raft::Core& core() { return *core_; }
  const Applier& applier() { return *member_.applier; }
  bool has_failed() const { return has_failed_; }
  const std::vector<std::string>& calls() const { return calls_; }
  mvcc::StoreIdentity identity() const {
    return {member_.identity.cluster, member_.identity.member};
  }

  // Entries of the leader of `term`, with its commit index.
  absl::Status Append(std::vector<raft::Entry> entries, Index commit, Term term = kLeaderTerm) {
    const Index before = entries.front().index - 1;
    const Term term_before = *member_.wal->TermAt(before);
    core_->Step(
        {kLeader, kSelf, term,
         raft::AppendRequest{
             .previous = {term_before, before}, .commit = commit, .entries = std::move(entries)}});
    return Drain();
  }

  absl::Status SyncTerm(Term term) override {
    calls_.push_back("term");
    core_->Step({kLeader, kSelf, term, raft::StaleTerm{}});
    return Drain();
  }
  absl::StatusOr<bool> BeginInstall(raft::EntryId id) override {
    calls_.push_back("begin");
    const bool is_wanted = core_->BeginInstall(id);
    CAIRN_RETURN_IF_ERROR(Drain());
    return is_wanted;
  }
  void AbandonInstall() override {
    calls_.push_back("abandon");
    core_->AbandonInstall();
  }
  absl::Status DrainApply() override { return absl::OkStatus(); }
  absl::Status RecordInstalled(wal::SnapshotInstalled record) override {
    calls_.push_back("record");
    wal::Append append;
    append.commit = record.id.index;
    append.snapshot_installed = std::move(record);
    CAIRN_RETURN_IF_ERROR(member_.wal->Write({&append, 1}));
    return member_.wal->Sync();
  }
  absl::Status FinishInstall(std::unique_ptr<mvcc::Store> fresh, Applier::Loaded loaded) override {
    calls_.push_back("finish");
    const mvcc::EntryApplied applied = fresh->applied();
    const raft::Configuration configuration = loaded.membership.configuration;
    member_.applier->Replace(std::move(fresh), std::move(loaded));
    core_->FinishInstall({applied.term, applied.index}, configuration);
    return Drain();
  }
  void FailInstall(const absl::Status&) override { has_failed_ = true; }

 private:
  // Does all the work there is.
  absl::Status Drain() {
    while (core_->HasReady()) {
      raft::Ready ready = core_->TakeReady();
      if (ready.hard_state.has_value() || !ready.entries.empty()) {
        const wal::Append append{
            .hard_state = ready.hard_state, .entries = ready.entries, .commit = ready.commit};
        CAIRN_RETURN_IF_ERROR(member_.wal->Write({&append, 1}));
        CAIRN_RETURN_IF_ERROR(member_.wal->Sync());
      }
      if (ready.needs_log()) core_->LogDurable(ready.number);
      if (ready.committed.empty()) continue;
      CAIRN_ASSIGN_OR_RETURN(
          const std::vector<raft::Entry> entries,
          member_.wal->ReadEntries(ready.committed.first, ready.committed.limit, 1 << 20));
      CAIRN_ASSIGN_OR_RETURN(const Applier::Result result, member_.applier->Apply(entries));
      if (result.configuration.has_value()) {
        core_->ConfigurationApplied(result.configuration->first, result.configuration->second);
      }
      core_->Applied(entries.back().index);
    }
    return absl::OkStatus();
  }

  absl::Status status_;
  Bootstrapped member_;
  std::unique_ptr<raft::Core> core_;
  bool has_failed_ = false;
  std::vector<std::string> calls_;
};

class SnapshotInstallTest : public testing::Test {
 protected:
  // The follower's state and log: the history through `applied` (3 or 10), and from there to `last`
  // entries of a leader that nobody else followed.
  static void Prepare(TestDisk& disk, uint64_t applied, uint64_t last) {
    Follower follower(disk);
    CheckOk(follower.status());
    const Term term = TermOf(applied);
    if (applied > 3) CheckOk(follower.Append(History(4, applied), Index(applied), term));
    std::vector<raft::Entry> stray;
    for (uint64_t i = applied + 1; i <= last; ++i) stray.push_back(Put(i, term + 1, "stray"));
    if (!stray.empty()) CheckOk(follower.Append(std::move(stray), Index(applied), term + 1));
    CheckOk(follower.store().Flush().status());
  }

  static absl::StatusOr<InstallOutcome> Install(
      TestDisk& disk, Follower& follower,
      absl::FunctionRef<absl::Status()> verify = [] { return absl::OkStatus(); },
      uint64_t operations = std::numeric_limits<uint64_t>::max()) {
    const std::unique_ptr<StateHome> states = disk.states();
    if (operations < std::numeric_limits<uint64_t>::max()) disk.fs().PowerOffAfter(operations);
    auto outcome = InstallSnapshot({follower.identity(), kLeaderTerm}, *states, verify, follower);
    if (outcome.ok() && outcome->is_installed) {
      follower.store().CloseReplaced();
      CheckOk(states->RemovePrevious());
    }
    return outcome;
  }

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
  Prepare(disk, 3, 8);
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
                  "server.state.pointer_written", "server.state.pointer_synced",
                  "server.state.pointer_renamed", "server.state.switched",
                  "server.install.recorded", "server.install.finished"}));
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
        Prepare(disk, c.applied, c.last);
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

// And at each named point between two of them.
TEST_F(SnapshotInstallTest, CutShortAtAnyNamedPointTheNextStartHasOneStateOrTheOther) {
  for (int stop_at = 0; stop_at < 12; ++stop_at) {
    for (const bool is_power_cut : {false, true}) {
      SCOPED_TRACE(fmt::format("point {}", stop_at));
      TestDisk disk;
      Prepare(disk, 10, 30);
      Ahead(40).Send(disk);
      auto follower = std::make_unique<Follower>(disk);
      int passed = 0;
      {
        const base::ScopedFailPointObserver observer([&](std::string_view name) {
          if (name.starts_with("server.") && passed++ == stop_at) disk.fs().PowerOff();
        });
        const bool is_installed = Install(disk, *follower).ok();
        EXPECT_EQ(is_installed, stop_at == 10 || stop_at == 11);
        EXPECT_EQ(follower->has_failed(), stop_at >= 7 && !is_installed);
      }
      disk.Crash(stop_at, is_power_cut, [&] { follower.reset(); });
      Follower next(disk);
      ASSERT_TRUE(next.status().ok()) << next.status();
      const uint64_t at = next.store().applied().index.value();
      if (stop_at >= 9) {
        EXPECT_EQ(at, 40U);
      }
      if (stop_at <= 6) {
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
  Prepare(disk, 10, 12);
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
  Prepare(disk, 3, 3);
  Ahead(40).Send(disk);
  Follower follower(disk);
  const std::unique_ptr<StateHome> states = disk.states();
  const auto outcome = InstallSnapshot(
      {follower.identity(), Term(4)}, *states, [] { return absl::OkStatus(); }, follower);
  EXPECT_TRUE(absl::IsDataLoss(outcome.status())) << outcome.status();
}

}  // namespace
}  // namespace cairn::server
