// `state`, `hashkv` and `raft-state` over a small member whose state was flushed in the middle of
// its log. Nothing they do changes a file.
#include "cmd/cairnutl/state_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "cmd/cairnutl/hashkv_command.h"
#include "cmd/cairnutl/raft_state_command.h"
#include "cmd/cairnutl/test_directory.h"
#include "cmd/cairnutl/text.h"
#include "mvcc/mem_backend.h"

namespace cairn::cairnutl {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// Entries that the flushed state holds; the log has committed kCommit.
constexpr size_t kApplied = 6;
constexpr uint64_t kCommit = 10;

class StateCommandTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    directory_ = std::make_unique<TestDirectory>("state_command_" + name);
    ASSERT_NO_FATAL_FAILURE(directory_->MakeLog(kCommit));
    ASSERT_NO_FATAL_FAILURE(directory_->MakeState(kApplied));
    before_ = directory_->Read();
  }
  void TearDown() override { EXPECT_EQ(directory_->Read(), before_); }

  StateOptions Options(bool replay) const { return {{directory_->root(), {}}, replay}; }

  int Get(const std::string& key, bool replay, int64_t revision = 0) {
    return StateGet({Options(replay), key, false, revision}, tool_);
  }
  // The members' word for everything that was applied, kept in memory.
  mvcc::HashKvResult ExpectedHash(size_t applied, int64_t revision) {
    mvcc::MemDisk disk;
    auto store = mvcc::Store::Open(disk.Open(), {.identity = {kTestCluster, TestSelf()}});
    auto applier = server::Applier::Open(**store, {.id = TestSelf(), .nonce = 1});
    const std::vector<raft::Entry> entries = TestEntries();
    EXPECT_TRUE((*applier)->Apply({entries.data(), applied}).ok());
    const auto hash = (*store)->HashKv(Revision(revision));
    EXPECT_TRUE(hash.ok()) << hash.status();
    return hash.ok() ? *hash : mvcc::HashKvResult{};
  }

  TestTool tool_;
  std::unique_ptr<TestDirectory> directory_;
  TestDirectory::Files before_;
};

TEST_F(StateCommandTest, GetReadsWhatWasFlushedAndSaysThatThereIsMore) {
  EXPECT_EQ(Get("foo", false), kExitOk);
  EXPECT_EQ(tool_.TakePrinted(), "foo\nbar\n");
  EXPECT_THAT(tool_.TakeNotes(),
              HasSubstr("Note: the state was flushed through entry 6; the log has committed 4 "
                        "entries more, through 10"));
  EXPECT_EQ(Get("big", false), kExitError);
  EXPECT_THAT(tool_.TakeNotes(), HasSubstr("\"big\" does not exist at revision 3"));
}

TEST_F(StateCommandTest, GetWithReplayReadsWhatAStartWouldShow) {
  EXPECT_EQ(Get("foo", true), kExitError);
  EXPECT_EQ(tool_.TakeNotes(), "\"foo\" does not exist at revision 5\n");
  EXPECT_EQ(Get("foo", true, 3), kExitOk);
  EXPECT_EQ(tool_.TakePrinted(), "foo\nbar\n");
  EXPECT_EQ(Get("foo", true, 2), kExitError);
  EXPECT_THAT(tool_.TakeNotes(),
              HasSubstr("revision 2 is not there: the state is at 5, compacted at 3"));
  tool_.format = Format::kJson;
  EXPECT_EQ(Get("leased", true), kExitOk);
  EXPECT_EQ(tool_.TakePrinted(),
            R"({"key":"leased","create_revision":3,"mod_revision":3,"version":1,"lease":7,)"
            R"("value":"x"})"
            "\n");
  EXPECT_EQ(StateGet({Options(true), "626967", true, 0}, tool_), kExitOk);
  EXPECT_THAT(tool_.TakePrinted(), HasSubstr("\"mod_revision\":5"));
  EXPECT_EQ(StateGet({Options(true), "62696", true, 0}, tool_), kExitUsage);
}

