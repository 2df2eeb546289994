// Data directories that somebody has damaged, and a disk that fails once: the server refuses with
// file and remedy and changes nothing, or it ends before it answers; put right, everything
// acknowledged is there. Cairn only: the words are ours.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "test/harness/client.h"
#include "test/harness/random.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// In the runfiles, where Bazel starts tests.
constexpr char kPreloaded[] = "test/bad_input/libfailing_disk.so";
constexpr int kKeys = 60;

std::string Value(int i) { return Random(static_cast<uint64_t>(i)).Bytes(3000); }

void WriteFile(const fs::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

class DamagedDiskTest : public testing::Test {
 protected:
  ServerOptions Options() { return OptionsFor(ServerUnderTest(), "damaged"); }

  static grpc::Status Put(Server& server, int i) {
    Client client(server.address());
    etcdserverpb::PutRequest request;
    request.set_key(fmt::format("k{:03}", i));
    request.set_value(Value(i));
    etcdserverpb::PutResponse response;
    return client.Put(request, &response);
  }
  // Has the disk fail once (failing_disk.cc). At once: the server reads the file meanwhile.
  static void FailNext(const std::string& control, const std::string& what) {
    WriteFile(control + ".new", what);
    fs::rename(control + ".new", control);
  }
  static void Fill(Server& server, int from, int to) {
    for (int i = from; i < to; ++i) {
      const grpc::Status status = Put(server, i);
      ASSERT_TRUE(status.ok()) << status.error_message();
    }
  }
  // How many of keys 0..count-1 are there; none may have another value.
  static int Found(Server& server, int count) {
    Client client(server.address());
    int found = 0;
    for (int i = 0; i < count; ++i) {
      etcdserverpb::RangeRequest request;
      request.set_key(fmt::format("k{:03}", i));
      etcdserverpb::RangeResponse response;
      if (!client.Range(request, &response).ok()) continue;
      // An answer is right or there is none.
      EXPECT_EQ(response.kvs_size(), 1) << i;
      if (response.kvs_size() != 1) continue;
      EXPECT_TRUE(response.kvs(0).value() == Value(i)) << i;
      ++found;
    }
    return found;
  }

  // Whether every key, the list of all and all of history can be read. Nobody who asks is told
  // where the server's files are.
  static bool ReadsEverything(Server& server) {
    Client client(server.address());
    const auto is_told = [&](const grpc::Status& status) {
      EXPECT_THAT(status.error_message(), Not(HasSubstr(server.data_dir())));
      return status.ok();
    };
    etcdserverpb::RangeRequest request;
    etcdserverpb::RangeResponse response;
    for (int i = 0; i < kKeys; ++i) {
      request.set_key(fmt::format("k{:03}", i));
      if (!is_told(client.Range(request, &response))) return false;
      EXPECT_EQ(response.kvs_size(), 1) << i;
      EXPECT_TRUE(response.kvs(0).value() == Value(i)) << i;
    }
    request.set_key("k");
    request.set_range_end("l");
    if (!is_told(client.Range(request, &response))) return false;
    EXPECT_EQ(response.kvs_size(), kKeys);
    etcdserverpb::HashKVResponse hash;
    return is_told(client.HashKV({}, &hash));
  }

  // Starts the server on a state that may be damaged and reads all of it. Whether that ended it,
  // with its reasons.
  static bool EndsWithDamage(Server& server, const fs::path& state) {
    const bool has_started = server.Start().ok();
    if (has_started && ReadsEverything(server)) {
      server.Kill();
      return false;
    }
    const absl::StatusOr<ExitState> exit = server.WaitForExit();
    EXPECT_TRUE(exit.ok()) << exit.status();
    if (!exit.ok()) return true;
    EXPECT_EQ(*exit, (ExitState{.code = 1, .signal = 0})) << server.Log();
    EXPECT_THAT(LastLines(server.Log(), 20),
                AllOf(HasSubstr(state.string()), HasSubstr("is damaged"),
                      HasSubstr("replace the member"), HasSubstr("docs/operations.md")));
    if (has_started) {
      EXPECT_THAT(LastLines(server.Log(), 20),
                  AllOf(HasSubstr("stopped: state: "), HasSubstr(".sst")));
    }
    return true;
  }

  // Names below a directory, and hashes of what the files hold.
  static std::map<std::string, size_t> Contents(const fs::path& directory) {
    std::map<std::string, size_t> contents;
    for (const auto& entry : fs::recursive_directory_iterator(directory)) {
      contents[entry.path()] =
          entry.is_regular_file() ? std::hash<std::string>()(ReadFile(entry.path())) : 0;
    }
    return contents;
  }

  static fs::path Segment(Server& server, int sequence) {
    return fs::path(server.data_dir()) / "wal" / fmt::format("{:016x}.wal", sequence);
  }

  // Waits until the segment after the first is there, made ahead of need.
  static void WaitForSpare(Server& server) {
    const auto deadline = std::chrono::steady_clock::now() + kServerDeadline;
    while (!fs::exists(Segment(server, 2))) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      server.LetRun(std::chrono::milliseconds(10));
    }
  }

  std::string ExpectRefusal(Server& server) {
    EXPECT_TRUE(server.Launch().ok());
    const absl::StatusOr<ExitState> exit = server.WaitForExit();
    EXPECT_TRUE(exit.ok()) << exit.status();
    if (exit.ok()) {
      EXPECT_EQ(exit->signal, 0) << server.Log();
      EXPECT_EQ(exit->code, 1) << server.Log();
    }
    return server.Log();
  }
};

