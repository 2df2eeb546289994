// The server: flags to a Config, a Config to a Server, signals to its end.
//
// Exit codes: 0 after a graceful stop and for --help and --version, 1 when the member cannot start
// or cannot go on, 2 for a command line that makes no sense.
#include <fmt/format.h>
#include <glog/logging.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <future>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "api/version.h"
#include "base/status.h"
#include "server/config.h"
#include "server/log_output.h"
#include "server/server.h"

namespace {

using cairn::server::Command;
using cairn::server::ConfigError;
using cairn::server::LogLevel;
using cairn::server::LogOutput;
using cairn::server::Server;

// How long the end of the process waits for whoever reads its log.
constexpr std::chrono::milliseconds kLogFlush{1000};

// Never destroyed: threads may log until the process is gone. From the first use on there is a
// thread, which must inherit the mask of signals.
LogOutput& Output() {
  static auto* const output = new LogOutput(STDERR_FILENO);
  return *output;
}

// What is worth saying also when nothing is logged.
void Say(std::string_view text) {
  Output().Add(fmt::format("cairn: {}", text));
  Output().Flush(kLogFlush);
}

void SetUpLogging(const char* program, LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      FLAGS_v = 1;
      [[fallthrough]];
    case LogLevel::kInfo:
      FLAGS_minloglevel = google::GLOG_INFO;
      break;
    case LogLevel::kWarning:
      FLAGS_minloglevel = google::GLOG_WARNING;
      break;
    case LogLevel::kError:
      FLAGS_minloglevel = google::GLOG_ERROR;
      break;
    case LogLevel::kFatal:
      FLAGS_minloglevel = google::GLOG_FATAL;
      break;
  }
  google::InitGoogleLogging(program);
  Output().TakeGlog();
  // What was logged before a failed check tells why.
  signal(SIGABRT, [](int) {
    Output().FlushInAbort(kLogFlush);
    // Whoever sent it from outside wants the end, too.
    signal(SIGABRT, SIG_DFL);
    raise(SIGABRT);
  });
}

// Ends the process at once: nothing may be answered after log or state have failed, and everything
// that was acknowledged is durable already.
void StopAtOnce(const absl::Status& error) {
  Say(fmt::format("stopped: {}", cairn::base::Message(error)));
  std::_Exit(1);
}

// Why a member ends that its cluster wants no more. Its exit code is 0, as etcd's is: whoever runs
// it had better not start it again.
constexpr char kRemoved[] =
    "the member has been permanently removed from the cluster; to join again remove its data "
    "directory, add a member with `etcdctl member add` and start with "
    "--initial-cluster-state=existing";

// Connections and table files are file descriptors: take as many as the system allows this process,
// as Go's programs do. A failure leaves the soft limit, which is no reason not to start.
void RaiseDescriptorLimit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// `bazel run` starts in its own folder and tells where the user was.
std::string WorkingDirectory() {
  const char* where = std::getenv("BUILD_WORKING_DIRECTORY");
  return where != nullptr ? where : std::filesystem::current_path().string();
}

// Takes SIGTERM and SIGINT, which are blocked everywhere, on a thread of its own: the first one
// stops a server that runs, and ends a start at once (nothing has been answered yet); a second one
// ends the process the hard way.
class EndSignals {
 public:
  EndSignals() {
    sigemptyset(&ends_);
    sigaddset(&ends_, SIGTERM);
    sigaddset(&ends_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends_, nullptr);
    std::thread([this] { Take(); }).detach();
  }

  // The server runs: from here on the first signal stops it.
  void SetRunning() { is_running_.store(true); }

  // Blocks until the first signal, or until Finish. The reason.
  std::string Wait() { return first_.get_future().get(); }

  // Ends the wait without a signal. Any thread.
  void Finish(std::string why) {
    if (!is_finished_.exchange(true)) first_.set_value(std::move(why));
  }

 private:
  void Take() {
    int signal = 0;
    sigwait(&ends_, &signal);
    if (is_running_.load()) {
      Finish(strsignal(signal));
      sigwait(&ends_, &signal);
    }
    Output().Flush(kLogFlush);
    std::_Exit(128 + signal);
  }

  sigset_t ends_;
  std::atomic<bool> is_running_ = false;
  std::atomic<bool> is_finished_ = false;
  std::promise<std::string> first_;
};

int Run(const Command& command, EndSignals& ends) {
  for (const std::string& name :
       cairn::server::UnknownEnvironment(environ, cairn::server::FlagNames())) {
    LOG(WARNING) << "environment variable " << name << " is not known and has no effect";
  }
  absl::StatusOr<std::unique_ptr<Server>> server =
      Server::Start(command.config, StopAtOnce, [&ends] { ends.Finish(kRemoved); });
  if (!server.ok()) {
    Say(cairn::base::Message(server.status()));
    return 1;
  }
  ends.SetRunning();
  // As the log: whoever does not read it holds nobody up.
  static auto* const standard_output = new LogOutput(STDOUT_FILENO);
  standard_output->Add((*server)->Banner());
  standard_output->Flush(kLogFlush);

  // Before the line is begun, which takes its time from then.
  const std::string why = ends.Wait();
  if (why == kRemoved) Say(why);
  LOG(INFO) << "stopping: " << why;
  if (absl::Status status = (*server)->Stop(); !status.ok()) {
    Say(fmt::format("while stopping: {}", cairn::base::Message(status)));
    return 1;
  }
  LOG(INFO) << "stopped";
  Output().Flush(kLogFlush);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  ConfigError error;
  const std::optional<Command> command = cairn::server::ParseCommandLine(
      {argv + 1, argv + argc}, [](const char* name) { return std::getenv(name); },
      WorkingDirectory(), error);
  if (!command.has_value()) {
    fmt::print(stderr, "cairn: {}\n", error.text);
    if (error.is_usage_error) fmt::print(stderr, "Try: cairn --help\n");
    return error.is_usage_error ? 2 : 1;
  }
  if (command->kind == Command::Kind::kHelp) {
    fmt::print("{}", cairn::server::HelpText());
    return 0;
  }
  if (command->kind == Command::Kind::kVersion) {
    fmt::print("Cairn {}\nAnswers as etcd {}\n", cairn::api::kCairnVersion,
               cairn::api::kEtcdVersion);
    return 0;
  }
  // Before any other thread starts, so that all inherit the mask.
  static EndSignals ends;
  SetUpLogging(argv[0], command->config.log_level);
  signal(SIGPIPE, SIG_IGN);
  RaiseDescriptorLimit();
  return Run(*command, ends);
}