TEST_F(StateCommandTest, ScanShowsEveryRow) {
  EXPECT_EQ(StateScan({.state = Options(false)}, tool_), kExitOk);
  const std::string self = Hex(TestSelf().value());
  EXPECT_EQ(
      tool_.TakePrinted(),
      "keys       key              \"foo\" modified 2/0, created 2, version 1, value \"bar\"\n"
      "keys       key              \"leased\" modified 3/0, created 3, version 1, lease 7, value "
      "\"x\"\n"
      "revisions  creation         2/0 \"foo\" version 1, value \"bar\"\n"
      "revisions  creation         3/0 \"leased\" version 1, lease 7, value \"x\"\n"
      "meta       configuration    voters " +
          self +
          "\n"
          "meta       lease-key        7 holds \"leased\"\n"
          "meta       lease            7 ttl 60 s, granted by entry 5, 1 keys\n"
          "meta       member           " +
          self +
          " \"n1\" peers http://localhost:2380 clients "
          "http://localhost:2379\n"
          "meta       format           version 1, cluster c1, member " +
          self +
          "\n"
          "meta       state            applied 6 of term 2, revision 3, compacted -1, removal at "
          "0/0, "
          "100 bytes logical\n");
}

TEST_F(StateCommandTest, ScanFilters) {
  const auto scan = [&](ScanOptions options) {
    options.state = Options(true);
    EXPECT_EQ(StateScan(options, tool_), kExitOk);
    return tool_.TakePrinted();
  };
  EXPECT_EQ(scan({.families = {"keys"}, .prefix = "l"}),
            "keys       key              \"leased\" modified 3/0, created 3, version 1, lease 7, "
            "value \"x\"\n");
  EXPECT_EQ(scan({.rows = {"deletion"}}),
            "revisions  deletion         4/1 \"foo\", previous 2/0, skip 2/0\n");
  EXPECT_EQ(scan({.rows = {"tombstone"}}), "keys       tombstone        \"foo\" deleted at 4/1\n");
  EXPECT_THAT(scan({.first_revision = 5}), StartsWith("revisions  creation         5/0 \"big\""));
  EXPECT_THAT(scan({.first_revision = 3, .last_revision = 3}), HasSubstr("3/0 \"leased\""));
  EXPECT_EQ(scan({.limit = 1}),
            "keys       key              \"a\" modified 4/0, created 4, version 1, value \"\"\n");
  EXPECT_THAT(scan({.families = {"meta"}, .prefix = "6d2f", .is_hex = true}),
              StartsWith("meta       member "));
  EXPECT_THAT(scan({.families = {"keys"}, .prefix = "big"}), HasSubstr("value in revisions"));
  tool_.format = Format::kJson;
  EXPECT_EQ(scan({.rows = {"lease"}}),
            R"({"family":"meta","row":"lease","id":7,"ttlSeconds":60,"grantedIndex":5,"keys":1})"
            "\n");
}

TEST_F(StateCommandTest, StatsCountRows) {
  tool_.format = Format::kJson;
  EXPECT_EQ(StateShowStats(Options(true), tool_), kExitOk);
  const Json json = Json::parse(tool_.TakePrinted());
  EXPECT_EQ(json["appliedIndex"], 10);
  EXPECT_EQ(json["replayedEntries"], 4);
  EXPECT_EQ(json["revision"], 5);
  EXPECT_EQ(json["compactRevision"], 3);
  EXPECT_EQ(json["liveKeys"], 3);
  EXPECT_EQ(json["keysRows"], 4);
  EXPECT_EQ(json["revisionsRows"], 5);
  EXPECT_EQ(json["leases"], 1);
  EXPECT_EQ(json["leasedKeys"], 1);
  EXPECT_EQ(json["members"], 1);
  EXPECT_EQ(json["alarms"], 0);
  EXPECT_EQ(json["unreadableRows"], 0);
  tool_.format = Format::kSimple;
  EXPECT_EQ(StateShowStats(Options(false), tool_), kExitOk);
  EXPECT_THAT(tool_.TakePrinted(), HasSubstr("applied index     6\n"));
}