TEST_F(DamagedDiskTest, ALogThatIsNotWholeIsRefusedByNameAndNothingChanges) {
  Server server(Options());
  ASSERT_TRUE(server.Start().ok());
  ASSERT_NO_FATAL_FAILURE(Fill(server, 0, kKeys));
  // The first is the one that is written; the second is the spare.
  ASSERT_NO_FATAL_FAILURE(WaitForSpare(server));
  ASSERT_TRUE(server.Terminate().ok());
  const fs::path log = Segment(server, 1).parent_path();
  const fs::path aside = fs::path(server.data_dir()).parent_path() / "aside";
  struct Case {
    std::string name;
    std::function<void()> harm;
    std::function<void()> repair;
    std::string at;
    std::string remedy;
  };
  const std::vector<Case> cases = {
      {"the newest segment is missing", [&] { fs::rename(Segment(server, 1), aside); },
       [&] { fs::rename(aside, Segment(server, 1)); }, "0000000000000002.wal at offset 0",
       "restore this member"},
      {"renamed", [&] { fs::rename(Segment(server, 1), Segment(server, 3)); },
       [&] { fs::rename(Segment(server, 3), Segment(server, 1)); },
       "0000000000000003.wal at offset 0", "restore this member"},
      {"twice there",
       [&] {
         fs::rename(Segment(server, 2), aside);
         fs::copy_file(Segment(server, 1), Segment(server, 2));
       },
       [&] { fs::rename(aside, Segment(server, 2)); }, "0000000000000002.wal at offset 0",
       "restore this member"},
      {"of length zero",
       [&] {
         fs::rename(Segment(server, 1), aside);
         WriteFile(Segment(server, 1), "");
       },
       [&] { fs::rename(aside, Segment(server, 1)); }, "0000000000000001.wal at offset 0",
       "restore this member"},
      {"a file of somebody's", [&] { WriteFile(log / "notes.txt", "mine"); },
       [&] { fs::remove(log / "notes.txt"); }, "notes.txt", "move it elsewhere"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    c.harm();
    const auto before = Contents(server.data_dir());
    EXPECT_THAT(ExpectRefusal(server),
                AllOf(HasSubstr(log.string()), HasSubstr(c.at), HasSubstr(c.remedy)));
    EXPECT_TRUE(Contents(server.data_dir()) == before) << "the refusal changed something";
    c.repair();
  }
  const absl::Status started = server.Start();
  ASSERT_TRUE(started.ok()) << started;
  EXPECT_EQ(Found(server, kKeys), kKeys);
}

// The log of an older copy beside the state: what the state has applied is not there.
TEST_F(DamagedDiskTest, AStateNewerThanItsLogIsRefused) {
  Server server(Options());
  ASSERT_TRUE(server.Start().ok());
  ASSERT_NO_FATAL_FAILURE(Fill(server, 0, 10));
  ASSERT_TRUE(server.Terminate().ok());
  const fs::path log = Segment(server, 1).parent_path();
  const fs::path older = fs::path(server.data_dir()).parent_path() / "older";
  const fs::path newer = fs::path(server.data_dir()).parent_path() / "newer";
  fs::copy(log, older, fs::copy_options::recursive);
  ASSERT_TRUE(server.Start().ok());
  ASSERT_NO_FATAL_FAILURE(Fill(server, 10, kKeys));
  ASSERT_TRUE(server.Terminate().ok());
  fs::rename(log, newer);
  fs::rename(older, log);
  fs::permissions(log, fs::perms::owner_all);
  const auto before = Contents(log);
  EXPECT_THAT(ExpectRefusal(server), AllOf(HasSubstr("the log has lost its end"),
                                           HasSubstr("restore both from one copy")));
  EXPECT_TRUE(Contents(log) == before) << "the refusal changed the log";
  fs::rename(log, older);
  fs::rename(newer, log);
  const absl::Status started = server.Start();
  ASSERT_TRUE(started.ok()) << started;
  EXPECT_EQ(Found(server, kKeys), kKeys);
}

// What an installation that was cut short leaves beside the state is removed; the state in force
// half written is refused, or what it lacks comes from the log.
TEST_F(DamagedDiskTest, StatesHalfWritten) {
  Server server(Options());
  ASSERT_TRUE(server.Start().ok());
  ASSERT_NO_FATAL_FAILURE(Fill(server, 0, kKeys));
  ASSERT_TRUE(server.Terminate().ok());
  const fs::path states = fs::path(server.data_dir()) / "state";
  const fs::path aside = fs::path(server.data_dir()).parent_path() / "aside";

  fs::create_directory(states / "2");
  WriteFile(states / "2" / "000007.sst", "half of a table");
  fs::create_directory(states / "checkpoint.7");
  WriteFile(states / "checkpoint.7" / "CURRENT", "MANIFEST-000005\n");
  WriteFile(states / "CURRENT.new", "2");
  ASSERT_TRUE(server.Start().ok());
  EXPECT_EQ(Found(server, kKeys), kKeys);
  ASSERT_TRUE(server.Terminate().ok());
  EXPECT_FALSE(fs::exists(states / "2"));
  EXPECT_FALSE(fs::exists(states / "checkpoint.7"));
  EXPECT_FALSE(fs::exists(states / "CURRENT.new"));

  // The pointer names a state that is not there, or nothing.
  for (const std::string pointer : {"2\n", "", "one\n"}) {
    SCOPED_TRACE(pointer);
    WriteFile(states / "CURRENT", pointer);
    EXPECT_THAT(ExpectRefusal(server), AllOf(HasSubstr(states.string()), HasSubstr("CURRENT")));
    EXPECT_EQ(ReadFile(states / "CURRENT"), pointer);
    WriteFile(states / "CURRENT", "1\n");
  }
  // One of its files is not there.
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(states / "1")) {
    const std::string name = entry.path().filename();
    if (name.ends_with(".sst") || name.starts_with("MANIFEST")) files.push_back(entry.path());
  }
  ASSERT_GE(files.size(), 2U);
  for (const fs::path& file : files) {
    SCOPED_TRACE(file);
    fs::copy(states / "1", aside, fs::copy_options::recursive);
    fs::remove(file);
    EXPECT_THAT(ExpectRefusal(server), HasSubstr((states / "1").string()));
    fs::remove_all(states / "1");
    fs::rename(aside, states / "1");
    fs::permissions(states / "1", fs::perms::owner_all);
  }
  ASSERT_TRUE(server.Start().ok());
  EXPECT_EQ(Found(server, kKeys), kKeys);
}

