// What keeps a server from starting: each refusal says what is wrong, names the flag or the file,
// and leaves the data as it was. Cairn only: the words are ours.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/status.h"
#include "test/harness/client.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

class StartupTest : public testing::Test {
 protected:
  ServerOptions Options() { return OptionsFor(ServerUnderTest(), "startup"); }

  // Starts it, expects it to end by itself with `code`, and returns what it said.
  std::string ExpectRefusal(Server& server, int code) {
    EXPECT_TRUE(server.Launch().ok());
    const absl::StatusOr<ExitState> exit = server.WaitForExit();
    EXPECT_TRUE(exit.ok()) << exit.status();
    if (exit.ok()) {
      EXPECT_EQ(exit->signal, 0) << server.Log();
      EXPECT_EQ(exit->code, code) << server.Log();
    }
    return server.Log();
  }

  CommandResult Run(const std::vector<std::string>& arguments) {
    ProcessOptions options;
    options.argv = {ServerUnderTest().binary};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    absl::StatusOr<CommandResult> result = RunCommand(options);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *result : CommandResult{};
  }

  // Puts `count` keys of 1 KiB, k0 on.
  static void Fill(Server& server, int count) {
    Client client(server.address());
    for (int i = 0; i < count; ++i) {
      etcdserverpb::PutRequest request;
      request.set_key(fmt::format("k{}", i));
      request.set_value(std::string(1024, 'v') + std::to_string(i));
      etcdserverpb::PutResponse response;
      const grpc::Status status = client.Put(request, &response);
      ASSERT_TRUE(status.ok()) << status.error_message();
    }
  }

  static void ExpectFilled(Server& server, int count) {
    Client client(server.address());
    for (int i = 0; i < count; ++i) {
      etcdserverpb::RangeRequest request;
      request.set_key(fmt::format("k{}", i));
      etcdserverpb::RangeResponse response;
      ASSERT_TRUE(client.Range(request, &response).ok());
      ASSERT_EQ(response.kvs_size(), 1) << i;
      EXPECT_EQ(response.kvs(0).value(), std::string(1024, 'v') + std::to_string(i));
    }
  }

  // The segments of the log, oldest first.
  static std::vector<fs::path> Segments(const std::string& data_dir) {
    std::vector<fs::path> segments;
    for (const auto& entry : fs::recursive_directory_iterator(data_dir)) {
      if (entry.path().extension() == ".wal") segments.push_back(entry.path());
    }
    std::sort(segments.begin(), segments.end());
    return segments;
  }

  // The segment that holds the written batches, and where they end.
  struct Written {
    fs::path path;
    size_t size_bytes = 0;
  };
  static Written LastWritten(const std::string& data_dir) {
    Written last;
    for (const fs::path& path : Segments(data_dir)) {
      const std::string content = ReadFile(path.string());
      const size_t end = content.find_last_not_of('\0');
      if (end != content.npos) last = {path, end + 1};
    }
    EXPECT_GT(last.size_bytes, 0u) << "no log in " << data_dir;
    return last;
  }

  static void FlipBit(const fs::path& path, size_t offset_bytes) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset_bytes));
    const char byte = static_cast<char>(file.get());
    file.seekp(static_cast<std::streamoff>(offset_bytes));
    file.put(static_cast<char>(byte ^ 0x10));
  }
};

TEST_F(StartupTest, HelpAndVersion) {
  const CommandResult help = Run({"--help"});
  EXPECT_EQ(help.exit, ExitState{});
  EXPECT_THAT(help.out + help.err, AllOf(HasSubstr("--data-dir"), HasSubstr("--listen-peer-urls")));
  // The libraries' own flags stay hidden.
  EXPECT_THAT(help.out + help.err, testing::Not(HasSubstr("logtostderr")));
  const CommandResult version = Run({"--version"});
  EXPECT_EQ(version.exit, ExitState{});
  EXPECT_THAT(version.out, HasSubstr("airn"));
}

