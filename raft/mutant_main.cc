// Runs the simulation on a core with one rule broken (mutants.bzl) until it is caught: exit code 0
// when a seed shows a violation or one of the core's own checks stops it, 1 when none does.
#include <fmt/format.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "raft/simulation.h"

namespace cairn::raft {
namespace {

// Enough for every mutant by a wide margin; most need a handful.
constexpr uint64_t kSeedsMax = 3000;

uint64_t current_seed = 0;

// The check has printed itself, on this thread and outside of any lock of the library.
extern "C" void StoppedByCheck(int) {
  fmt::print("caught by seed {}: a check stops the member\n", current_seed);
  std::fflush(stdout);
  std::_Exit(EXIT_SUCCESS);
}

int Hunt() {
  std::signal(SIGABRT, StoppedByCheck);
  for (current_seed = 1; current_seed <= kSeedsMax; ++current_seed) {
    const std::string violation = Simulation(current_seed).Run();
    if (violation.empty()) continue;
    fmt::print("caught by seed {}: {}\n", current_seed, violation);
    return EXIT_SUCCESS;
  }
  fmt::print("not caught in {} seeds\n", kSeedsMax);
  return EXIT_FAILURE;
}

}  // namespace
}  // namespace cairn::raft

int main() { return cairn::raft::Hunt(); }