// A flipped bit in a table of the state: the start is refused, or the first read that meets it ends
// the server, at the next start too; never another value. With the bit set right, everything is
// there.
TEST_F(DamagedDiskTest, FlippedBitsInTheState) {
  Server server(Options());
  ASSERT_TRUE(server.Start().ok());
  ASSERT_NO_FATAL_FAILURE(Fill(server, 0, kKeys));
  ASSERT_TRUE(server.Terminate().ok());
  const fs::path state = fs::path(server.data_dir()) / "state" / "1";
  const fs::path aside = fs::path(server.data_dir()).parent_path() / "aside";
  // Which of them a read needs is RocksDB's affair: each gets its bit.
  std::map<fs::path, std::string> tables;
  for (const auto& entry : fs::directory_iterator(state)) {
    if (entry.path().extension() == ".sst") tables[entry.path()] = ReadFile(entry.path());
  }
  ASSERT_FALSE(tables.empty());
  int noticed = 0;
  for (const size_t quarters : {1, 2, 4}) {
    SCOPED_TRACE(quarters);
    fs::copy(state, aside, fs::copy_options::recursive);
    for (const auto& [table, whole] : tables) {
      const size_t at = std::min(whole.size() * quarters / 4, whole.size() - 60);
      std::string flipped = whole;
      flipped[at] = static_cast<char>(flipped[at] ^ 0x10);
      WriteFile(table, flipped);
    }
    const bool ends = EndsWithDamage(server, state);
    noticed += ends;
    EXPECT_EQ(EndsWithDamage(server, state), ends) << "the second start";
    fs::remove_all(state);
    fs::rename(aside, state);
    fs::permissions(state, fs::perms::owner_all);
  }
  // The last one may hit what nobody needs.
  EXPECT_GE(noticed, 2);
  ASSERT_TRUE(server.Start().ok());
  EXPECT_EQ(Found(server, kKeys), kKeys);
}