TEST_F(StartupTest, UnknownFlagIsNamed) {
  struct Case {
    const char* argument;
    const char* name;
  } const cases[] = {
      {"--no-such-flag", "no-such-flag"},
      {"--no-such-flag=1", "no-such-flag"},
      {"-no-such-flag", "no-such-flag"},
      // etcd's, whose bounds are constants here.
      {"--max-concurrent-streams=1", "max-concurrent-streams"},
      {"--grpc-keepalive-min-time=1s", "grpc-keepalive-min-time"},
      {"--grpc-keepalive-interval=1s", "grpc-keepalive-interval"},
      {"--grpc-keepalive-timeout=1s", "grpc-keepalive-timeout"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.argument);
    const CommandResult result = Run({c.argument});
    EXPECT_EQ(result.exit, (ExitState{.code = 2, .signal = 0}));
    EXPECT_THAT(result.err, HasSubstr(c.name));
  }
}

TEST_F(StartupTest, BadValueNamesItsFlag) {
  // 2 for a value that does not parse, 1 for one that does but cannot be served.
  struct Case {
    const char* flag;
    const char* value;
    int code;
  } const cases[] = {
      {"--heartbeat-interval", "often", 2},
      {"--heartbeat-interval", "0", 1},
      {"--election-timeout", "1", 1},
      {"--election-timeout", "99999999", 1},
      {"--max-txn-ops", "many", 2},
      {"--max-request-bytes", "-1", 2},
      {"--snapshot-count", "x", 2},
      {"--quota-backend-bytes", "8GB", 2},
      {"--listen-client-urls", "127.0.0.1:2379", 2},
      {"--listen-client-urls", "ftp://127.0.0.1:1", 2},
      {"--listen-client-urls", "http://127.0.0.1", 2},
      {"--listen-client-urls", "https://127.0.0.1:1", 1},
      {"--listen-peer-urls", "http://127.0.0.1:99999", 2},
      {"--initial-cluster", "someone=http://127.0.0.1:1", 1},
      {"--initial-cluster", "nonsense", 2},
      {"--name", "\xff", 2},
      {"--initial-cluster-state", "perhaps", 2},
      {"--log-level", "loud", 2},
      {"--auto-compaction-mode", "sometimes", 2},
      {"--auto-compaction-retention", "forever", 2},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(fmt::format("{}={}", c.flag, c.value));
    ServerOptions options = Options();
    options.extra_flags.push_back(fmt::format("{}={}", c.flag, c.value));
    Server server(std::move(options));
    EXPECT_THAT(ExpectRefusal(server, c.code), HasSubstr(std::string(c.flag).substr(2)));
    EXPECT_FALSE(fs::exists(server.data_dir())) << "a refused command line makes no directory";
  }
}

TEST_F(StartupTest, EnvironmentIsRead) {
  ServerOptions options = Options();
  options.environment = {{"ETCD_LOG_LEVEL", "loud"}};
  Server etcd_name(options);
  EXPECT_THAT(ExpectRefusal(etcd_name, 2), HasSubstr("log-level"));
  options.environment = {{"CAIRN_LOG_LEVEL", "loud"}};
  Server own_name(options);
  EXPECT_THAT(ExpectRefusal(own_name, 2), HasSubstr("log-level"));
  // A flag wins over the environment.
  options.extra_flags.push_back("--log-level=info");
  Server flag(options);
  const absl::Status started = flag.Start();
  EXPECT_TRUE(started.ok()) << started;
}

TEST_F(StartupTest, PortInUseIsNamed) {
  Server first(Options());
  ASSERT_TRUE(first.Start().ok());
  ServerOptions options = Options();
  options.extra_flags = {"--listen-client-urls=" + first.client_url()};
  Server second(options);
  EXPECT_THAT(ExpectRefusal(second, 1),
              AllOf(HasSubstr("--listen-client-urls"), HasSubstr(first.address())));
  EXPECT_TRUE(first.IsRunning());
  // The peer side too, whatever listens there.
  options.extra_flags = {"--listen-peer-urls=" + first.client_url()};
  Server third(options);
  EXPECT_THAT(ExpectRefusal(third, 1),
              AllOf(HasSubstr("--listen-peer-urls"), HasSubstr(first.address())));
  EXPECT_FALSE(fs::exists(third.data_dir()));
  EXPECT_TRUE(first.IsRunning());
}

