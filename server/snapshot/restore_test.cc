#include "server/snapshot/restore.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/internal.pb.h"
#include "api/rpc.pb.h"
#include "base/fail_point.h"
#include "base/status.h"
#include "mvcc/revision_limits.h"
#include "server/bootstrap.h"
#include "server/data_dir.h"
#include "server/log_pins.h"
#include "server/rpc/fake_call.h"
#include "server/snapshot/failing_fs.h"
#include "server/snapshot/saver.h"
#include "server/snapshot/test_state.h"
#include "wal/posix_fs.h"

namespace cairn::server {
namespace {

namespace files = std::filesystem;

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr uint64_t kPuts = 40;
constexpr int64_t kLease = 77;

bool GoOn() { return false; }

// A member that has started.
struct Started {
  std::unique_ptr<DataDir> directory;
  std::unique_ptr<RocksStates> states;
  std::unique_ptr<Bootstrapped> member;
};

class RestoreTest : public testing::Test {
 protected:
  RestoreTest() : root_(testing::TempDir() + "/restore_" + Name()) {
    files::remove_all(root_);
    state_ = std::make_unique<State>(root_ + "/old", kMembers[0].id, kPuts);
    AddToHistory();
    Save(root_ + "/snapshot");
    request_.snapshot_path = root_ + "/snapshot";
    request_.log.segment_bytes = wal::kSegmentBytesMin;
    files::create_directory(root_ + "/site");
  }
  static std::string Name() {
    return testing::UnitTest::GetInstance()->current_test_info()->name();
  }

  void Apply(CommandKind kind, const std::string& body) {
    const std::vector<raft::Entry> entries = {
        CommandEntry(state_->store().applied().index.value() + 1, kind, body)};
    CheckOk(state_->applier().Apply(entries).status());
  }
  // A lease with a key, an alarm of a client and one of a member, who may log in, who was removed.
  void AddToHistory() {
    etcdserverpb::LeaseGrantRequest grant;
    grant.set_id(kLease);
    grant.set_ttl(600);
    Apply(CommandKind::kLeaseGrant, grant.SerializeAsString());
    etcdserverpb::PutRequest put;
    put.set_key("leased");
    put.set_lease(kLease);
    Apply(CommandKind::kPut, put.SerializeAsString());
    etcdserverpb::AlarmRequest alarm;
    alarm.set_action(etcdserverpb::AlarmRequest::ACTIVATE);
    alarm.set_alarm(etcdserverpb::CORRUPT);
    alarm.set_memberid(5);
    Apply(CommandKind::kAlarm, alarm.SerializeAsString());
    internal::SpaceAlarm space;
    space.set_member_id(kMembers[1].id.value());
    space.set_is_full(true);
    Apply(CommandKind::kSpaceAlarm, space.SerializeAsString());
    mvcc::Batch batch = state_->store().BeginBatch();
    batch.PutMeta("u/alice", "her row");
    CheckOk(batch.Commit(state_->store().applied()));
  }
  void Save(const std::string& path) {
    const absl::Status saved = TrySave(path);
    ASSERT_TRUE(saved.ok()) << saved;
  }
  absl::Status TrySave(const std::string& path) {
    LogPins pins;
    SnapshotSaver saver({}, wal::PosixFs(), state_->states(), state_->store(), pins);
    rpc::FakeStreamCall call;
    saver.Save(call.TakeCall(), "3.7.0");
    std::ofstream file(path, std::ios::binary);
    while (const std::optional<std::string> message = call.WaitReceive()) {
      etcdserverpb::SnapshotResponse response;
      EXPECT_TRUE(response.ParseFromString(*message));
      file << response.blob();
    }
    return call.WaitStatus();
  }

  // The `i`th of `members` new ones.
  Config ConfigOf(int i, int members) const {
    Config config;
    for (int n = 0; n < members; ++n) {
      config.initial_cluster.push_back(
          {fmt::format("m{}", n), {fmt::format("http://localhost:{}", 3380 + n)}});
    }
    config.name = fmt::format("m{}", i);
    config.initial_advertise_peer_urls = {{"http", "localhost", static_cast<uint16_t>(3380 + i)}};
    config.initial_cluster_token = "etcd-cluster";
    config.data_dir = fmt::format("{}/site/{}", root_, config.name);
    return config;
  }
  absl::StatusOr<RestoredMember> Restore(const Config& config) {
    return RestoreSnapshot(wal::PosixFs(), config, request_, GoOn);
  }
  std::string Refusal(const Config& config) {
    return std::string(Restore(config).status().message());
  }

