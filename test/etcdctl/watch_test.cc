// The distribution's `etcdctl watch` against a fresh server: what it prints, also across a SIGKILL
// of the server. Each runs against Cairn and against a real etcd. CAIRN_ETCDCTL=PATH (to be passed
// on with --test_env) names another etcdctl.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "api/rpc.grpc.pb.h"
#include "base/status.h"
#include "test/harness/client.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

// The distribution's, or another one, for example a newer one, whose options it then tests too.
std::string Etcdctl() {
  const char* const named = std::getenv("CAIRN_ETCDCTL");
  return named != nullptr ? named : "/usr/bin/etcdctl";
}

// Versions before 3.6 need to be told; later ones warn of it.
std::vector<std::pair<std::string, std::string>> Environment() {
  if (std::getenv("CAIRN_ETCDCTL") != nullptr) return {};
  return {{"ETCDCTL_API", "3"}};
}

class EtcdctlWatchTest : public testing::Test {
 protected:
  EtcdctlWatchTest() : server_(MakeOptions()), directory_(MakeTempDir("etcdctl_watch")) {}

  static ServerOptions MakeOptions() {
    ServerOptions options = OptionsFor(ServerUnderTest(), "watch");
    options.extra_flags.push_back(NotifyIntervalFlag(ServerUnderTest(), "200ms"));
    return options;
  }

  void SetUp() override {
    const absl::Status started = server_.Start();
    ASSERT_TRUE(started.ok()) << started;
  }

  std::vector<std::string> Command(const std::vector<std::string>& arguments) const {
    std::vector<std::string> argv = {Etcdctl(), "--endpoints=" + server_.address(),
                                     "--command-timeout=60s", "--dial-timeout=60s"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return argv;
  }
  std::string Run(const std::vector<std::string>& arguments) const {
    const absl::StatusOr<CommandResult> result =
        RunCommand({.argv = Command(arguments), .environment = Environment()});
    EXPECT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->exit, ExitState{}) << result->err;
    return result->out;
  }

  // A process that goes on printing into a file of its own.
  struct Running {
    std::string output_path;
    Process process;
  };
  Running StartCommand(const std::vector<std::string>& argv) {
    const std::string path = fmt::format("{}/out{}", directory_, next_output_++);
    absl::StatusOr<Process> process =
        Process::Start({.argv = argv, .environment = Environment(), .output_path = path});
    EXPECT_TRUE(process.ok()) << process.status();
    return {path, *std::move(process)};
  }
  Running Watch(const std::vector<std::string>& arguments) {
    std::vector<std::string> all = {"watch"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return StartCommand(Command(all));
  }

  // Waits until what was printed begins with `expected`, or contains it.
  static std::string WaitFor(const Running& running, const std::string& expected) {
    const auto deadline = std::chrono::steady_clock::now() + kServerDeadline;
    std::string text;
    while (std::chrono::steady_clock::now() < deadline) {
      text = ReadFile(running.output_path);
      if (text.find(expected) != std::string::npos) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return text;
  }

  Server server_;
  const std::string directory_;
  int next_output_ = 0;
};

TEST_F(EtcdctlWatchTest, HistoryAndPresent) {
  Run({"put", "a", "1"});
  Run({"put", "b", "other"});
  Run({"put", "ab", "2"});
  const Running one = Watch({"a", "--rev=1"});
  const Running prefix = Watch({"a", "--prefix", "--rev=3", "--prev-kv"});
  const Running range = Watch({"a", "b", "--rev=1"});
  EXPECT_EQ(WaitFor(one, "PUT\na\n1\n"), "PUT\na\n1\n");
  Run({"put", "a", "3"});
  Run({"del", "a"});
  Run({"put", "a", "last"});
  EXPECT_EQ(WaitFor(one, "last\n"), "PUT\na\n1\nPUT\na\n3\nDELETE\na\n\nPUT\na\nlast\n");
  // The value replaced stands before the event's.
  EXPECT_EQ(WaitFor(prefix, "last\n"),
            "PUT\nab\n2\nPUT\na\n1\na\n3\nDELETE\na\n3\na\n\nPUT\na\nlast\n");
  EXPECT_EQ(WaitFor(range, "last\n"),
            "PUT\na\n1\nPUT\nab\n2\nPUT\na\n3\nDELETE\na\n\nPUT\na\nlast\n");
}

TEST_F(EtcdctlWatchTest, CompactedHistoryIsRefusedWithTheReason) {
  Run({"put", "a", "1"});
  Run({"put", "a", "2"});
  Run({"compaction", "3"});
  Running running = Watch({"a", "--rev=1"});
  const std::string text = WaitFor(running, "compacted");
  EXPECT_NE(text.find("watch was canceled (etcdserver: mvcc: required revision has been "
                      "compacted)"),
            std::string::npos)
      << text;
}

TEST_F(EtcdctlWatchTest, PrintsProgressNotifications) {
  if (Run({"watch", "--help"}).find("--progress-notify") == std::string::npos) {
    GTEST_SKIP() << "this etcdctl does not know --progress-notify";
  }
  Run({"put", "a", "1"});
  const Running running = Watch({"a", "--rev=1", "--progress-notify"});
  const Running later = Watch({"a", "--rev=4", "--progress-notify"});
  const std::string twice = "progress notify: 2\nprogress notify: 2\n";
  EXPECT_EQ(WaitFor(running, twice), "PUT\na\n1\n" + twice);
  Run({"put", "b", "2"});
  const std::string after = WaitFor(running, "progress notify: 3\n");
  EXPECT_EQ(after.find("PUT\na\n1\n" + twice), 0u) << after;
  EXPECT_NE(after.find("progress notify: 3\n"), std::string::npos) << after;
  // Nothing is told of what comes before the start.
  Run({"put", "a", "3"});
  const std::string told = WaitFor(later, "progress notify: 4\n");
  EXPECT_EQ(told.find("PUT\na\n3\nprogress notify: 4\n"), 0u) << told;
}

// The distribution's etcdctl has no --progress-notify yet; this is what the newer one sends.
TEST_F(EtcdctlWatchTest, ProgressNotifications) {
  Run({"put", "b", "1"});
  Client client(server_.address());
  const auto stub = etcdserverpb::Watch::NewStub(client.channel());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kServerDeadline);
  const auto stream = stub->Watch(&context);
  etcdserverpb::WatchRequest request;
  request.mutable_create_request()->set_key("a");
  request.mutable_create_request()->set_progress_notify(true);
  ASSERT_TRUE(stream->Write(request));
  etcdserverpb::WatchResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_TRUE(response.created());
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.events_size(), 0);
    EXPECT_EQ(response.watch_id(), 0);
    EXPECT_EQ(response.header().revision(), 2);
  }
  context.TryCancel();
  stream->Finish();
}

