// The commands of `cairnutl wal` over a small log, whole and harmed. Nothing they do changes a
// file.
#include "cmd/cairnutl/wal_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "cmd/cairnutl/test_directory.h"
#include "cmd/cairnutl/text.h"

namespace cairn::cairnutl {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr char kFirst[] = "wal/0000000000000001.wal";
constexpr char kSecond[] = "wal/0000000000000002.wal";

std::vector<Json> ParseLines(const std::string& text) {
  std::vector<Json> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
  return lines;
}

// What a command is to print: the file of that name in testdata.
std::string Golden(const std::string& name) {
  const std::string text = TestDirectory::ReadFile("cmd/cairnutl/testdata/" + name + ".txt");
  EXPECT_FALSE(text.empty()) << name;
  return text;
}

class WalCommandTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    directory_ = std::make_unique<TestDirectory>("wal_command_" + name);
    ASSERT_NO_FATAL_FAILURE(directory_->MakeLog(9));
    ASSERT_NO_FATAL_FAILURE(directory_->MakeState(4));
    before_ = directory_->Read();
  }

  // Nothing was changed by what was done since the last Harm.
  void TearDown() override { EXPECT_EQ(directory_->Read(), before_); }

  WhereToLook where() const { return {directory_->root(), {}}; }

  int Dump(const DumpFilter& filter) { return WalDumpRecords({where(), filter, false}, tool_); }
  int Requests(const DumpFilter& filter = {}) {
    return WalDumpRecords({where(), filter, true}, tool_);
  }

  // Changes one byte of a file.
  void Flip(const std::string& name, size_t at) {
    std::string content = before_.at(name);
    content[at] = static_cast<char>(content[at] ^ 1);
    Replace(name, content);
  }
  void Replace(const std::string& name, const std::string& content) {
    directory_->Overwrite(name, content);
    before_[name] = content;
  }

  TestTool tool_;
  std::unique_ptr<TestDirectory> directory_;
  TestDirectory::Files before_;
};

TEST_F(WalCommandTest, ListsTheFiles) {
  Replace("wal/notes", "mine");
  Replace("wal/0000000000000001.wal.broken.1", "cut off");
  EXPECT_EQ(WalList(where(), tool_), kExitOk);
  EXPECT_EQ(tool_.TakePrinted(), Golden("wal_ls"));
  EXPECT_EQ(tool_.TakeNotes(), "");
  tool_.format = Format::kJson;
  EXPECT_EQ(WalList(where(), tool_), kExitOk);
  const Json json = Json::parse(tool_.TakePrinted());
  EXPECT_EQ(json[0]["name"], "0000000000000001.wal");
  EXPECT_EQ(json[0]["lastIndex"], 8);
  EXPECT_EQ(json[2]["state"], "broken");
}

TEST_F(WalCommandTest, DumpsEveryRecord) {
  EXPECT_EQ(Dump({}), kExitOk);
  EXPECT_EQ(tool_.TakePrinted(), Golden("wal_dump"));
}

TEST_F(WalCommandTest, DumpFilters) {
  EXPECT_EQ(Dump({.first_index = 4, .last_index = 4, .types = {"entry"}}), kExitOk);
  EXPECT_THAT(tool_.TakePrinted(),
              StartsWith("# 0000000000000001.wal\n"
                         "      1024  entry               4 of term 2  command: put \"foo\""));
  EXPECT_EQ(Dump({.types = {"marker"}}), kExitOk);
  EXPECT_THAT(tool_.TakePrinted(), HasSubstr("marker              the state is durable through 4"));
  EXPECT_EQ(Dump({.term = 3, .types = {"hard-state"}}), kExitOk);
  EXPECT_THAT(tool_.TakePrinted(), HasSubstr("hard-state          term 3, vote "));
  // Index 8 stands there twice: superseded, and as it counts.
  tool_.format = Format::kJson;
  EXPECT_EQ(Dump({.first_index = 8, .last_index = 8, .types = {"entry"}}), kExitOk);
  const std::vector<Json> lines = ParseLines(tool_.TakePrinted());
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0]["term"], 2);
  EXPECT_EQ(lines[0]["command"], "put");
  EXPECT_EQ(lines[1]["term"], 3);
  EXPECT_EQ(lines[1]["kind"], "empty");
}

TEST_F(WalCommandTest, DumpShowsBatchesOnRequest) {
  EXPECT_EQ(Dump({.types = {"marker"}, .with_batches = true}), kExitOk);
  EXPECT_THAT(tool_.TakePrinted(), HasSubstr("  batch               "));
  tool_.format = Format::kJson;
  EXPECT_EQ(Dump({.with_batches = true}), kExitOk);
  uint64_t batches = 0;
  for (const Json& line : ParseLines(tool_.TakePrinted())) {
    if (line["type"] != "batch") continue;
    EXPECT_EQ(line["batch"], ++batches);
  }
  EXPECT_EQ(batches, 6U);
}