  static absl::StatusOr<Started> Start(const Config& config) {
    Started started;
    CAIRN_ASSIGN_OR_RETURN(DataDir directory, DataDir::Open(wal::PosixFs(), config));
    started.directory = std::make_unique<DataDir>(std::move(directory));
    started.states =
        std::make_unique<RocksStates>(wal::PosixFs(), started.directory->states_path(),
                                      started.directory->current_state(), int64_t{16} << 20);
    CAIRN_ASSIGN_OR_RETURN(Bootstrapped member,
                           Bootstrap(wal::PosixFs(), *started.directory, *started.states, config,
                                     [](const std::string&) -> absl::StatusOr<ExistingCluster> {
                                       return absl::UnavailableError("nobody");
                                     }));
    started.member = std::make_unique<Bootstrapped>(std::move(member));
    return started;
  }

  // What a restore that is killed at `point` leaves.
  struct Killed {
    std::string point;
    Config config;
  };
  // Restores `config`, whose directories lie in one of their own, and keeps a copy of that
  // directory at each fail point, under `name`.
  std::vector<Killed> RestoreAndKill(const Config& config, std::string_view name) {
    const files::path site = files::path(config.data_dir).parent_path();
    std::vector<Killed> all;
    const base::ScopedFailPointObserver observer([&](std::string_view point) {
      if (!point.starts_with("server.restore.") && !point.starts_with("server.state.")) return;
      const files::path copy = fmt::format("{}/{}.{}", root_, name, all.size());
      files::remove_all(copy);
      CopyWithTimes(site, copy);
      Config killed = config;
      killed.data_dir = (copy / files::path(config.data_dir).filename()).string();
      killed.wal_dir = (copy / files::relative(config.wal_dir, site)).string();
      all.push_back({std::string(point), std::move(killed)});
    });
    const auto restored = Restore(config);
    EXPECT_TRUE(restored.ok()) << restored.status();
    return all;
  }
  static void CopyWithTimes(const files::path& from, const files::path& to) {
    files::copy(from, to, files::copy_options::recursive);
    for (const auto& entry : files::recursive_directory_iterator(from)) {
      if (!entry.is_regular_file()) continue;
      files::last_write_time(to / files::relative(entry.path(), from), entry.last_write_time());
    }
  }
  static bool IsComplete(const std::string& directory) {
    return files::exists(directory) &&
           !files::exists(fmt::format("{}/{}", directory, kRestoringFolder)) &&
           !files::exists(fmt::format("{}/{}", directory, kRestoringNote));
  }
  // One of two directories is complete.
  static bool IsHalf(const Killed& killed) {
    return !IsComplete(killed.config.data_dir) && IsComplete(killed.config.wal_dir);
  }
  // Restores `config` unless that is complete, and starts it.
  void ExpectMember(const Config& config) {
    if (!IsComplete(config.data_dir)) {
      const auto restored = Restore(config);
      ASSERT_TRUE(restored.ok()) << restored.status();
    }
    const auto started = Start(config);
    ASSERT_TRUE(started.ok()) << started.status();
    EXPECT_EQ(started->member->store->HashKv(mvcc::kCurrent)->hash, state_->Hash());
  }

  // Everything below the place where members are restored.
  std::set<std::string> Site() const {
    std::set<std::string> names;
    for (const auto& entry : files::recursive_directory_iterator(root_ + "/site")) {
      names.insert(entry.path().string());
    }
    return names;
  }