TEST_F(StateCommandTest, HashKvIsTheServers) {
  const auto hash = [&](int64_t revision, bool replay) {
    EXPECT_EQ(HashKv({Options(replay), revision}, tool_), kExitOk);
    return tool_.TakePrinted();
  };
  const auto expected = [&](size_t applied, int64_t revision) {
    const mvcc::HashKvResult result = ExpectedHash(applied, revision);
    return fmt::format("{}, {}, {}\n", result.hash, result.hash_revision, result.compact_revision);
  };
  EXPECT_EQ(hash(0, false), expected(kApplied, 0));
  EXPECT_EQ(hash(2, false), expected(kApplied, 2));
  EXPECT_EQ(hash(0, true), expected(10, 0));
  EXPECT_EQ(hash(4, true), expected(10, 4));
  tool_.format = Format::kFields;
  const mvcc::HashKvResult result = ExpectedHash(10, 0);
  EXPECT_EQ(hash(0, true), fmt::format("\"Hash\" : {}\n\"Hash revision\" : 5\n\"Compact revision\" "
                                       ": 3\n",
                                       result.hash));
  EXPECT_EQ(HashKv({Options(true), 99}, tool_), kExitError);
}

TEST_F(StateCommandTest, RaftStateSaysWhereTheMemberStands) {
  tool_.format = Format::kJson;
  EXPECT_EQ(RaftState({directory_->root(), {}}, tool_), kExitOk);
  const Json json = Json::parse(tool_.TakePrinted());
  EXPECT_EQ(json["logVerdict"], "whole");
  EXPECT_EQ(json["cluster"], "c1");
  EXPECT_EQ(json["member"], Hex(TestSelf().value()));
  EXPECT_EQ(json["term"], 3);
  EXPECT_EQ(json["commit"], 10);
  EXPECT_EQ(json["last"], Json({{"index", 10}, {"term", 3}}));
  EXPECT_EQ(json["marker"]["index"], 4);
  EXPECT_EQ(json["snapshotInstalled"], nullptr);
  EXPECT_EQ(json["statePointer"], 1);
  EXPECT_EQ(json["applied"], Json({{"index", 6}, {"term", 2}}));
  EXPECT_EQ(json["toReplay"], 4);
  EXPECT_EQ(json["configuration"]["voters"][0], Hex(TestSelf().value()));
  EXPECT_EQ(json["members"][0]["name"], "n1");
  tool_.format = Format::kSimple;
  EXPECT_EQ(RaftState({directory_->root(), {}}, tool_), kExitOk);
  EXPECT_THAT(tool_.TakePrinted(), HasSubstr("last                10 of term 3\n"));
  EXPECT_EQ(RaftState({directory_->log(), {}}, tool_), kExitOk);
  EXPECT_THAT(tool_.TakePrinted(), Not(HasSubstr("applied")));
}

TEST_F(StateCommandTest, RaftStateTellsWhenLogAndStateDoNotFit) {
  TestDirectory other("state_command_other");
  ASSERT_NO_FATAL_FAILURE(other.MakeLog(9));
  // The log has lost its end.
  std::filesystem::remove(other.log() + "/0000000000000002.wal");
  ASSERT_NO_FATAL_FAILURE(other.MakeState(10));
  EXPECT_EQ(RaftState({other.root(), {}}, tool_), kExitDamaged);
  EXPECT_THAT(tool_.TakeNotes(), HasSubstr("the log has lost its end"));
  EXPECT_EQ(StateGet({{{other.root(), {}}, true}, "foo", false, 0}, tool_), kExitError);
  EXPECT_THAT(tool_.TakeNotes(), HasSubstr("the log has lost its end"));
}

