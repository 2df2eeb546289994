#include "test/harness/target.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/status.h"

namespace cairn::test {
namespace {

// In the runfiles, where Bazel starts tests and `bazel run` starts programs.
constexpr char kFetchScript[] = "test/reference/fetch_etcd";
// A download over a slow line; ten tests may wait for one of them to fetch.
constexpr std::chrono::minutes kFetchDeadline{10};

}  // namespace

EtcdVersion ParseVersion(std::string_view text) {
  EtcdVersion version;
  const std::string copy(text);
  if (std::sscanf(copy.c_str(), "%d.%d.%d", &version.major, &version.minor, &version.patch) < 3) {
    return {};
  }
  return version;
}

absl::StatusOr<std::string> FindReference() {
  ProcessOptions options;
  options.argv = {std::filesystem::absolute(kFetchScript).string()};
  CAIRN_ASSIGN_OR_RETURN(const CommandResult result, RunCommand(options, {}, kFetchDeadline));
  std::fputs(result.err.c_str(), stderr);
  if (result.exit != ExitState{}) {
    return base::Error(absl::StatusCode::kNotFound, "no reference etcd: {}", result.err);
  }
  return result.out.substr(0, result.out.find('\n'));
}

absl::StatusOr<Target> ResolveTarget(const std::string& server) {
  if (server.empty()) {
    return base::Error(absl::StatusCode::kInvalidArgument,
                       "name the server: --server=PATH or --server=reference");
  }
  if (server == "reference") {
    CAIRN_ASSIGN_OR_RETURN(std::string path, FindReference());
    return Target{.binary = std::move(path), .is_reference = true};
  }
  std::error_code error;
  const std::filesystem::path path = std::filesystem::absolute(server, error);
  if (access(path.c_str(), X_OK) != 0) {
    return base::Error(absl::StatusCode::kInvalidArgument, "--server={} is no executable file",
                       server);
  }
  return Target{.binary = path.string(), .is_reference = false};
}

void ReportSkipped(std::string_view reason) {
  std::string line = fmt::format("SKIPPED: {}", reason);
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::printf("%s\n", line.c_str());
  // Bazel repeats the lines of this file in its own output.
  if (const char* path = std::getenv("TEST_WARNINGS_OUTPUT_FILE")) {
    std::ofstream(path, std::ios::app) << line << '\n';
  }
}

std::string NotifyIntervalFlag(const Target& target, std::string_view interval) {
  constexpr std::string_view kBefore = "etcd Version: ";
  bool is_old = false;
  if (target.is_reference) {
    const absl::StatusOr<CommandResult> result = RunCommand({.argv = {target.binary, "--version"}});
    const std::string printed = result.ok() ? result->out : "";
    const size_t at = printed.find(kBefore);
    is_old =
        at != std::string::npos &&
        ParseVersion(std::string_view(printed).substr(at + kBefore.size())) < EtcdVersion{3, 6, 0};
  }
  return fmt::format("--{}watch-progress-notify-interval={}", is_old ? "experimental-" : "",
                     interval);
}

ServerOptions OptionsFor(const Target& target, std::string label) {
  ServerOptions options;
  options.binary = target.binary;
  options.label = std::move(label);
  // Only its answers count; without syncs they come sooner.
  if (target.is_reference) options.extra_flags = {"--unsafe-no-fsync", "--log-level=error"};
  return options;
}

}  // namespace cairn::test
