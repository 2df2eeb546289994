// A follower without threads over disks in memory that lose what was not made durable: the real
// bootstrap, log, core and applier, driven by hand; and a cluster's history for it to hold. For the
// tests of installations and of crashes.
//
// Test only.
#ifndef CAIRN_SERVER_TEST_FOLLOWER_H_
#define CAIRN_SERVER_TEST_FOLLOWER_H_

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api/rpc.pb.h"
#include "base/check.h"
#include "base/status.h"
#include "raft/core.h"
#include "server/membership.h"
#include "server/snapshot_install.h"
#include "server/test_disk.h"
#include "server/test_member.h"

namespace cairn::server {

inline Config ThreeMembersConfig() {
  Config config = TestConfig();
  config.initial_cluster = {{"n1", {"http://localhost:2380"}},
                            {"n2", {"http://localhost:2381"}},
                            {"n3", {"http://localhost:2382"}}};
  return config;
}

inline const Members kThreeMembers =
    InitialMembers(ThreeMembersConfig().initial_cluster, "etcd-cluster");
inline const MemberId kFollower = DeriveMemberId({"http://localhost:2380"}, "etcd-cluster");
inline const MemberId kLeader = DeriveMemberId({"http://localhost:2381"}, "etcd-cluster");
inline const ClusterId kCluster =
    DeriveClusterId({kThreeMembers[0].id, kThreeMembers[1].id, kThreeMembers[2].id});
inline constexpr Term kLeaderTerm{5};

inline void CheckOk(const absl::Status& status) { CAIRN_CHECK(status.ok(), status.ToString()); }

inline raft::Entry HistoryPut(uint64_t index, Term term, const std::string& key) {
  etcdserverpb::PutRequest request;
  request.set_key(key);
  request.set_value("value " + std::to_string(index));
  return {term, Index(index), raft::EntryKind::kCommand,
          std::make_shared<const std::string>(EncodeCommand(
              {.kind = CommandKind::kPut, .proposer = kLeader, .nonce = 1, .sequence = index},
              request.SerializeAsString()))};
}

inline Term HistoryTerm(uint64_t index) { return Term(index <= 3 ? 1 : index <= 10 ? 3 : 5); }

// The cluster's history: the bootstrap entries, then a put each.
inline std::vector<raft::Entry> History(uint64_t first, uint64_t last) {
  std::vector<raft::Entry> entries;
  for (uint64_t index = first; index <= last; ++index) {
    entries.push_back(index <= kThreeMembers.size()
                          ? BootstrapEntries(kThreeMembers)[index - 1]
                          : HistoryPut(index, HistoryTerm(index), "k" + std::to_string(index % 7)));
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
    CheckOk(store_->Checkpoint("copy").status());
  }

  // Puts the checkpoint where `to` expects a fresh state.
  void Send(TestDisk& to) { to.rows().Copy(disk_, "copy", to.states()->fresh_path()); }
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
    auto opened = Bootstrap(disk.foundation(), ThreeMembersConfig());
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
        {kLeader, kFollower, term,
         raft::AppendRequest{
             .previous = {term_before, before}, .commit = commit, .entries = std::move(entries)}});
    return Drain();
  }

  absl::Status SyncTerm(Term term) override {
    calls_.push_back("term");
    core_->Step({kLeader, kFollower, term, raft::StaleTerm{}});
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
      core_->Applied(entries[result.entries - 1].index);
      CAIRN_CHECK_EQ(result.entries, entries.size());
    }
    return absl::OkStatus();
  }

  absl::Status status_;
  Bootstrapped member_;
  std::unique_ptr<raft::Core> core_;
  bool has_failed_ = false;
  std::vector<std::string> calls_;
};

// The follower's state and log: the history through `applied` (3 or 10), and from there to `last`
// entries of a leader that nobody else followed.
inline void PrepareFollower(TestDisk& disk, uint64_t applied, uint64_t last) {
  Follower follower(disk);
  CheckOk(follower.status());
  const Term term = HistoryTerm(applied);
  if (applied > 3) CheckOk(follower.Append(History(4, applied), Index(applied), term));
  std::vector<raft::Entry> stray;
  for (uint64_t i = applied + 1; i <= last; ++i) stray.push_back(HistoryPut(i, term + 1, "stray"));
  if (!stray.empty()) CheckOk(follower.Append(std::move(stray), Index(applied), term + 1));
  CheckOk(follower.store().Flush().status());
}

inline absl::StatusOr<InstallOutcome> Install(
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

}  // namespace cairn::server

#endif  // CAIRN_SERVER_TEST_FOLLOWER_H_
