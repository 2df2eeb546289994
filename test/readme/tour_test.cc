// Plays the README's tour: each command is typed as it stands there, and what is printed is what
// stands below it, but for ids, addresses, sizes and the width of columns.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/status.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

constexpr char kReadme[] = "README.md";
constexpr std::string_view kFirstHeading = "## A tour in five minutes";
constexpr std::string_view kPrompt = "$ ";
constexpr std::string_view kRunServer = "./bazelw run //cmd:cairn";
constexpr std::string_view kRunTool = "./bazelw run //cmd:cairnutl -- ";
constexpr std::string_view kWatch = "etcdctl watch ";
constexpr std::chrono::milliseconds kPoll{20};

struct Step {
  std::string command;
  std::string output;
};

// The commands of the section with what stands below each, in order. A command goes on until its
// quotes are closed.
std::vector<Step> ReadTour() {
  std::ifstream in(kReadme);
  EXPECT_TRUE(in.is_open());
  std::vector<Step> steps;
  bool is_tour = false;
  bool is_block = false;
  bool is_open = false;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("## ")) is_tour = line == kFirstHeading;
    if (!is_tour) continue;
    if (line.starts_with("```")) {
      is_block = !is_block;
      continue;
    }
    if (!is_block) continue;
    if (!is_open && line.starts_with(kPrompt)) {
      steps.push_back({.command = line.substr(kPrompt.size())});
    } else if (steps.empty()) {
      ADD_FAILURE() << "output before the first command: " << line;
    } else if (is_open) {
      steps.back().command += "\n" + line;
    } else {
      steps.back().output += line + "\n";
      continue;
    }
    is_open = std::count(steps.back().command.begin(), steps.back().command.end(), '\'') % 2 == 1;
  }
  return steps;
}

// etcdctl shows ids without the zeros that one in sixteen begins with.
constexpr char kId[] = "[0-9a-f]{10,16}";

// What differs between two runs of one command, made equal.
std::string Normalise(const std::string& text) {
  std::string result = std::regex_replace(text, std::regex(kId), "ID");
  result = std::regex_replace(result, std::regex("(localhost|127\\.0\\.0\\.1):[0-9]+"), "ADDRESS");
  result = std::regex_replace(result, std::regex("[0-9.]+ [kM]B"), "SIZE");
  result = std::regex_replace(result, std::regex("-+"), "-");
  return std::regex_replace(result, std::regex(" +"), " ");
}

std::string FirstId(const std::string& text) {
  std::smatch match;
  return std::regex_search(text, match, std::regex(kId)) ? match.str() : "";
}

void Replace(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

class ReadmeTourTest : public testing::Test {
 protected:
  ReadmeTourTest()
      : server_(OptionsFor(ServerUnderTest(), "tour")), directory_(MakeTempDir("tour")) {
    // The name that a member has by itself.
    server_.options().extra_flags = {"--name=default",
                                     "--initial-cluster=default=" + server_.peer_url()};
  }

  void Play(const Step& step) {
    SCOPED_TRACE(step.command);
    if (step.command == kRunServer) {
      const absl::Status started = server_.Start();
      ASSERT_TRUE(started.ok()) << started;
    } else if (step.command == "pkill -9 cairn") {
      server_.Kill();
    } else if (step.command.starts_with(kRunTool)) {
      if (server_.IsRunning()) {
        ASSERT_TRUE(server_.Terminate().ok());
      }
      std::string command = step.command;
      Replace(command, kRunTool, "cmd/cairnutl/cairnutl ");
      Replace(command, "default.cairn", server_.data_dir());
      EXPECT_EQ(Run(command), step.output);
    } else if (step.command.starts_with(kWatch)) {
      EXPECT_EQ(RunUntil(step.command, step.output), step.output);
    } else {
      RunAsShown(step);
    }
  }

  void RunAsShown(const Step& step) {
    std::string command = step.command;
    if (!shown_lease_.empty()) Replace(command, shown_lease_, lease_);
    const std::string output = Run(command);
    EXPECT_EQ(Normalise(output), Normalise(step.output));
    if (command.starts_with("etcdctl lease grant ")) {
      lease_ = FirstId(output);
      shown_lease_ = FirstId(step.output);
    }
  }

  ProcessOptions Shell(const std::string& command) const {
    return {.argv = {"/bin/bash", "-c", command},
            .environment = {{"ETCDCTL_API", "3"}, {"ETCDCTL_ENDPOINTS", server_.address()}}};
  }

  // What a terminal shows, without the lines that etcdctl logs for itself.
  std::string Run(const std::string& command) const {
    const absl::StatusOr<CommandResult> result = RunCommand(Shell(command));
    EXPECT_TRUE(result.ok()) << result.status();
    if (!result.ok()) return "";
    std::string shown = result->out;
    std::istringstream errors(result->err);
    for (std::string line; std::getline(errors, line);) {
      if (line.starts_with("Error: ")) shown += line + "\n";
    }
    return shown;
  }

  // Of a command that does not end by itself: what it has printed when that is enough, or when the
  // deadline is over.
  std::string RunUntil(const std::string& command, const std::string& enough) const {
    ProcessOptions options = Shell("exec " + command);
    options.output_path = directory_ + "/out";
    absl::StatusOr<Process> process = Process::Start(options);
    EXPECT_TRUE(process.ok()) << process.status();
    const auto deadline = std::chrono::steady_clock::now() + kServerDeadline;
    std::string text;
    while (std::chrono::steady_clock::now() < deadline) {
      text = ReadFile(options.output_path);
      if (text.size() >= enough.size()) break;
      std::this_thread::sleep_for(kPoll);
    }
    return text;
  }

  Server server_;
  const std::string directory_;
  std::string lease_;
  std::string shown_lease_;
};

TEST_F(ReadmeTourTest, ShowsWhatIsPrinted) {
  const std::vector<Step> steps = ReadTour();
  ASSERT_GE(steps.size(), 18u);
  ASSERT_EQ(steps.front().command, kRunServer);
  for (const Step& step : steps) {
    Play(step);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace cairn::test