// The disk gives a block of a table not back, once: that ends the server, too. What it has stored
// is there at the next start.
TEST_F(DamagedDiskTest, AReadThatFailsEndsTheServer) {
  const std::string preloaded = fs::absolute(kPreloaded).string();
  ASSERT_TRUE(fs::exists(preloaded));
  const std::string control = MakeTempDir("failing") + "/control";
  ServerOptions options = Options();
  options.environment = {{"LD_PRELOAD", preloaded}, {"CAIRN_TEST_FAILING_DISK", control}};
  Server server(options);
  ASSERT_TRUE(server.Start().ok());
  ASSERT_NO_FATAL_FAILURE(Fill(server, 0, kKeys));
  ASSERT_TRUE(server.Terminate().ok());
  // Nothing is in its memory then.
  ASSERT_TRUE(server.Start().ok());
  FailNext(control, "read .sst");
  EXPECT_FALSE(ReadsEverything(server));
  const absl::StatusOr<ExitState> exit = server.WaitForExit();
  ASSERT_TRUE(exit.ok()) << exit.status();
  EXPECT_FALSE(fs::exists(control)) << "no read has failed";
  EXPECT_EQ(*exit, (ExitState{.code = 1, .signal = 0})) << server.Log();
  EXPECT_THAT(LastLines(server.Log(), 20),
              AllOf(HasSubstr("stopped: state: "), HasSubstr("Input/output error"),
                    HasSubstr(".sst"), HasSubstr("start the member again")));
  ASSERT_TRUE(server.Start().ok());
  EXPECT_EQ(Found(server, kKeys), kKeys);
}

// One sync fails: of the log, of a table of the state, of the list of its tables. The server
// ends with the reason; what it had acknowledged is there at the next start.
TEST_F(DamagedDiskTest, ASyncThatFailsOnceEndsTheServer) {
  const std::string preloaded = fs::absolute(kPreloaded).string();
  ASSERT_TRUE(fs::exists(preloaded));
  for (const std::string of : {".wal", ".sst", "MANIFEST"}) {
    SCOPED_TRACE(of);
    const std::string control = MakeTempDir("failing") + "/control";
    ServerOptions options = Options();
    options.environment = {{"LD_PRELOAD", preloaded}, {"CAIRN_TEST_FAILING_DISK", control}};
    // The state is flushed after every few puts.
    options.extra_flags = {"--snapshot-count=20"};
    Server server(options);
    ASSERT_TRUE(server.Start().ok());
    ASSERT_NO_FATAL_FAILURE(Fill(server, 0, 30));
    // What fails there is not the log, and is done again.
    ASSERT_NO_FATAL_FAILURE(WaitForSpare(server));
    FailNext(control, "sync " + of);
    int acknowledged = 30;
    while (server.IsRunning() && acknowledged < 5000 && Put(server, acknowledged).ok()) {
      ++acknowledged;
    }
    const absl::StatusOr<ExitState> exit = server.WaitForExit();
    ASSERT_TRUE(exit.ok()) << exit.status();
    EXPECT_FALSE(fs::exists(control)) << "no sync has failed";
    EXPECT_EQ(exit->signal, 0) << LastLines(server.Log(), 20);
    EXPECT_NE(exit->code, 0);
    EXPECT_THAT(LastLines(server.Log(), 20),
                testing::AnyOf(HasSubstr("Input/output error"), HasSubstr("IO error")));
    const absl::Status started = server.Start();
    ASSERT_TRUE(started.ok()) << started;
    EXPECT_EQ(Found(server, acknowledged), acknowledged);
  }
}

}  // namespace
}  // namespace cairn::test