// A member that was killed before its first flush has everything in its log.
TEST_F(StateCommandTest, AnEmptyStateIsReplayedFromTheBeginning) {
  TestDirectory fresh("state_command_fresh");
  ASSERT_NO_FATAL_FAILURE(fresh.MakeLog(kCommit));
  const StateOptions flushed{{fresh.root(), {}}, false};
  const StateOptions replayed{{fresh.root(), {}}, true};
  EXPECT_EQ(StateGet({flushed, "a", false, 0}, tool_), kExitError);
  EXPECT_THAT(tool_.TakeNotes(), HasSubstr("there is no state in"));
  std::filesystem::create_directories(fresh.state());
  fresh.Overwrite("state/CURRENT", "1\n");
  // As RocksDB leaves it when nothing was written.
  ASSERT_TRUE(mvcc::OpenRocksBackend({.directory = fresh.state()}).ok());
  EXPECT_EQ(StateGet({flushed, "a", false, 0}, tool_), kExitError);
  EXPECT_THAT(tool_.TakeNotes(), HasSubstr("nothing was flushed into it yet"));
  EXPECT_EQ(StateGet({replayed, "a", false, 0}, tool_), kExitOk);
  EXPECT_EQ(tool_.TakePrinted(), "a\n\n");
  EXPECT_EQ(HashKv({replayed, 0}, tool_), kExitOk);
  EXPECT_EQ(tool_.TakePrinted(), fmt::format("{}, 5, 3\n", ExpectedHash(10, 0).hash));
}

TEST_F(StateCommandTest, ADamagedStateIsReportedByFile) {
  std::string table;
  for (const auto& [name, content] : before_) {
    if (!name.ends_with(".sst")) continue;
    table = name;
    std::string harmed = content;
    // Data blocks come first in a table.
    harmed[10] = static_cast<char>(harmed[10] ^ 1);
    directory_->Overwrite(name, harmed);
    before_[name] = harmed;
  }
  ASSERT_FALSE(table.empty());
  for (const int code :
       {StateScan({.state = Options(false)}, tool_), StateShowStats(Options(false), tool_),
        Get("foo", false), HashKv({Options(false), 0}, tool_)}) {
    EXPECT_EQ(code, kExitDamaged);
  }
  EXPECT_THAT(tool_.TakeNotes(), HasSubstr(".sst"));
}

TEST_F(StateCommandTest, DamageInOneFamilyDoesNotHideTheOthers) {
  const std::map<std::string, std::string> whole = before_;
  int shown_in_part = 0;
  for (const auto& [name, content] : whole) {
    if (!name.ends_with(".sst")) continue;
    SCOPED_TRACE(name);
    std::string harmed = content;
    harmed[10] = static_cast<char>(harmed[10] ^ 1);
    directory_->Overwrite(name, harmed);
    before_[name] = harmed;
    EXPECT_EQ(StateScan({.state = Options(false)}, tool_), kExitDamaged);
    EXPECT_THAT(tool_.TakePrinted(), testing::Not(testing::IsEmpty()));
    const std::string notes = tool_.TakeNotes();
    EXPECT_THAT(notes, HasSubstr("damaged: "));
    if (notes.find("what lies behind is not shown") != std::string::npos) ++shown_in_part;
    directory_->Overwrite(name, content);
    before_[name] = content;
  }
  EXPECT_EQ(shown_in_part, 3) << "keys, revisions and meta";
}

TEST_F(StateCommandTest, PointersThatNameNothingAreRefused) {
  directory_->Overwrite("state/CURRENT", "7\n");
  before_ = directory_->Read();
  EXPECT_EQ(Get("foo", false), kExitDamaged);
  EXPECT_THAT(tool_.TakeNotes(), HasSubstr("/state/CURRENT names "));
  // The state itself can be named.
  EXPECT_EQ(StateGet({{{directory_->state(), {}}, false}, "foo", false, 0}, tool_), kExitOk);
}

TEST_F(StateCommandTest, ARunningMembersStateIsRefusedByAnyOfItsNames) {
  auto lock = wal::PosixFs().LockFile(directory_->root() + "/lock");
  ASSERT_TRUE(lock.ok());
  before_ = directory_->Read();
  for (const std::string& name :
       {directory_->root(), directory_->root() + "/state", directory_->state()}) {
    EXPECT_EQ(StateGet({{{name, {}}, false}, "foo", false, 0}, tool_), kExitError) << name;
    EXPECT_THAT(tool_.TakeNotes(), HasSubstr("is in use")) << name;
  }
  tool_.even_if_running = true;
  EXPECT_EQ(Get("foo", false), kExitOk);
  EXPECT_THAT(tool_.TakeNotes(), StartsWith("Note: a member runs in"));
}

}  // namespace
}  // namespace cairn::cairnutl
