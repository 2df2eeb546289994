// cairnutl on the files of a real member: one that runs, one that was killed, one that was stopped.
// What it says is what clients did, and it leaves every file as it was.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "api/rpc.pb.h"
#include "test/harness/client.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

using nlohmann::json;
using std::chrono::steady_clock;
using testing::HasSubstr;
using testing::StartsWith;

namespace fs = std::filesystem;

constexpr char kTool[] = "cmd/cairnutl/cairnutl";
constexpr char kEtcdctl[] = "/usr/bin/etcdctl";
constexpr std::chrono::milliseconds kPoll{50};

CommandResult RunProgram(std::vector<std::string> argv, const std::string& input = {}) {
  ProcessOptions options;
  options.argv = std::move(argv);
  options.environment = {{"ETCDCTL_API", "3"}};
  absl::StatusOr<CommandResult> result = RunCommand(options, input);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *result : CommandResult{};
}

std::vector<json> ParseLines(const std::string& text) {
  std::vector<json> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(json::parse(line));
  return lines;
}

// Names, sizes, times of change and a hash of the content of everything below `root`.
std::map<std::string, std::string> Listing(const std::string& root) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    struct stat info = {};
    EXPECT_EQ(stat(entry.path().c_str(), &info), 0);
    std::string& line = files[entry.path().string()];
    line =
        fmt::format("{} bytes, {}.{}\n", info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
    if (entry.is_regular_file()) {
      line += fmt::format("{:x}", std::hash<std::string>()(ReadFile(entry.path().string())));
    }
  }
  return files;
}

class OfflineToolsTest : public testing::Test {
 protected:
  OfflineToolsTest() : server_(OptionsFor(ServerUnderTest(), "tools")) {}

  void SetUp() override {
    const absl::Status started = server_.Start();
    ASSERT_TRUE(started.ok()) << started;
  }

  const std::string& data() const { return server_.data_dir(); }

