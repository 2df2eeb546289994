// The server: flags to a Config, a Config to a Server, signals to its end.
//
// Exit codes: 0 after a graceful stop and for --help and --version, 1 when the member cannot start
// or cannot go on, 2 for a command line that makes no sense.
#include <fmt/format.h>
#include <glog/logging.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "api/version.h"
#include "base/status.h"
#include "server/config.h"
#include "server/server.h"

namespace {

using cairn::server::Command;
using cairn::server::ConfigError;
using cairn::server::LogLevel;
using cairn::server::Server;

void SetUpLogging(const char* program, LogLevel level) {
  FLAGS_logtostderr = true;
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
}

// Ends the process at once: nothing may be answered after log or state have failed, and everything
// that was acknowledged is durable already.
void StopAtOnce(const absl::Status& error) {
  std::fprintf(stderr, "cairn: stopped: %s\n", std::string(error.message()).c_str());
  std::fflush(stderr);
  std::_Exit(1);
}

// `bazel run` starts in its own folder and tells where the user was.
std::string WorkingDirectory() {
  const char* where = std::getenv("BUILD_WORKING_DIRECTORY");
  return where != nullptr ? where : std::filesystem::current_path().string();
}

int Run(const Command& command, const sigset_t& ends) {
  for (const std::string& name : cairn::server::UnknownEnvironment(environ)) {
    LOG(WARNING) << "environment variable " << name << " is not known and has no effect";
  }
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(command.config, StopAtOnce);
  if (!server.ok()) {
    fmt::print(stderr, "cairn: {}\n", cairn::base::Message(server.status()));
    return 1;
  }
  fmt::print("{}", (*server)->Banner());
  std::fflush(stdout);

  int signal = 0;
  sigwait(&ends, &signal);
  LOG(INFO) << "stopping on " << strsignal(signal);
  // A second signal ends the process the hard way.
  pthread_sigmask(SIG_UNBLOCK, &ends, nullptr);
  if (absl::Status status = (*server)->Stop(); !status.ok()) {
    fmt::print(stderr, "cairn: while stopping: {}\n", cairn::base::Message(status));
    return 1;
  }
  LOG(INFO) << "stopped";
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
  SetUpLogging(argv[0], command->config.log_level);
  // Blocked before any thread starts, so that only main takes them.
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return Run(*command, ends);
}
