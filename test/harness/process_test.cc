#include "test/harness/process.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <set>

#include "test/harness/server.h"

namespace cairn::test {
namespace {

using std::chrono::milliseconds;

CommandResult Shell(const std::string& script, std::string_view input = {}) {
  ProcessOptions options;
  options.argv = {"/bin/sh", "-c", script};
  options.environment = {{"ADDED", "yes"}};
  absl::StatusOr<CommandResult> result = RunCommand(options, input);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *result : CommandResult{};
}

TEST(RunCommand, SeparatesOutputsAndReportsTheExitCode) {
  const CommandResult result = Shell("echo out; echo err >&2; exit 7");
  EXPECT_EQ(result.out, "out\n");
  EXPECT_EQ(result.err, "err\n");
  EXPECT_EQ(result.exit, (ExitState{.code = 7, .signal = 0}));
}

TEST(RunCommand, ReportsTheSignal) {
  EXPECT_EQ(Shell("kill -9 $$").exit, (ExitState{.code = 0, .signal = SIGKILL}));
}

TEST(RunCommand, PassesInputAndEnvironment) {
  const std::string input(1 << 20, 'x');  // more than a pipe holds
  EXPECT_EQ(Shell("cat", input).out, input);
  EXPECT_EQ(Shell("echo $ADDED").out, "yes\n");
}

TEST(RunCommand, KillsWhatTakesTooLong) {
  ProcessOptions options;
  options.argv = {"/bin/sh", "-c", "while :; do :; done"};
  const absl::StatusOr<CommandResult> result = RunCommand(options, {}, milliseconds(50));
  EXPECT_EQ(result.status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(RunCommand, MissingBinaryExitsWith127) {
  ProcessOptions options;
  options.argv = {"/nowhere/at/all"};
  const absl::StatusOr<CommandResult> result = RunCommand(options);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->exit.code, 127);
}

TEST(Process, IsKilledWithItsOwner) {
  pid_t pid = 0;
  {
    ProcessOptions options;
    options.argv = {"/bin/sh", "-c", "echo started; while :; do read -r line < /dev/zero; done"};
    options.output_path = MakeTempDir("process") + "/log";
    absl::StatusOr<Process> process = Process::Start(options);
    ASSERT_TRUE(process.ok());
    pid = process->pid();
    EXPECT_TRUE(process->IsRunning());
    EXPECT_FALSE(process->Wait(milliseconds(0)).has_value());
  }
  EXPECT_EQ(kill(pid, 0), -1);
}

TEST(Process, TellsHowItEnded) {
  ProcessOptions options;
  options.argv = {"/bin/sh", "-c", "echo hello; exit 3"};
  options.output_path = MakeTempDir("process") + "/log";
  absl::StatusOr<Process> process = Process::Start(options);
  ASSERT_TRUE(process.ok());
  EXPECT_EQ(process->Wait(std::chrono::seconds(60)), (ExitState{.code = 3, .signal = 0}));
  EXPECT_EQ(ReadFile(options.output_path), "hello\n");
}

TEST(Process, StandsStillAndGoesOn) {
  ProcessOptions options;
  options.argv = {"/bin/sleep", "60"};
  options.output_path = MakeTempDir("process") + "/log";
  absl::StatusOr<Process> process = Process::Start(options);
  ASSERT_TRUE(process.ok()) << process.status();
  const auto state = [&] {
    const std::string stat = ReadFile(fmt::format("/proc/{}/stat", process->pid()));
    return stat.substr(stat.rfind(')') + 2, 1);
  };
  for (int round = 0; round < 3; ++round) {
    process->StandStill();
    EXPECT_EQ(state(), "T");
    process->Signal(SIGCONT);
    EXPECT_NE(state(), "T");
  }
  process->Signal(SIGKILL);
  EXPECT_EQ(process->Wait(std::chrono::seconds(60)), (ExitState{.signal = SIGKILL}));
  process->StandStill();
}

TEST(Process, FileSizeLimitMakesWritesFail) {
  const std::string folder = MakeTempDir("process");
  ProcessOptions options;
  options.argv = {"/bin/sh", "-c", "head -c 100000 /dev/zero > " + folder + "/big"};
  options.output_path = folder + "/log";
  options.file_size_max_bytes = 4096;
  absl::StatusOr<Process> process = Process::Start(options);
  ASSERT_TRUE(process.ok());
  const std::optional<ExitState> exit = process->Wait(std::chrono::seconds(60));
  ASSERT_TRUE(exit.has_value());
  EXPECT_NE(exit->code, 0);
  EXPECT_EQ(ReadFile(folder + "/big").size(), 4096u);
}

TEST(PickFreePort, StaysOutOfTheRangeOfOutgoingConnections) {
  std::set<int> ports;
  for (int i = 0; i < 20; ++i) {
    const int port = PickFreePort();
    EXPECT_GE(port, 10000);
    EXPECT_LT(port, 32768);
    ports.insert(port);
  }
  EXPECT_GT(ports.size(), 10u);
}

TEST(LastLines, CutsFromTheEnd) {
  EXPECT_EQ(LastLines("a\nb\nc\n", 2), "b\nc\n");
  EXPECT_EQ(LastLines("a\nb\nc", 1), "c");
  EXPECT_EQ(LastLines("a\n", 5), "a\n");
  EXPECT_EQ(LastLines("", 5), "");
}

}  // namespace
}  // namespace cairn::test