TEST_F(StartupTest, DataDirectoryIsPrivate) {
  Server server(Options());
  ASSERT_TRUE(server.Start().ok());
  struct stat info = {};
  ASSERT_EQ(stat(server.data_dir().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST_F(StartupTest, DataDirectoryThatIsAFile) {
  ServerOptions options = Options();
  options.data_dir = MakeTempDir("startup") + "/file";
  std::ofstream(options.data_dir) << "not a directory";
  Server server(options);
  EXPECT_THAT(ExpectRefusal(server, 1),
              AllOf(HasSubstr("--data-dir"), HasSubstr(options.data_dir)));
  EXPECT_EQ(ReadFile(options.data_dir), "not a directory");
}

TEST_F(StartupTest, DataDirectoryBelowAFile) {
  const std::string file = MakeTempDir("startup") + "/file";
  std::ofstream(file) << "x";
  ServerOptions options = Options();
  options.data_dir = file + "/data";
  Server server(options);
  EXPECT_THAT(ExpectRefusal(server, 1),
              AllOf(HasSubstr("--data-dir"), HasSubstr(options.data_dir)));
}

TEST_F(StartupTest, UnwritableDataDirectory) {
  // The root user may write anywhere but into a pseudo file system like this one.
  ServerOptions options = Options();
  options.data_dir = "/proc/1/cairn";
  Server server(options);
  EXPECT_THAT(ExpectRefusal(server, 1), AllOf(HasSubstr("--data-dir"), HasSubstr("/proc/1")));
}

TEST_F(StartupTest, DirectoryOfEtcd) {
  ServerOptions options = Options();
  options.data_dir = MakeTempDir("startup");
  fs::create_directories(options.data_dir + "/member/wal");
  std::ofstream(options.data_dir + "/member/wal/0000000000000000-0000000000000000.wal") << "etcd";
  Server server(options);
  EXPECT_THAT(ExpectRefusal(server, 1),
              AllOf(HasSubstr("--data-dir"), HasSubstr(options.data_dir), HasSubstr("etcd")));
}

TEST_F(StartupTest, DirectoryOfAnotherProgram) {
  ServerOptions options = Options();
  options.data_dir = MakeTempDir("startup");
  std::ofstream(options.data_dir + "/precious") << "mine";
  Server server(options);
  EXPECT_THAT(ExpectRefusal(server, 1), AllOf(HasSubstr("--data-dir"), HasSubstr("precious")));
  EXPECT_EQ(ReadFile(options.data_dir + "/precious"), "mine");
  EXPECT_EQ(std::distance(fs::directory_iterator(options.data_dir), fs::directory_iterator()), 1);
}

TEST_F(StartupTest, DirectoryInUse) {
  Server first(Options());
  ASSERT_TRUE(first.Start().ok());
  Fill(first, 3);
  ServerOptions options = Options();
  options.data_dir = first.data_dir();
  Server second(options);
  EXPECT_THAT(ExpectRefusal(second, 1), AllOf(HasSubstr("--data-dir"), HasSubstr("lock")));
  ExpectFilled(first, 3);
}

// The log of one cluster beside the state of another.
TEST_F(StartupTest, LogOfAnotherCluster) {
  Server one(Options());
  Server other(Options());
  for (Server* server : {&one, &other}) {
    ASSERT_TRUE(server->Start().ok());
    Fill(*server, 5);
    ASSERT_TRUE(server->Terminate().ok());
  }
  fs::rename(one.data_dir() + "/wal", one.data_dir() + "/../wal.own");
  fs::copy(other.data_dir() + "/wal", one.data_dir() + "/wal", fs::copy_options::recursive);
  fs::permissions(one.data_dir() + "/wal", fs::perms::owner_all);
  EXPECT_THAT(ExpectRefusal(one, 1), HasSubstr("cluster"));
  fs::remove_all(one.data_dir() + "/wal");
  fs::rename(one.data_dir() + "/../wal.own", one.data_dir() + "/wal");
  const absl::Status started = one.Start();
  ASSERT_TRUE(started.ok()) << started;
  ExpectFilled(one, 5);
}

// A flipped bit anywhere among proven batches is refused with the segment and an offset; with the
// bit set right, everything is there.
TEST_F(StartupTest, FlippedBitInTheLog) {
  constexpr int kKeys = 100;
  Server server(Options());
  ASSERT_TRUE(server.Start().ok());
  Fill(server, kKeys);
  server.Kill();
  const Written written = LastWritten(server.data_dir());
  // From the segment's own header to the middle of the batches.
  for (const size_t offset :
       {size_t{3}, size_t{600}, written.size_bytes / 4, written.size_bytes / 2}) {
    SCOPED_TRACE(fmt::format("{} at {} of {}", written.path.string(), offset, written.size_bytes));
    FlipBit(written.path, offset);
    EXPECT_THAT(ExpectRefusal(server, 1),
                AllOf(HasSubstr(written.path.filename().string()), HasSubstr("offset")));
    FlipBit(written.path, offset);
  }
  const absl::Status started = server.Start();
  ASSERT_TRUE(started.ok()) << started;
  ExpectFilled(server, kKeys);
}

TEST_F(StartupTest, TruncatedSegment) {
  constexpr int kKeys = 100;
  Server server(Options());
  ASSERT_TRUE(server.Start().ok());
  Fill(server, kKeys);
  server.Kill();
  const Written written = LastWritten(server.data_dir());
  const std::string whole = ReadFile(written.path.string());
  // Nothing left, a piece of the header, half of the batches, all but the last proven ones.
  for (const size_t size : {size_t{0}, size_t{100}, written.size_bytes / 2,
                            written.size_bytes - written.size_bytes / 10}) {
    SCOPED_TRACE(fmt::format("{} of {} bytes", size, written.size_bytes));
    fs::resize_file(written.path, size);
    EXPECT_THAT(
        ExpectRefusal(server, 1),
        AllOf(HasSubstr(server.data_dir()),
              testing::AnyOf(HasSubstr(written.path.filename().string()), HasSubstr("no log in"))));
    std::ofstream(written.path, std::ios::binary | std::ios::trunc) << whole;
  }
  const absl::Status started = server.Start();
  ASSERT_TRUE(started.ok()) << started;
  ExpectFilled(server, kKeys);
}

// A state without a log is no first start, whether the state has been made durable or not.
TEST_F(StartupTest, MissingSegment) {
  for (const bool is_graceful : {true, false}) {
    SCOPED_TRACE(is_graceful);
    Server server(Options());
    ASSERT_TRUE(server.Start().ok());
    Fill(server, 20);
    if (is_graceful) {
      ASSERT_TRUE(server.Terminate().ok());
    } else {
      server.Kill();
    }
    const Written written = LastWritten(server.data_dir());
    const fs::path aside = fs::path(server.data_dir()).parent_path() / "aside";
    fs::rename(written.path, aside);
    EXPECT_THAT(ExpectRefusal(server, 1), AllOf(HasSubstr("no log in"), HasSubstr("restore")));
    fs::rename(aside, written.path);
    const absl::Status started = server.Start();
    ASSERT_TRUE(started.ok()) << started;
    ExpectFilled(server, 20);
  }
}

TEST_F(StartupTest, SignalsStopItGracefully) {
  for (const int signal_number : {SIGTERM, SIGINT}) {
    SCOPED_TRACE(strsignal(signal_number));
    Server server(Options());
    ASSERT_TRUE(server.Start().ok());
    Fill(server, 20);
    kill(server.pid(), signal_number);
    const absl::StatusOr<ExitState> exit = server.WaitForExit();
    ASSERT_TRUE(exit.ok()) << exit.status();
    EXPECT_EQ(*exit, ExitState{}) << server.Log();
    const absl::Status started = server.Start();
    ASSERT_TRUE(started.ok()) << started;
    ExpectFilled(server, 20);
  }
}

TEST_F(StartupTest, BannerSaysWhereItListensAndWhereDataLies) {
  Server server(Options());
  ASSERT_TRUE(server.Start().ok());
  EXPECT_THAT(server.Log(), AllOf(HasSubstr(server.address()), HasSubstr(server.data_dir()),
                                  HasSubstr("etcdctl")));
}

}  // namespace
}  // namespace cairn::test