  CommandResult Tool(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), kTool);
    return RunProgram(std::move(arguments));
  }
  // What it prints; it must end well.
  std::string Print(const std::vector<std::string>& arguments) {
    const CommandResult result = Tool(arguments);
    EXPECT_EQ(result.exit.code, 0) << fmt::format("{}", fmt::join(arguments, " ")) << result.err;
    return result.out;
  }
  json PrintJson(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"-w", "json"});
    return json::parse(Print(arguments), nullptr, false);
  }

  void Etcdctl(const std::vector<std::string>& arguments, const std::string& input = {}) {
    std::vector<std::string> argv = {kEtcdctl, "--endpoints=" + server_.address(),
                                     "--command-timeout=60s"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    const CommandResult result = RunProgram(std::move(argv), input);
    ASSERT_EQ(result.exit.code, 0) << result.err;
  }

  // Two versions of foo, a key on lease 77, a transaction, a deletion, a large value, a compaction
  // and a hundred keys: 106 revisions after the first.
  void DoOperations() {
    ASSERT_NO_FATAL_FAILURE(Etcdctl({"put", "foo", "bar"}));
    ASSERT_NO_FATAL_FAILURE(Etcdctl({"put", "foo", "baz"}));
    Client client(server_.address());
    etcdserverpb::LeaseGrantRequest grant;
    grant.set_id(77);
    grant.set_ttl(6000);
    etcdserverpb::LeaseGrantResponse granted;
    ASSERT_TRUE(client.LeaseGrant(grant, &granted).ok());
    ASSERT_NO_FATAL_FAILURE(Etcdctl({"put", "leased", "x", "--lease=4d"}));
    ASSERT_NO_FATAL_FAILURE(
        Etcdctl({"txn"}, "value(\"foo\") = \"baz\"\n\nput made-by-txn yes\n\nput other no\n\n"));
    ASSERT_NO_FATAL_FAILURE(Etcdctl({"del", "leased"}));
    ASSERT_NO_FATAL_FAILURE(Etcdctl({"put", "large"}, std::string(10'000, 'v')));
    ASSERT_NO_FATAL_FAILURE(Etcdctl({"compact", "4"}));
    for (int i = 0; i < 100; ++i) {
      etcdserverpb::PutRequest put;
      put.set_key(fmt::format("many/{:02}", i));
      put.set_value(std::to_string(i));
      etcdserverpb::PutResponse response;
      ASSERT_TRUE(client.Put(put, &response).ok());
    }
    etcdserverpb::HashKVRequest request;
    ASSERT_TRUE(client.HashKV(request, &hash_).ok());
    ASSERT_EQ(hash_.header().revision(), 107);
  }

  std::string ExpectedHash() const { return fmt::format("{}, 107, 4\n", hash_.hash()); }

  // What the log of the running member says was asked, once all of it is known to be committed.
  std::vector<json> AwaitRequests(const std::string& last_key_base64) {
    const auto deadline = steady_clock::now() + kServerDeadline;
    for (;;) {
      const CommandResult result = Tool({"wal", "dump", data(), "--requests", "--even-if-running"});
      EXPECT_EQ(result.exit.code, 0) << result.err;
      std::vector<json> lines = ParseLines(result.out);
      for (const json& line : lines) {
        if (line.value("command", "") == "put" && line["request"]["key"] == last_key_base64) {
          return lines;
        }
      }
      if (steady_clock::now() > deadline) return {};
      server_.LetRun(kPoll);
    }
  }

  Server server_;
  etcdserverpb::HashKVResponse hash_;
};

constexpr char kLastKey[] = "bWFueS85OQ==";  // many/99

// The requests of DoOperations, in order.
void ExpectRequests(const std::vector<json>& lines) {
  std::vector<std::string> asked;
  std::vector<uint64_t> sequences;
  uint64_t index = 0;
  for (const json& line : lines) {
    EXPECT_GT(line["index"].get<uint64_t>(), index);
    index = line["index"];
    if (!line.contains("command") || !line.contains("request")) continue;
    const std::string command = line["command"];
    if (command == "publish-member" || command == "cluster-version") continue;
    const std::string key = line["request"].value("key", "");
    asked.push_back(command + " " + key);
    sequences.push_back(line["sequence"]);
  }
  ASSERT_EQ(asked.size(), 108U);
  EXPECT_EQ(asked[0], "put Zm9v");
  EXPECT_EQ(asked[1], "put Zm9v");
  EXPECT_EQ(asked[2], "lease-grant ");
  EXPECT_EQ(asked[3], "put bGVhc2Vk");
  EXPECT_EQ(asked[4], "txn ");
  EXPECT_EQ(asked[5], "delete-range bGVhc2Vk");
  EXPECT_EQ(asked[6], "put bGFyZ2U=");
  EXPECT_EQ(asked[7], "compact ");
  EXPECT_EQ(asked[8], "put bWFueS8wMA==");
  EXPECT_EQ(asked[107], fmt::format("put {}", kLastKey));
  EXPECT_TRUE(std::is_sorted(sequences.begin(), sequences.end()));
}

TEST_F(OfflineToolsTest, AKilledMemberIsReadAsAStartWouldReadIt) {
  ASSERT_NO_FATAL_FAILURE(DoOperations());
  ASSERT_NO_FATAL_FAILURE(ExpectRequests(AwaitRequests(kLastKey)));
  server_.Kill();
  const auto before = Listing(data());

  EXPECT_THAT(Print({"wal", "verify", data()}), StartsWith("whole: 1 segments, entries 1 to "));
  EXPECT_THAT(Print({"wal", "ls", data()}), HasSubstr("current"));
  EXPECT_THAT(
      Print({"wal", "dump", data(), "--type=entry"}),
      HasSubstr("txn if 1 conditions then put \"made-by-txn\" = 3 bytes else put \"other\""));
  ExpectRequests(ParseLines(Print({"wal", "dump", data(), "--requests"})));
  EXPECT_GE(PrintJson({"wal", "stats", data()})["batches"].get<int>(), 100);
  EXPECT_EQ(Print({"state", "get", data(), "foo", "--replay"}), "foo\nbaz\n");
  EXPECT_EQ(Print({"state", "get", data(), "made-by-txn", "--replay"}), "made-by-txn\nyes\n");
  EXPECT_EQ(Tool({"state", "get", data(), "leased", "--replay"}).exit.code, 1);
  const json stats = PrintJson({"state", "stats", data(), "--replay"});
  EXPECT_EQ(stats["revision"], 107);
  EXPECT_EQ(stats["compactRevision"], 4);
  EXPECT_EQ(stats["liveKeys"], 103);
  EXPECT_EQ(stats["leases"], 1);
  EXPECT_EQ(stats["members"], 1);
  EXPECT_THAT(Print({"state", "scan", data(), "--replay", "--row=lease"}),
              HasSubstr("4d ttl 6000 s"));
  EXPECT_EQ(Print({"hashkv", data(), "--replay"}), ExpectedHash());
  const json raft = PrintJson({"raft-state", data()});
  EXPECT_EQ(raft["logVerdict"], "whole");
  EXPECT_EQ(raft["statePointer"], 1);
  EXPECT_EQ(Listing(data()), before) << "a look has changed something";

  // Without --replay it says that there is more.
  EXPECT_THAT(Tool({"state", "get", data(), "foo"}).err, HasSubstr("--replay"));

  // And the member is none the worse for it.
  ASSERT_TRUE(server_.Start().ok());
  Client client(server_.address());
  etcdserverpb::HashKVRequest request;
  request.set_revision(107);
  etcdserverpb::HashKVResponse response;
  ASSERT_TRUE(client.HashKV(request, &response).ok());
  EXPECT_EQ(response.hash(), hash_.hash());
}

TEST_F(OfflineToolsTest, ARunningMemberIsRefusedUnlessToldOtherwise) {
  ASSERT_NO_FATAL_FAILURE(DoOperations());
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"wal", "ls", data()},
                                             {"wal", "verify", data() + "/wal"},
                                             {"wal", "dump", data()},
                                             {"wal", "stats", data()},
                                             {"state", "get", data(), "foo"},
                                             {"state", "scan", data() + "/state"},
                                             {"state", "stats", data() + "/state/1"},
                                             {"raft-state", data()},
                                             {"hashkv", data()}}) {
    SCOPED_TRACE(fmt::format("{}", fmt::join(command, " ")));
    const CommandResult refused = Tool(command);
    EXPECT_EQ(refused.exit.code, 1);
    EXPECT_EQ(refused.out, "");
    EXPECT_THAT(refused.err, HasSubstr("is in use: another process holds"));
  }
  ASSERT_FALSE(AwaitRequests(kLastKey).empty());
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"wal", "ls", data()},
                                             {"wal", "verify", data()},
                                             {"wal", "dump", data()},
                                             {"wal", "stats", data()},
                                             {"raft-state", data()}}) {
    SCOPED_TRACE(fmt::format("{}", fmt::join(command, " ")));
    std::vector<std::string> told = command;
    told.push_back("--even-if-running");
    const CommandResult result = Tool(told);
    EXPECT_EQ(result.exit.code, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr("Note: a member runs in"));
    EXPECT_NE(result.out, "");
  }
  EXPECT_EQ(Print({"hashkv", data(), "--replay", "--even-if-running"}), ExpectedHash());
  // It never noticed.
  ASSERT_NO_FATAL_FAILURE(Etcdctl({"put", "after", "all"}));
  EXPECT_TRUE(server_.IsRunning());
}