TEST_F(WalCommandTest, RequestsAreThoseThatCountAndAreCommitted) {
  // The log by itself: through its commit index.
  EXPECT_EQ(WalDumpRecords({{directory_->log(), {}}, {}, true}, tool_), kExitOk);
  const std::vector<Json> lines = ParseLines(tool_.TakePrinted());
  std::vector<int> indexes;
  for (const Json& line : lines) indexes.push_back(line["index"]);
  // Without the two with which leaders begin, the superseded 8, and 10, of which it does not know.
  EXPECT_EQ(indexes, (std::vector<int>{1, 3, 4, 5, 6, 7, 9}));
  EXPECT_EQ(lines[2]["command"], "put");
  EXPECT_EQ(lines[2]["request"]["key"], "Zm9v");
  EXPECT_EQ(lines[2]["sequence"], 4);
  EXPECT_EQ(lines[2]["proposer"], Hex(TestSelf().value()));
  EXPECT_EQ(Requests({.first_index = 5, .last_index = 6}), kExitOk);
  EXPECT_EQ(ParseLines(tool_.TakePrinted()).size(), 2U);
}

// With the state beside it: through what a start would apply. This member is the sole voter, so
// what its log holds is committed, also what was not yet when the last batch was written.
TEST_F(WalCommandTest, WhatASoleVotersLogHoldsIsCommitted) {
  EXPECT_EQ(Requests(), kExitOk);
  EXPECT_EQ(ParseLines(tool_.TakePrinted()).back()["index"], 10);
  EXPECT_EQ(tool_.TakeNotes(), "");
}

// The state has applied what the log did not yet know to be committed.
TEST_F(WalCommandTest, WhatTheStateAppliedIsCommitted) {
  TestDirectory directory("wal_command_applied");
  ASSERT_NO_FATAL_FAILURE(directory.MakeLog(7));
  EXPECT_EQ(WalDumpRecords({{directory.root(), {}}, {}, true}, tool_), kExitOk);
  EXPECT_EQ(ParseLines(tool_.TakePrinted()).back()["index"], 7);
  ASSERT_NO_FATAL_FAILURE(directory.MakeState(10));
  EXPECT_EQ(WalDumpRecords({{directory.root(), {}}, {}, true}, tool_), kExitOk);
  EXPECT_EQ(ParseLines(tool_.TakePrinted()).back()["index"], 10);
}

TEST_F(WalCommandTest, VerifyAWholeLog) {
  EXPECT_EQ(WalVerify(where(), tool_), kExitOk);
  EXPECT_EQ(tool_.TakePrinted(),
            "whole: 2 segments, entries 1 to 10 (term 3), committed through 9\n");
  tool_.format = Format::kJson;
  EXPECT_EQ(WalVerify(where(), tool_), kExitOk);
  EXPECT_EQ(Json::parse(tool_.TakePrinted())["verdict"], "whole");
}

TEST_F(WalCommandTest, VerifyATornLog) {
  // The last batches never arrived, but for a piece of the last one.
  std::string content = before_.at(kSecond);
  content.replace(1024, 512, 512, '\0');
  content.replace(7168, 512, 512, '\0');
  content.replace(6656, 512, 512, '\0');
  Replace(kSecond, content);
  EXPECT_EQ(WalVerify(where(), tool_), kExitTorn);
  EXPECT_THAT(tool_.TakePrinted(), StartsWith("torn: 0000000000000002.wal at offset 1024: "));
  EXPECT_EQ(WalList(where(), tool_), kExitOk);
  EXPECT_THAT(tool_.TakePrinted(), HasSubstr("torn"));
  EXPECT_THAT(tool_.TakeNotes(), HasSubstr("torn: 0000000000000002.wal at offset 1024"));
}

TEST_F(WalCommandTest, ADamagedLogIsReportedWithWhatIsStillReadable) {
  Flip(kFirst, 1100);
  EXPECT_EQ(WalVerify(where(), tool_), kExitDamaged);
  const std::string verdict = tool_.TakePrinted();
  EXPECT_THAT(verdict, StartsWith("corrupt: 0000000000000001.wal at offset 1024: "));
  EXPECT_THAT(verdict, HasSubstr("readable: no entries, after 0"));
  EXPECT_THAT(verdict, HasSubstr("intact behind the damage, in 0000000000000002.wal: 4 batches, "
                                 "entries 8 to 10"));
  EXPECT_EQ(Dump({.types = {"entry"}}), kExitDamaged);
  EXPECT_THAT(tool_.TakePrinted(), HasSubstr("# behind the damage"));
  EXPECT_THAT(tool_.TakeNotes(), HasSubstr("corrupt: 0000000000000001.wal at offset 1024"));
  EXPECT_EQ(WalList(where(), tool_), kExitDamaged);
  EXPECT_EQ(WalShowStats(where(), tool_), kExitDamaged);
  tool_.TakePrinted();
  EXPECT_EQ(Requests(), kExitDamaged);
  EXPECT_EQ(tool_.TakePrinted(), "");
}

