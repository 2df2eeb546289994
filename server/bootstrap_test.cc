#include "server/bootstrap.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "server/installed_at.h"
#include "server/membership.h"
#include "server/membership_change.h"
#include "server/test_member.h"

namespace cairn::server {
namespace {

// The ids that etcd derives for this one member and token.
const Members kMembers = InitialMembers(TestConfig().initial_cluster, "etcd-cluster");
const wal::Identity kIdentity{DeriveClusterId({kMembers[0].id}), kMembers[0].id};

std::string Text(const absl::Status& status) {
  return fmt::format("{}: {}", absl::StatusCodeToString(status.code()), base::Message(status));
}

class BootstrapTest : public testing::Test {
 protected:
  absl::StatusOr<Bootstrapped> Boot(const Config& config = TestConfig()) {
    return Bootstrap(disk_->foundation(), config);
  }
  // A refusal changes no file.
  std::string Refusal(const Config& config = TestConfig()) {
    const std::map<std::string, std::string> before = disk_->fs().Contents();
    const std::string text = Text(Boot(config).status());
    EXPECT_TRUE(disk_->fs().Contents() == before) << text;
    return text;
  }

  // A log of entries 1..`last`, all of `term` but the first, with `commit`.
  void MakeLog(uint64_t last, uint64_t term, uint64_t commit,
               const wal::Identity& identity = kIdentity) {
    const Foundation base = disk_->foundation();
    auto log = wal::Wal::Create(base.fs, base.wal_path, base.wal_options, identity);
    ASSERT_TRUE(log.ok()) << log.status();
    wal::Append append;
    append.entries = BootstrapEntries(kMembers);
    while (append.entries.size() < last) {
      append.entries.push_back({Term(term), Index(append.entries.size() + 1)});
    }
    append.hard_state = raft::HardState{Term(term), MemberId(0), Index(commit)};
    append.commit = Index(commit);
    ASSERT_TRUE(log->wal->Write({&append, 1}).ok());
    ASSERT_TRUE(log->wal->Sync().ok());
  }

  // A state that is durable through entry `index` of `term`.
  void MakeState(uint64_t index, uint64_t term, const wal::Identity& identity = kIdentity) {
    auto store =
        mvcc::Store::Open(disk_->OpenState(), {.identity = {identity.cluster, identity.member}});
    ASSERT_TRUE(store.ok()) << store.status();
    {
      mvcc::Batch batch = (*store)->BeginBatch();
      ASSERT_TRUE(batch.Commit({Index(index), Term(term)}).ok());
    }
    ASSERT_TRUE((*store)->Flush().ok());
  }

  // As if the state had arrived as a snapshot of entry `index` of `term`.
  void InstallAt(uint64_t index, uint64_t term) {
    auto store =
        mvcc::Store::Open(disk_->OpenState(), {.identity = {kIdentity.cluster, kIdentity.member}});
    ASSERT_TRUE(store.ok()) << store.status();
    {
      mvcc::Batch batch = (*store)->BeginBatch();
      PutInstalledAt(batch, {Term(term), Index(index)});
      ASSERT_TRUE(batch.Commit((*store)->applied()).ok());
    }
    ASSERT_TRUE((*store)->Flush().ok());
  }

