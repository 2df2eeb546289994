#include "test/bench/process_stats.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <string>

#include "base/status.h"

namespace cairn::bench {

absl::StatusOr<int64_t> ParseCpuTimeNs(std::string_view stat, int64_t ticks_per_second) {
  constexpr int kUserField = 14;  // counted from 1, as proc(5) does; system time follows
  const auto bad = [&] {
    return base::Error(absl::StatusCode::kDataLoss, "not a /proc/PID/stat line: {}", stat);
  };
  // The command stands in parentheses and may hold spaces and parentheses itself.
  const size_t command_end = stat.rfind(") ");
  if (command_end == stat.npos) return bad();
  std::string_view rest = stat.substr(command_end + 2);
  for (int field = 3; field < kUserField; ++field) {
    const size_t space = rest.find(' ');
    if (space == rest.npos) return bad();
    rest.remove_prefix(space + 1);
  }
  int64_t user = 0;
  int64_t system = 0;
  const char* const end = rest.data() + rest.size();
  const auto [after_user, user_error] = std::from_chars(rest.data(), end, user);
  if (user_error != std::errc() || after_user == end || *after_user != ' ') return bad();
  const auto [after, system_error] = std::from_chars(after_user + 1, end, system);
  if (system_error != std::errc()) return bad();
  return (user + system) * (1'000'000'000 / ticks_per_second);
}

absl::StatusOr<int64_t> CpuTimeNs(int32_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  if (!file) return base::Error(absl::StatusCode::kNotFound, "no process {}", pid);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  return ParseCpuTimeNs(text, sysconf(_SC_CLK_TCK));
}

absl::StatusOr<uint64_t> ParseResidentBytes(std::string_view status) {
  constexpr std::string_view kName = "\nVmRSS:";
  const size_t name = status.find(kName);
  if (name != status.npos) {
    std::string_view rest = status.substr(name + kName.size());
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
    uint64_t kib = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), kib);
    if (error == std::errc() && rest.substr(end - rest.data()).starts_with(" kB\n")) {
      return kib << 10;
    }
  }
  return base::Error(absl::StatusCode::kDataLoss, "no VmRSS in /proc/PID/status");
}

absl::StatusOr<uint64_t> ResidentBytes(int32_t pid) {
  std::ifstream file(fmt::format("/proc/{}/status", pid));
  if (!file) return base::Error(absl::StatusCode::kNotFound, "no process {}", pid);
  return ParseResidentBytes(std::string(std::istreambuf_iterator<char>(file), {}));
}

int64_t OwnCpuTimeNs() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

}  // namespace cairn::bench
