// Runs the simulation on members with one rule broken (mutants.bzl) until it is caught: exit code 0
// when a seed shows a violation or one of a member's own checks stops it, 1 when none does.
#include <fmt/format.h>
#include <glog/logging.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "test/sim/cluster.h"

namespace cairn::sim {
namespace {

// Enough for every mutant by a wide margin; most need a handful.
constexpr uint64_t kSeedsMax = 600;
constexpr int kSteps = 3000;

uint64_t current_seed = 0;

// The check has printed itself, on this thread and outside of any lock of the library.
extern "C" void StoppedByCheck(int) {
  fmt::print("caught by seed {}: a check stops the member\n", current_seed);
  std::fflush(stdout);
  std::_Exit(EXIT_SUCCESS);
}

int Hunt() {
  std::signal(SIGABRT, StoppedByCheck);
  FLAGS_minloglevel = google::GLOG_ERROR;
  for (current_seed = 1; current_seed <= kSeedsMax; ++current_seed) {
    Cluster cluster(current_seed);
    // One that recovers too slowly is no proof.
    if (cluster.Run(kSteps) != Verdict::kWrong) continue;
    fmt::print("caught by seed {}: {}\n", current_seed, cluster.finding());
    return EXIT_SUCCESS;
  }
  fmt::print("not caught in {} seeds\n", kSeedsMax);
  return EXIT_FAILURE;
}

}  // namespace
}  // namespace cairn::sim

int main() { return cairn::sim::Hunt(); }
