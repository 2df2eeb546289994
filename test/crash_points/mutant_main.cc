// Enumerates the crash points of a log and a member with one rule broken (//raft:mutants.bzl):
// exit code 0 when a promise is broken or a check of the code's own stops it, 1 when all hold.
#include <fmt/format.h>
#include <glog/logging.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "test/crash_points/log_points.h"
#include "test/crash_points/member_points.h"

namespace cairn::crash_points {
namespace {

// The check has printed itself, on this thread and outside of any lock of the library.
extern "C" void StoppedByCheck(int) {
  fmt::print("caught: a check stops it\n");
  std::fflush(stdout);
  std::_Exit(EXIT_SUCCESS);
}

int Hunt() {
  std::signal(SIGABRT, StoppedByCheck);
  FLAGS_minloglevel = google::GLOG_ERROR;
  uint64_t images = 0;
  for (const Bounds& bounds : {kFewBounds, Bounds()}) {
    Report report;
    for (const auto enumerate : {EnumerateLog, EnumerateInstallations, EnumerateTrimming}) {
      enumerate(bounds, report);
      if (report.violation().empty()) continue;
      fmt::print("caught after {} images: {}\n", images + report.Total().images,
                 report.violation());
      return EXIT_SUCCESS;
    }
    images += report.Total().images;
  }
  fmt::print("not caught: {} images\n", images);
  return EXIT_FAILURE;
}

}  // namespace
}  // namespace cairn::crash_points

int main() { return cairn::crash_points::Hunt(); }