TEST_F(OfflineToolsTest, AStoppedMembersStateNeedsNoLog) {
  ASSERT_NO_FATAL_FAILURE(DoOperations());
  const std::string snapshot = MakeTempDir("snapshot") + "/saved";
  ASSERT_NO_FATAL_FAILURE(Etcdctl({"snapshot", "save", snapshot}));
  ASSERT_TRUE(server_.Terminate().ok());
  const std::string copy = MakeTempDir("copy");
  fs::copy(data(), copy, fs::copy_options::recursive);
  EXPECT_EQ(Print({"hashkv", data()}), ExpectedHash());
  EXPECT_EQ(Print({"hashkv", copy + "/state/1"}), ExpectedHash());
  EXPECT_EQ(Print({"state", "get", data(), "foo"}), "foo\nbaz\n");
  EXPECT_THAT(Print({"snapshot", "diff", data(), copy}), HasSubstr("the same\n"));
  // What a snapshot holds is looked at in the file.
  EXPECT_THAT(Print({"snapshot", "diff", snapshot, data()}), HasSubstr("the same\n"));
  EXPECT_EQ(Print({"hashkv", snapshot}), ExpectedHash());
  EXPECT_EQ(Print({"state", "get", snapshot, "foo"}), "foo\nbaz\n");

  ASSERT_TRUE(server_.Start().ok());
  ASSERT_NO_FATAL_FAILURE(Etcdctl({"put", "foo", "changed"}));
  ASSERT_TRUE(server_.Terminate().ok());
  const auto before = Listing(copy);
  const CommandResult diff = Tool({"snapshot", "diff", data(), copy});
  EXPECT_EQ(diff.exit.code, 1);
  EXPECT_THAT(diff.out,
              HasSubstr("keys \"foo\": A value \"changed\" at 108, created 2, version 3 | "
                        "B value \"baz\" at 3, created 2, version 2\n"));
  EXPECT_EQ(Listing(copy), before);

  // Damage is named by file and offset.
  const std::vector<json> third =
      ParseLines(Print({"wal", "dump", copy, "--from=3", "--to=3", "-w", "json"}));
  ASSERT_EQ(third.size(), 1U);
  const size_t offset = third[0]["offset"];
  const std::string segment = copy + "/wal/0000000000000001.wal";
  std::string content = ReadFile(segment);
  content[offset + 70] = static_cast<char>(content[offset + 70] ^ 1);
  std::ofstream(segment, std::ios::binary | std::ios::trunc) << content;
  const CommandResult verdict = Tool({"wal", "verify", copy});
  EXPECT_EQ(verdict.exit.code, 4);
  EXPECT_THAT(verdict.out,
              StartsWith(fmt::format("corrupt: 0000000000000001.wal at offset {}: ", offset)));
  EXPECT_THAT(verdict.out, HasSubstr("readable: entries 1 to 2 "));
  EXPECT_THAT(verdict.out, HasSubstr("intact behind the damage"));
}

}  // namespace
}  // namespace cairn::test