TEST_F(WalCommandTest, StatsCount) {
  tool_.format = Format::kJson;
  EXPECT_EQ(WalShowStats(where(), tool_), kExitOk);
  const Json json = Json::parse(tool_.TakePrinted());
  EXPECT_EQ(json["segments"], 2);
  EXPECT_EQ(json["fileBytes"], 15360);
  EXPECT_EQ(json["batches"], 6);
  EXPECT_EQ(json["emptyBatches"], 1);
  uint64_t entries = 0;
  for (const Json& type : json["records"]) {
    if (type["type"] == "entry") entries = type["records"];
  }
  EXPECT_EQ(entries, 11U);
  uint64_t batches = 0;
  for (const Json& bucket : json["batchSizes"]) batches += bucket["batches"].get<uint64_t>();
  EXPECT_EQ(batches, 6U);
  const uint64_t sum = json["segmentHeaderBytes"].get<uint64_t>() +
                       json["batchHeaderBytes"].get<uint64_t>() +
                       json["recordBytes"].get<uint64_t>() + json["paddingBytes"].get<uint64_t>() +
                       json["otherBytes"].get<uint64_t>();
  EXPECT_EQ(sum, 15360U);
  tool_.format = Format::kSimple;
  EXPECT_EQ(WalShowStats(where(), tool_), kExitOk);
  EXPECT_THAT(tool_.TakePrinted(), HasSubstr("padding percent"));
}

TEST_F(WalCommandTest, TheLogsDirectoryWillDo) {
  EXPECT_EQ(WalVerify({directory_->log(), {}}, tool_), kExitOk);
  EXPECT_EQ(WalVerify({directory_->root() + "/state", directory_->log()}, tool_), kExitOk);
}

TEST_F(WalCommandTest, RefusesWithWords) {
  EXPECT_EQ(WalVerify({directory_->root() + "/nowhere", {}}, tool_), kExitError);
  EXPECT_THAT(tool_.TakeNotes(), HasSubstr("nowhere: no such directory"));
  EXPECT_EQ(WalVerify({directory_->state(), {}}, tool_), kExitError);
  EXPECT_THAT(tool_.TakeNotes(), HasSubstr("there is no log in "));
  tool_.format = Format::kTable;
  EXPECT_EQ(Dump({}), kExitUsage);
  EXPECT_THAT(tool_.TakeNotes(), HasSubstr("simple and json only"));
}

TEST_F(WalCommandTest, ARunningMemberIsRefusedUnlessToldOtherwise) {
  auto lock = wal::PosixFs().LockFile(directory_->root() + "/lock");
  ASSERT_TRUE(lock.ok());
  before_ = directory_->Read();
  EXPECT_EQ(WalVerify(where(), tool_), kExitError);
  EXPECT_EQ(tool_.TakePrinted(), "");
  EXPECT_THAT(tool_.TakeNotes(), HasSubstr("--even-if-running"));
  tool_.even_if_running = true;
  EXPECT_EQ(WalVerify(where(), tool_), kExitOk);
  EXPECT_THAT(tool_.TakePrinted(), StartsWith("whole: "));
  EXPECT_THAT(tool_.TakeNotes(), StartsWith("Note: a member runs in "));
}

// No member can start while somebody looks; two may look at once.
TEST_F(WalCommandTest, HoldsTheLockWhileItLooks) {
  Replace("lock", "");
  {
    const auto first = Locate(where(), tool_);
    ASSERT_TRUE(first.ok());
    ASSERT_TRUE(Locate(where(), tool_).ok());
    EXPECT_TRUE(
        absl::IsUnavailable(wal::PosixFs().LockFile(directory_->root() + "/lock").status()));
  }
  EXPECT_TRUE(wal::PosixFs().LockFile(directory_->root() + "/lock").ok());
}

// Whatever a file holds, every command ends with an exit code and words.
TEST_F(WalCommandTest, SurvivesAnyFile) {
  std::mt19937_64 random(5);
  const std::string content = before_.at(kFirst);
  const auto run_all = [&] {
    for (const Format format : {Format::kSimple, Format::kJson}) {
      tool_.format = format;
      for (const int code :
           {WalList(where(), tool_), WalVerify(where(), tool_), WalShowStats(where(), tool_),
            Dump({.with_batches = true}), Requests()}) {
        EXPECT_TRUE(code == kExitOk || code == kExitTorn || code == kExitDamaged) << code;
      }
    }
    tool_.TakePrinted();
    tool_.TakeNotes();
  };
  for (int round = 0; round < 60; ++round) {
    std::string harmed = content;
    if (round % 3 == 0) {
      harmed.resize(random() % (harmed.size() + 1));
    } else {
      for (int flips = 0; flips < 1 + round % 4; ++flips) {
        harmed[random() % 3000] ^= static_cast<char>(1 << (random() % 8));
      }
    }
    Replace(kFirst, harmed);
    run_all();
  }
}

}  // namespace
}  // namespace cairn::cairnutl