  std::unique_ptr<TestDisk> disk_ = std::make_unique<TestDisk>();
};

TEST_F(BootstrapTest, AFirstStartMakesAClusterOfEtcdsIds) {
  auto member = Boot();
  ASSERT_TRUE(member.ok()) << member.status();
  EXPECT_TRUE(member->is_new);
  // What etcd derives for http://localhost:2380 and its default token.
  EXPECT_EQ(fmt::format("{:x} {:x}", member->identity.member, member->identity.cluster),
            "8e9e05c52164694d cdf818194e3a8c32");
  EXPECT_EQ(member->raft.last, (raft::EntryId{Term(1), Index(1)}));
  EXPECT_EQ(member->raft.hard_state.commit, Index(1));
  EXPECT_EQ(member->raft.applied.index, Index(0));
  auto entries = member->wal->ReadEntries(Index(1), Index(2), 1);
  ASSERT_TRUE(entries.ok());
  EXPECT_EQ(*entries->at(0).data, *BootstrapEntries(kMembers)[0].data);
  EXPECT_EQ(entries->at(0).kind, raft::EntryKind::kConfiguration);
}

TEST_F(BootstrapTest, AFirstStartIsOneOfTheInitialCluster) {
  Config other = TestConfig();
  other.initial_cluster = {{"n2", {"http://localhost:2380"}}};
  EXPECT_NE(base::Message(Boot(other).status()).find("couldn't find local name"),
            std::string::npos);
  EXPECT_TRUE(Boot()->is_new) << "nothing was left behind";
}

TEST_F(BootstrapTest, ARestartIsTheSameMemberWhateverTheFlagsSay) {
  const uint64_t first_nonce = Boot()->start_nonce;
  Config other = TestConfig();
  other.initial_cluster = {{"n2", {"http://localhost:9999"}}};
  other.initial_cluster_token = "other";
  auto member = Boot(other);
  ASSERT_TRUE(member.ok()) << member.status();
  EXPECT_FALSE(member->is_new);
  EXPECT_EQ(member->identity, kIdentity);
  EXPECT_NE(member->start_nonce, first_nonce);
}

TEST_F(BootstrapTest, AMemberThatWasRemovedDoesNotStart) {
  {
    auto member = Boot();
    ASSERT_TRUE(member.ok()) << member.status();
    const auto change = [&](uint64_t index, ChangeKind kind, MemberId id) {
      MembershipChange removal;
      removal.steps = {{kind, {.id = id}}};
      return raft::Entry{Term(1), Index(index), raft::EntryKind::kConfiguration,
                         std::make_shared<const std::string>(EncodeChange(removal))};
    };
    std::vector<raft::Entry> entries = BootstrapEntries(kMembers);
    entries.push_back(change(2, ChangeKind::kAddVoter, MemberId(5)));
    entries.push_back(change(3, ChangeKind::kRemove, kMembers[0].id));
    wal::Append append{.entries = {entries[1], entries[2]}, .commit = Index(3)};
    ASSERT_TRUE(member->wal->Write({&append, 1}).ok());
    ASSERT_TRUE(member->wal->Sync().ok());
    ASSERT_TRUE(member->applier->Apply(entries).ok());
    ASSERT_TRUE(member->store->Flush().ok());
  }
  EXPECT_NE(Refusal().find("permanently removed from the cluster"), std::string::npos) << Refusal();
}

TEST_F(BootstrapTest, MoreLearnersThanTheFlagAllowsAreRefused) {
  {
    auto member = Boot();
    ASSERT_TRUE(member.ok()) << member.status();
    MembershipChange addition;
    addition.steps = {{ChangeKind::kAddLearner, {.id = MemberId(5)}}};
    std::vector<raft::Entry> entries = BootstrapEntries(kMembers);
    entries.push_back({Term(1), Index(2), raft::EntryKind::kConfiguration,
                       std::make_shared<const std::string>(EncodeChange(addition))});
    wal::Append append{.entries = {entries[1]}, .commit = Index(2)};
    ASSERT_TRUE(member->wal->Write({&append, 1}).ok());
    ASSERT_TRUE(member->wal->Sync().ok());
    ASSERT_TRUE(member->applier->Apply(entries).ok());
    ASSERT_TRUE(member->store->Flush().ok());
  }
  EXPECT_TRUE(Boot().ok());
  Config fewer = TestConfig();
  fewer.max_learners = 0;
  EXPECT_NE(Refusal(fewer).find("too many learner members in cluster"), std::string::npos);
}

// The power fails at each operation of the first start; the next start completes it.
TEST_F(BootstrapTest, AFirstStartCutShortAnywhereIsCompletedByTheNext) {
  for (uint64_t operations = 0;; ++operations) {
    for (const uint64_t seed : {1, 2, 3}) {
      SCOPED_TRACE(fmt::format("{} operations, seed {}", operations, seed));
      TestDisk disk;
      disk.fs().PowerOffAfter(operations);
      {
        absl::StatusOr<Bootstrapped> first = Bootstrap(disk.foundation(), TestConfig());
        if (first.ok()) {
          EXPECT_GT(operations, 5U);
          return;
        }
      }
      disk.Crash(seed, true, [] {});
      absl::StatusOr<Bootstrapped> second = Bootstrap(disk.foundation(), TestConfig());
      ASSERT_TRUE(second.ok()) << second.status();
      EXPECT_EQ(second->identity, kIdentity);
      EXPECT_EQ(second->raft.last, (raft::EntryId{Term(1), Index(1)}));
      EXPECT_EQ(second->raft.hard_state.commit, Index(1));
    }
  }
}

TEST_F(BootstrapTest, AnUnusedLogOfAnotherMemberIsRefused) {
  {
    const Foundation base = disk_->foundation();
    ASSERT_TRUE(wal::Wal::Create(base.fs, base.wal_path, base.wal_options,
                                 {ClusterId(0xc1), MemberId(0x3e)})
                    .ok());
  }
  EXPECT_EQ(Refusal(),
            "FAILED_PRECONDITION: the log in /data/wal was made for member 3e and never used; "
            "start with the flags of that first start, or remove the directory");
}

TEST_F(BootstrapTest, AStateOfAnotherMemberOrClusterIsRefused) {
  ASSERT_NO_FATAL_FAILURE(MakeLog(3, 2, 3));
  ASSERT_NO_FATAL_FAILURE(MakeState(3, 2, {kIdentity.cluster, MemberId(0x3e)}));
  EXPECT_EQ(Refusal(),
            fmt::format("FAILED_PRECONDITION: state: belongs to member 3e of cluster {0:x}, not to "
                        "member {1:x} of cluster {0:x}",
                        kIdentity.cluster, kIdentity.member));
}

TEST_F(BootstrapTest, ALogOfAnotherMemberIsRefusedBesideTheState) {
  ASSERT_NO_FATAL_FAILURE(MakeLog(3, 2, 3, {ClusterId(0xc1), kIdentity.member}));
  ASSERT_NO_FATAL_FAILURE(MakeState(3, 2));
  EXPECT_EQ(Refusal(),
            fmt::format("FAILED_PRECONDITION: state: belongs to member {0:x} of cluster {1:x}, not "
                        "to member {0:x} of cluster c1",
                        kIdentity.member, kIdentity.cluster));
}

TEST_F(BootstrapTest, AStateAheadOfTheLogIsRefused) {
  ASSERT_NO_FATAL_FAILURE(MakeLog(3, 2, 3));
  ASSERT_NO_FATAL_FAILURE(MakeState(4, 2));
  EXPECT_EQ(
      Refusal(),
      "FAILED_PRECONDITION: /data/wal: the log holds entries 1 to 3, but the state is applied "
      "through 4: "
      "the log has lost its end; give --data-dir and --wal-dir of one member, or restore both from "
      "one copy");
}

// The directory of the log was removed or --wal-dir names a new one: not the first start, and no
// log is made.
TEST_F(BootstrapTest, AStateWithoutALogIsRefused) {
  Foundation foundation = disk_->foundation();
  foundation.has_state = true;
  for (int i = 0; i < 2; ++i) {
    const std::string refusal = Text(Bootstrap(foundation, TestConfig()).status());
    EXPECT_TRUE(refusal.starts_with("FAILED_PRECONDITION: there is a state, but no log in "))
        << refusal;
    EXPECT_NE(refusal.find("--wal-dir"), std::string::npos) << refusal;
  }
}

TEST_F(BootstrapTest, AStateTooOldForTheLogIsRefused) {
  {
    auto member = TestMember::Start(*disk_);
    ASSERT_TRUE(member.ok()) << member.status();
    while ((*member)->wal().before_first().index == Index(0)) {
      ASSERT_TRUE((*member)->Put("key", std::string(1000, 'x')).status.ok());
      const auto durable = (*member)->store().Flush();
      ASSERT_TRUE(durable.ok());
      ASSERT_TRUE((*member)->runner().MarkDurable({durable->term, durable->index}).ok());
      ASSERT_TRUE((*member)->wal().CollectCovered(durable->index).ok());
    }
    ASSERT_TRUE((*member)->runner().Stop().ok());
  }
  Foundation without_state = disk_->foundation();
  mvcc::MemDisk empty;
  without_state.open_state = [&] { return empty.Open(); };
  const std::string refusal = Text(Bootstrap(without_state, TestConfig()).status());
  EXPECT_TRUE(refusal.starts_with("FAILED_PRECONDITION: /data/wal: the log holds entries "))
      << refusal;
  EXPECT_NE(refusal.find("applied through 0: the state is too old for the log; give --data-dir"),
            std::string::npos)
      << refusal;
}

TEST_F(BootstrapTest, AStateOfAnotherHistoryIsRefused) {
  ASSERT_NO_FATAL_FAILURE(MakeLog(5, 2, 5));
  ASSERT_NO_FATAL_FAILURE(MakeState(4, 3));
  EXPECT_EQ(
      Refusal(),
      "FAILED_PRECONDITION: /data/wal: the state has applied index 4 at term 3, but the log has "
      "term 2 "
      "there: log and state are not of one history; give --data-dir and --wal-dir of one member");
}

// What the state has applied was committed, whatever the log's hint says.
TEST_F(BootstrapTest, AStoredCommitIsRaisedToWhatIsApplied) {
  ASSERT_NO_FATAL_FAILURE(MakeLog(6, 2, 1));
  ASSERT_NO_FATAL_FAILURE(MakeState(4, 2));
  auto member = Boot();
  ASSERT_TRUE(member.ok()) << member.status();
  EXPECT_EQ(member->recovered.hard_state.commit, Index(1));
  EXPECT_EQ(member->raft.hard_state.commit, Index(4));
  EXPECT_EQ(member->raft.applied, (raft::EntryId{Term(2), Index(4)}));
  ASSERT_EQ(member->raft.entries.size(), 2U);
  EXPECT_EQ(member->raft.entries[0].index, Index(5));
}

// A snapshot had taken the state's place when the member ended, but the log had not recorded it:
// it does now, whatever it holds.
TEST_F(BootstrapTest, AnInstallationIsRecordedWhateverTheLogHolds) {
  for (const uint64_t last : {3, 50, 70}) {
    SCOPED_TRACE(last);
    disk_ = std::make_unique<TestDisk>();
    ASSERT_NO_FATAL_FAILURE(MakeLog(last, 4, 3));
    ASSERT_NO_FATAL_FAILURE(MakeState(50, 4));
    const std::string refusal = Refusal();
    if (last == 3) {
      EXPECT_NE(refusal.find("the log has lost its end"), std::string::npos) << refusal;
    }
    InstallAt(50, 4);
    for (int start = 0; start < 2; ++start) {
      auto member = Boot();
      ASSERT_TRUE(member.ok()) << member.status();
      const raft::EntryId installed = {Term(4), Index(50)};
      EXPECT_EQ(member->recovered.snapshot_installed->id, installed);
      EXPECT_EQ(member->raft.before_first, installed);
      EXPECT_EQ(member->raft.last, installed);
      EXPECT_EQ(member->raft.hard_state.commit, Index(50));
      EXPECT_TRUE(member->raft.entries.empty());
      EXPECT_EQ(member->wal->last(), installed);
    }
  }
}

// The state has gone on, or a marker says the same: there is nothing to record.
TEST_F(BootstrapTest, AnInstallationIsRecordedOnceOnly) {
  ASSERT_NO_FATAL_FAILURE(MakeLog(60, 4, 55));
  ASSERT_NO_FATAL_FAILURE(MakeState(50, 4));
  InstallAt(50, 4);
  ASSERT_NO_FATAL_FAILURE(MakeState(51, 4));
  auto member = Boot();
  ASSERT_TRUE(member.ok()) << member.status();
  EXPECT_EQ(member->raft.last.index, Index(60));
  EXPECT_FALSE(member->recovered.snapshot_installed.has_value());
}

TEST_F(BootstrapTest, AnInstallationThatAMarkerCoversIsNotRecordedAgain) {
  ASSERT_NO_FATAL_FAILURE(MakeLog(60, 4, 55));
  ASSERT_NO_FATAL_FAILURE(MakeState(50, 4));
  InstallAt(50, 4);
  {
    const Foundation base = disk_->foundation();
    auto log = wal::Wal::Open(base.fs, base.wal_path, base.wal_options, kIdentity);
    ASSERT_TRUE(log.ok());
    wal::Append append;
    append.marker = wal::Marker{{Term(4), Index(50)}};
    ASSERT_TRUE(log->wal->Write({&append, 1}).ok());
    ASSERT_TRUE(log->wal->Sync().ok());
  }
  auto member = Boot();
  ASSERT_TRUE(member.ok()) << member.status();
  EXPECT_EQ(member->raft.last.index, Index(60));
}

// A log that has committed what the snapshot holds took it before, or is another member's: its
// entries are not to be dropped.
TEST_F(BootstrapTest, ALogThatHasGoneOnIsNotDroppedForAnOldState) {
  for (const uint64_t commit : {50, 55}) {
    SCOPED_TRACE(commit);
    disk_ = std::make_unique<TestDisk>();
    ASSERT_NO_FATAL_FAILURE(MakeLog(60, 4, commit));
    ASSERT_NO_FATAL_FAILURE(MakeState(50, 4));
    InstallAt(50, 4);
    for (int start = 0; start < 2; ++start) {
      EXPECT_EQ(Refusal(),
                fmt::format("FAILED_PRECONDITION: /data/wal: the state arrived as a snapshot "
                            "through entry 50, of which the log does not know, but the log has "
                            "gone on through {}: the state is too old for the log; give --data-dir "
                            "and --wal-dir of one member, or restore both from one copy",
                            commit));
      const Foundation base = disk_->foundation();
      auto log = wal::Wal::Open(base.fs, base.wal_path, base.wal_options, kIdentity);
      ASSERT_TRUE(log.ok()) << log.status();
      EXPECT_EQ(log->recovered.last, (raft::EntryId{Term(4), Index(60)})) << "nothing is dropped";
    }
  }
}

TEST(IsInstallationToRecordTest, AsLongAsTheLogIsBehindIt) {
  const raft::EntryId at = {Term(4), Index(50)};
  const auto is_to_record = [&](uint64_t before_first, uint64_t commit, raft::EntryId marker,
                                raft::EntryId recorded) {
    return IsInstallationToRecord(at, {Term(3), Index(before_first)}, Index(commit),
                                  wal::Marker{marker}, wal::SnapshotInstalled{recorded, ""});
  };
  const raft::EntryId earlier = {Term(3), Index(9)};
  EXPECT_TRUE(*is_to_record(9, 49, earlier, earlier));
  EXPECT_FALSE(*is_to_record(50, 90, at, earlier));
  EXPECT_FALSE(*is_to_record(50, 90, earlier, at));
  EXPECT_FALSE(is_to_record(9, 50, earlier, earlier).ok());
  EXPECT_FALSE(is_to_record(50, 49, earlier, earlier).ok());
  EXPECT_FALSE(is_to_record(9, 49, {Term(4), Index(51)}, earlier).ok());
}

TEST_F(BootstrapTest, ASnapshotOfATermTheLogDoesNotKnowIsRefused) {
  ASSERT_NO_FATAL_FAILURE(MakeLog(10, 3, 3));
  ASSERT_NO_FATAL_FAILURE(MakeState(50, 4));
  InstallAt(50, 4);
  EXPECT_NE(Refusal().find("a snapshot of term 4, but the log knows no term above 3"),
            std::string::npos);
}

TEST(CheckLogMeetsStateTest, FirstIsAtMostAppliedPlusOneAndAppliedAtMostLast) {
  struct Case {
    uint64_t before_first, last, applied;
    bool is_ok;
  };
  const Case kCases[] = {
      {0, 0, 0, true},  {0, 5, 0, true},  {0, 5, 5, true},  {0, 5, 6, false},
      {3, 5, 3, true},  {3, 5, 2, false}, {3, 5, 4, true},  {5, 5, 5, true},
      {5, 5, 4, false}, {5, 5, 6, false}, {0, 0, 1, false},
  };
  for (const Case& c : kCases) {
    EXPECT_EQ(CheckLogMeetsState({Term(1), Index(c.before_first)}, {Term(1), Index(c.last)},
                                 {Index(c.applied), Term(1)})
                  .ok(),
              c.is_ok)
        << c.before_first << ' ' << c.last << ' ' << c.applied;
  }
}

}  // namespace
}  // namespace cairn::server