  const std::string root_;
  std::unique_ptr<State> state_;
  RestoreRequest request_;
};

TEST_F(RestoreTest, EverythingButTheMembersIsThere) {
  for (const int members : {1, 3, 5}) {
    SCOPED_TRACE(members);
    files::remove_all(root_ + "/site");
    ClusterId cluster;
    std::set<MemberId> ids;
    for (int i = 0; i < members; ++i) {
      const Config config = ConfigOf(i, members);
      const auto restored = Restore(config);
      ASSERT_TRUE(restored.ok()) << restored.status();
      EXPECT_EQ(restored->revision, state_->store().published().revision);
      if (i > 0) {
        EXPECT_EQ(restored->cluster, cluster);
      }
      cluster = restored->cluster;
      ids.insert(restored->member);
      const auto started = Start(config);
      ASSERT_TRUE(started.ok()) << started.status();
      const Bootstrapped& member = *started->member;
      EXPECT_FALSE(member.is_new);
      EXPECT_EQ(member.identity, (wal::Identity{restored->cluster, restored->member}));
      EXPECT_EQ(member.store->HashKv(mvcc::kCurrent)->hash, state_->Hash());
      EXPECT_EQ(member.store->published(), state_->store().published());
      EXPECT_EQ(member.applier->membership().members.size(), static_cast<size_t>(members));
      EXPECT_EQ(member.applier->membership().configuration.voters.size(),
                static_cast<size_t>(members));
      EXPECT_TRUE(member.applier->membership().removed.empty());
      EXPECT_TRUE(member.applier->leases().Find(LeaseId(kLease)) != nullptr);
      EXPECT_EQ(member.applier->cluster().alarms,
                (std::vector<Alarm>{{AlarmKind::kCorrupt, MemberId(5)}}));
      std::string user;
      EXPECT_TRUE(*member.store->GetMeta("u/alice", user));
      EXPECT_EQ(user, "her row");
      // The log is one that nobody can follow from its beginning.
      const raft::EntryId at{Term(1), state_->store().applied().index + 1};
      EXPECT_EQ(member.raft.before_first, at);
      EXPECT_EQ(member.raft.last, at);
      EXPECT_EQ(member.raft.applied, at);
      EXPECT_EQ(member.raft.hard_state.commit, at.index);
    }
    EXPECT_EQ(ids.size(), static_cast<size_t>(members));
    EXPECT_NE(cluster, kCluster);
  }
}

TEST_F(RestoreTest, ARestoreIsAClusterOfItsOwn) {
  const auto id_of = [&](const Config& config) {
    const auto restored = Restore(config);
    EXPECT_TRUE(restored.ok()) << restored.status();
    files::remove_all(root_ + "/site");
    return restored->cluster;
  };
  const Config config = ConfigOf(0, 3);
  const ClusterId first = id_of(config);
  EXPECT_EQ(id_of(config), first);
  // Not even of one that is made with the same flags.
  std::vector<MemberId> fresh;
  for (const Member& member : InitialMembers(config.initial_cluster, "etcd-cluster")) {
    fresh.push_back(member.id);
  }
  EXPECT_NE(DeriveClusterId(fresh), first);
  Config other = config;
  other.initial_cluster_token = "other";
  EXPECT_NE(id_of(other), first);
  request_.bump_revision = 1;
  request_.mark_compacted = true;
  EXPECT_NE(id_of(config), first);
  request_.bump_revision = 0;
  request_.mark_compacted = false;
  request_.snapshot_path = root_ + "/later";
  CheckOk(state_->applier()
              .Apply(std::vector<raft::Entry>{
                  CommandEntry(state_->store().applied().index.value() + 1, CommandKind::kPut, {})})
              .status());
  Save(request_.snapshot_path);
  EXPECT_NE(id_of(config), first);
}

TEST_F(RestoreTest, TheRevisionCanBeRaised) {
  request_.bump_revision = 1'000'000;
  request_.mark_compacted = true;
  const Config config = ConfigOf(0, 1);
  const auto restored = Restore(config);
  ASSERT_TRUE(restored.ok()) << restored.status();
  const Revision before = state_->store().published().revision;
  EXPECT_EQ(restored->revision, before + 1'000'000);
  EXPECT_EQ(restored->compacted, restored->revision);
  const auto started = Start(config);
  ASSERT_TRUE(started.ok()) << started.status();
  const mvcc::Store& store = *started->member->store;
  EXPECT_EQ(store.Count(mvcc::KeyRange::All(), mvcc::kCurrent)->count, int64_t{kPuts} - 2);
  EXPECT_TRUE(mvcc::IsCompacted(store.Count(mvcc::KeyRange::All(), before).status()));
}

TEST_F(RestoreTest, TheRevisionIsNotRaisedSoFarThatWritesUseUpTheRest) {
  request_.mark_compacted = true;
  const int64_t most =
      mvcc::kRestoredRevisionMax.value() - state_->store().published().revision.value();
  for (const int64_t by : {most + 1, std::numeric_limits<int64_t>::max()}) {
    request_.bump_revision = by;
    EXPECT_THAT(Refusal(ConfigOf(0, 1)), HasSubstr("cannot be raised"));
  }
  request_.bump_revision = most;
  const auto restored = Restore(ConfigOf(0, 1));
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(restored->revision, mvcc::kRestoredRevisionMax);
  EXPECT_TRUE(Start(ConfigOf(0, 1)).ok());
}

TEST_F(RestoreTest, WhatCannotBeIsRefusedAndLeavesNothing) {
  const std::set<std::string> before = Site();
  const Config good = ConfigOf(0, 3);
  const auto refused = [&](const Config& config, const std::string& why) {
    EXPECT_THAT(Refusal(config), HasSubstr(why));
    EXPECT_EQ(Site(), before);
  };
  request_.bump_revision = 5;
  refused(good, "--bump-revision and --mark-compacted go together");
  request_.bump_revision = 0;
  request_.mark_compacted = true;
  refused(good, "--bump-revision and --mark-compacted go together");
  request_.mark_compacted = false;
  Config config = good;
  config.name = "nobody";
  refused(config, "couldn't find local name \"nobody\"");
  config = good;
  config.initial_advertise_peer_urls = {{"http", "localhost", 1}};
  refused(config, "--initial-advertise-peer-urls");
  config = good;
  config.wal_dir = config.data_dir;
  refused(config, "--wal-dir");
  request_.snapshot_path = root_ + "/nothing";
  refused(good, "nothing");
  request_.snapshot_path = root_ + "/snapshot";
  // A directory of somebody, as data directory and as the log's.
  config = good;
  config.data_dir = root_ + "/old";
  const auto old_names = state_->Names();
  refused(config, "is not empty");
  config = good;
  config.wal_dir = root_ + "/old";
  refused(config, "is not empty");
  EXPECT_EQ(state_->Names(), old_names);
  // Below directories that are not there.
  config = good;
  config.data_dir = root_ + "/site/a/b/c";
  request_.bump_revision = std::numeric_limits<int64_t>::max();
  request_.mark_compacted = true;
  refused(config, "cannot be raised");
}

TEST_F(RestoreTest, AnAlteredSnapshotIsRefusedAndLeavesNothing) {
  std::ostringstream all;
  all << std::ifstream(root_ + "/snapshot", std::ios::binary).rdbuf();
  const std::string whole = all.str();
  const std::set<std::string> before = Site();
  request_.snapshot_path = root_ + "/altered";
  // A byte in each block, and some ends.
  for (size_t i = 7; i < whole.size(); i += 4096) {
    std::string altered = whole;
    altered[i] = static_cast<char>(altered[i] ^ 1);
    std::ofstream(request_.snapshot_path, std::ios::binary) << altered;
    const absl::Status refused = Restore(ConfigOf(0, 1)).status();
    ASSERT_FALSE(refused.ok()) << i;
    ASSERT_THAT(std::string(refused.message()), AllOf(HasSubstr("/altered"), HasSubstr("offset")));
    ASSERT_EQ(Site(), before);
    std::ofstream(request_.snapshot_path, std::ios::binary) << whole.substr(0, i);
    ASSERT_FALSE(Restore(ConfigOf(0, 1)).ok()) << i;
    ASSERT_EQ(Site(), before);
  }
}

// A member saves what its disk gives: the checksums of such a snapshot are right, its rows are not.
TEST_F(RestoreTest, TheDamageOfTheMemberThatSavedIsNotRestored) {
  int harmed = 0;
  int not_even_saved = 0;
  for (const auto& entry : files::directory_iterator(state_->states().current_path())) {
    if (entry.path().extension() != ".sst") continue;
    SCOPED_TRACE(entry.path().string());
    std::fstream table(entry.path(), std::ios::binary | std::ios::in | std::ios::out);
    const auto flip = [&] {
      table.seekg(20);
      const char byte = static_cast<char>(table.get() ^ 1);
      table.seekp(20);
      table.put(byte).flush();
    };
    flip();
    request_.snapshot_path = root_ + "/harmed";
    files::remove(request_.snapshot_path);
    const std::set<std::string> before = Site();
    // What says whose state it is was read already to write the manifest.
    const absl::Status saved = TrySave(request_.snapshot_path);
    const absl::Status refused = saved.ok() ? Restore(ConfigOf(0, 1)).status() : saved;
    not_even_saved += saved.ok() ? 0 : 1;
    EXPECT_TRUE(absl::IsDataLoss(refused)) << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr(entry.path().filename()));
    if (saved.ok()) {
      EXPECT_THAT(std::string(refused.message()),
                  AllOf(HasSubstr("snapshot " + request_.snapshot_path),
                        HasSubstr("restore another snapshot")));
    }
    EXPECT_EQ(Site(), before);
    flip();
    ++harmed;
  }
  EXPECT_EQ(harmed, 3) << "a table of each family";
  EXPECT_LE(not_even_saved, 1);
}

// An interrupted restore's directory is cleared, but not of what no restore has put there.
TEST_F(RestoreTest, WhatLiesBesideAnInterruptedRestoreIsNotTouched) {
  const Config config = ConfigOf(0, 1);
  files::create_directories(fmt::format("{}/{}", config.data_dir, kRestoringFolder));
  std::ofstream(config.data_dir + "/photos") << "of somebody";
  const std::set<std::string> before = Site();
  EXPECT_THAT(Refusal(config), HasSubstr("and \"photos\" beside it, which is not of a restore"));
  EXPECT_EQ(Site(), before);
  files::remove(config.data_dir + "/photos");
  files::create_directories(config.data_dir + "/state/1");
  ASSERT_NO_FATAL_FAILURE(ExpectMember(config));
}

TEST_F(RestoreTest, AnEmptyDirectoryWillDoAndTheLogMayLieElsewhere) {
  Config config = ConfigOf(0, 1);
  config.wal_dir = root_ + "/site/log";
  files::create_directories(config.data_dir + "/lost+found");
  files::create_directories(config.wal_dir);
  ASSERT_TRUE(Restore(config).ok()) << Refusal(config);
  EXPECT_FALSE(files::exists(config.data_dir + "/wal"));
  const auto started = Start(config);
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(started->member->store->HashKv(mvcc::kCurrent)->hash, state_->Hash());
}

TEST_F(RestoreTest, NoFailureLeavesAnything) {
  Config config = ConfigOf(0, 3);
  config.wal_dir = root_ + "/site/log";
  const std::set<std::string> before = Site();
  int failures = 0;
  for (int n = 0;; ++n) {
    FailingFs fs(n);
    const auto restored = RestoreSnapshot(fs, config, request_, GoOn);
    if (!fs.has_failed()) {
      ASSERT_TRUE(restored.ok()) << restored.status();
      break;
    }
    ++failures;
    ASSERT_FALSE(restored.ok()) << "operation " << n;
    ASSERT_EQ(Site(), before) << "operation " << n << ": " << restored.status();
  }
  EXPECT_GT(failures, 40);
  // Interrupted, wherever it looks.
  files::remove_all(root_ + "/site");
  files::create_directory(root_ + "/site");
  for (int n = 0;; ++n) {
    int left = n;
    const auto restored =
        RestoreSnapshot(wal::PosixFs(), config, request_, [&] { return left-- == 0; });
    if (restored.ok()) break;
    ASSERT_TRUE(absl::IsCancelled(restored.status())) << restored.status();
    ASSERT_EQ(Site(), before) << n;
  }
}

// What a restore leaves that is killed is no member, and the next restore takes its place.
TEST_F(RestoreTest, WhereverItIsKilledItCanBeDoneAgain) {
  Config config = ConfigOf(0, 3);
  config.wal_dir = root_ + "/site/log";
  const std::vector<Killed> all = RestoreAndKill(config, "once");
  EXPECT_GT(all.size(), 10U);
  EXPECT_EQ(all.back().point, "server.restore.finished");
  int halves = 0;
  for (const Killed& killed : all) {
    SCOPED_TRACE(killed.point);
    const bool is_last = &killed == &all.back();
    if (!is_last) {
      EXPECT_THAT(std::string(Start(killed.config).status().message()), HasSubstr("restore"));
      // The log's directory is complete, the data directory is not. With nothing but the note left
      // the next one is killed too.
      if (IsHalf(killed) && ++halves == 3) {
        EXPECT_FALSE(files::exists(fmt::format("{}/{}", killed.config.data_dir, kRestoringFolder)));
        for (const Killed& again : RestoreAndKill(killed.config, "twice")) {
          SCOPED_TRACE(again.point);
          ExpectMember(again.config);
        }
      } else {
        const auto restored = Restore(killed.config);
        ASSERT_TRUE(restored.ok()) << restored.status();
      }
    }
    const auto started = Start(killed.config);
    ASSERT_TRUE(started.ok()) << started.status();
    EXPECT_EQ(started->member->store->HashKv(mvcc::kCurrent)->hash, state_->Hash());
  }
  EXPECT_EQ(halves, 3) << "the log's folder goes, all of the log, the data directory's folder";
}

// Only what the interrupted restore has left there itself is cleared away.
TEST_F(RestoreTest, ALogInsideTheDataDirectoryIsRestoredAgainToo) {
  Config config = ConfigOf(0, 1);
  config.wal_dir = config.data_dir + "/log";
  const std::vector<Killed> all = RestoreAndKill(config, "inside");
  EXPECT_GT(all.size(), 10U);
  for (const Killed& killed : all) {
    SCOPED_TRACE(killed.point);
    ASSERT_NO_FATAL_FAILURE(ExpectMember(killed.config));
  }
}

TEST_F(RestoreTest, ALogThatIsNotTheInterruptedRestoresIsNotTouched) {
  Config config = ConfigOf(0, 3);
  config.wal_dir = root_ + "/site/log";
  const std::vector<Killed> all = RestoreAndKill(config, "once");
  ASSERT_GT(all.size(), 1U);
  const auto half = std::find_if(all.begin(), all.end(), IsHalf);
  ASSERT_NE(half, all.end());
  const std::string& log = half->config.wal_dir;
  const auto files_of = [](const std::string& root) {
    std::set<std::string> names;
    for (const auto& entry : files::recursive_directory_iterator(root)) {
      names.insert(entry.path().string());
    }
    return names;
  };
  // Something beside it.
  std::ofstream(log + "/mine") << "and nobody else's";
  std::set<std::string> before = files_of(log);
  EXPECT_THAT(Refusal(half->config), HasSubstr("--wal-dir"));
  EXPECT_EQ(files_of(log), before);
  files::remove(log + "/mine");
  before = files_of(log);
  // Another directory's log is not this one's.
  Config other = half->config;
  other.data_dir += ".other";
  EXPECT_THAT(Refusal(other), HasSubstr("is not empty"));
  EXPECT_EQ(files_of(log), before);
  // The same files, written since.
  for (const auto& entry : files::directory_iterator(log)) {
    if (entry.path().filename() == "lock") continue;
    const auto changed = files::last_write_time(entry.path());
    files::last_write_time(entry.path(), changed + std::chrono::seconds(1));
    EXPECT_THAT(Refusal(half->config), HasSubstr("is not empty"));
    EXPECT_EQ(files_of(log), before);
    files::last_write_time(entry.path(), changed);
  }
  // In use.
  {
    const auto lock = wal::PosixFs().LockFile(log + "/lock");
    ASSERT_TRUE(lock.ok()) << lock.status();
    EXPECT_THAT(Refusal(half->config), HasSubstr("is in use"));
    EXPECT_EQ(files_of(log), before);
  }
  // Nor one that the next restore does not ask for.
  Config elsewhere = half->config;
  files::copy(half->config.data_dir, half->config.data_dir + ".copy",
              files::copy_options::recursive);
  elsewhere.data_dir += ".copy";
  elsewhere.wal_dir += ".new";
  ExpectMember(elsewhere);
  EXPECT_EQ(files_of(log), before);
  ExpectMember(half->config);
}

TEST_F(RestoreTest, TwoDoNotRestoreIntoOneDirectory) {
  const Config config = ConfigOf(0, 1);
  std::optional<absl::Status> second;
  {
    const base::ScopedFailPointObserver observer([&](std::string_view name) {
      if (name == "server.restore.state_written") second = Restore(config).status();
    });
    ASSERT_TRUE(Restore(config).ok());
  }
  ASSERT_TRUE(second.has_value());
  EXPECT_TRUE(absl::IsUnavailable(*second)) << *second;
  EXPECT_TRUE(Start(config).ok());
}

}  // namespace
}  // namespace cairn::server