TEST_F(EtcdctlWatchTest, RunsACommandForEachEvent) {
  Run({"put", "a", "1"});
  const Running running =
      Watch({"a", "--rev=1", "--", "/bin/sh", "-c",
             "echo run $ETCD_WATCH_REVISION $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY "
             "$ETCD_WATCH_VALUE"});
  const std::string first = WaitFor(running, "run 2 \"PUT\" \"a\" \"1\"\n");
  EXPECT_NE(first.find("run 2 \"PUT\" \"a\" \"1\"\n"), std::string::npos) << first;
  Run({"del", "a"});
  const std::string second = WaitFor(running, "run 3 \"DELETE\" \"a\"");
  EXPECT_NE(second.find("run 3 \"DELETE\" \"a\""), std::string::npos) << second;
}

// Several watches in one session, over one stream.
TEST_F(EtcdctlWatchTest, Interactive) {
  Run({"put", "a", "1"});
  const std::string done = directory_ + "/done";
  // Keeps the input open until the test is over.
  const std::string script = fmt::format(
      "{{ printf 'watch a --rev=1\\nwatch b --rev=1\\n'; while [ ! -e {} ]; do sleep 0.05; done; "
      "}} "
      "| {} watch -i",
      done, fmt::join(Command({}), " "));
  const Running running = StartCommand({"/bin/sh", "-c", script});
  const std::string first = WaitFor(running, "PUT\na\n1\n");
  EXPECT_NE(first.find("PUT\na\n1\n"), std::string::npos) << first;
  Run({"put", "b", "2"});
  const std::string second = WaitFor(running, "PUT\nb\n2\n");
  EXPECT_NE(second.find("PUT\nb\n2\n"), std::string::npos) << second;
  std::ofstream(done) << "done";
}

// Each watch of a session with options of its own, a command for its events, what is refused, and a
// word of progress.
TEST_F(EtcdctlWatchTest, InteractiveOptions) {
  Run({"put", "a", "1"});
  Run({"put", "a", "2"});
  Run({"put", "ab", "3"});
  const std::string done = directory_ + "/done";
  const auto session = [&](const std::string& lines) {
    return StartCommand(
        {"/bin/sh", "-c",
         fmt::format("{{ printf '{}'; while [ ! -e {} ]; do sleep 0.05; done; }} | {} watch -i",
                     lines, done, fmt::join(Command({}), " "))});
  };
  const Running with_previous = session("watch a --rev=2 --prev-kv\\n");
  const Running prefix = session("watch --prefix a --rev=3\\n");
  const Running with_command = session("watch a --rev=3 -- echo ran\\n");
  const Running refused = session("watch b a\\nwatch\\nnonsense\\n");
  const Running progress = session("watch b\\nwatch c --prefix\\nprogress\\n");
  EXPECT_EQ(WaitFor(with_previous, "\n2\n"), "PUT\na\n1\nPUT\na\n1\na\n2\n");
  EXPECT_EQ(WaitFor(prefix, "\n3\n"), "PUT\na\n2\nPUT\nab\n3\n");
  EXPECT_EQ(WaitFor(with_command, "ran\n"), "PUT\na\n2\nran\n");
  const std::string words = WaitFor(refused, "watcher range is empty");
  EXPECT_NE(words.find("watch was canceled (mvcc: watcher range is empty)"), std::string::npos)
      << words;
  EXPECT_NE(WaitFor(progress, "progress notify: 4\n").find("progress notify: 4\n"),
            std::string::npos);
  Run({"del", "ab"});
  EXPECT_EQ(WaitFor(prefix, "DELETE"), "PUT\na\n2\nPUT\nab\n3\nDELETE\nab\n\n");
  std::ofstream(done) << "done";
}

// The client comes back by itself and asks for what follows the last event it saw.
TEST_F(EtcdctlWatchTest, ResumesAcrossSigkillWithoutAGapOrARepeat) {
  const Running running = Watch({"a", "--rev=1"});
  std::string expected;
  int value = 0;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 20; ++i) {
      Run({"put", "a", std::to_string(++value)});
      expected += fmt::format("PUT\na\n{}\n", value);
      // Some of them are delivered before the kill, some are not.
      if (i == 10) WaitFor(running, fmt::format("\n{}\n", value));
    }
    server_.Kill();
    const absl::Status started = server_.Start();
    ASSERT_TRUE(started.ok()) << started;
  }
  Run({"put", "a", "end"});
  expected += "PUT\na\nend\n";
  EXPECT_EQ(WaitFor(running, "\nend\n"), expected);
}

}  // namespace
}  // namespace cairn::test
