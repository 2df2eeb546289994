// Enumerates the crash points of the log and of a member, prints every durable step with what was
// tried there, and ends with 1 when a promise was broken or a step is not met any more.
//
//   --long    tries more of what a crash may keep (kLongBounds): minutes instead of seconds
#include <fmt/format.h>
#include <glog/logging.h>

#include <chrono>
#include <cstdlib>
#include <string_view>

#include "test/crash_points/log_points.h"
#include "test/crash_points/member_points.h"

namespace cairn::crash_points {
namespace {

struct Part {
  std::string_view name;
  void (*enumerate)(const Bounds& bounds, Report& report);
};
constexpr Part kParts[] = {{"log", EnumerateLog},
                           {"installation", EnumerateInstallations},
                           {"trimming", EnumerateTrimming}};

int Run(const Bounds& bounds) {
  Report report;
  int failed = 0;
  for (const Part& part : kParts) {
    const auto begun = std::chrono::steady_clock::now();
    part.enumerate(bounds, report);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begun;
    fmt::print("{}: {:.1f} s\n", part.name, taken.count());
    if (!report.violation().empty()) {
      fmt::print("FAILED {}: {}\n", part.name, report.violation());
      ++failed;
      break;
    }
  }
  report.Print();
  if (failed == 0) {
    for (const auto& steps : {LogSteps(), MemberSteps()}) {
      for (const std::string& step : report.Missing(steps)) {
        fmt::print("FAILED: no crash point before \"{}\" any more\n", step);
        ++failed;
      }
    }
  }
  const Report::Row total = report.Total();
  fmt::print("{} passed, {} failed: {} steps, {} crash points, {} images started from\n",
             std::size(kParts) - (failed > 0), failed, report.rows().size(), total.points,
             total.images);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace cairn::crash_points

int main(int count, char** arguments) {
  FLAGS_minloglevel = google::GLOG_ERROR;
  const bool is_long = count > 1 && std::string_view(arguments[1]) == "--long";
  if (count > 2 || (count == 2 && !is_long)) {
    fmt::print(stderr, "usage: crash_points [--long]\n");
    return 2;
  }
  return cairn::crash_points::Run(is_long ? cairn::crash_points::kLongBounds
                                          : cairn::crash_points::Bounds());
}
