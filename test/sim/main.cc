// Runs seeds of the simulated cluster: sim [--seeds=N] [--first-seed=N] [--steps=N]
//
// Exit codes: 0 good; 2 wrong (a promise was broken); 3 stuck (the faults ended and the cluster did
// not recover); 4 crash (a member's own check stopped it); 1 bad arguments. Whatever is not good is
// printed with the seed, the step and the last events.
#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "test/sim/cluster.h"

namespace cairn::sim {
namespace {

constexpr int kWrong = 2;
constexpr int kStuck = 3;
constexpr int kCrash = 4;

// For the handler of SIGABRT, which runs on the one thread there is.
uint64_t current_seed = 0;
const Cluster* current_cluster = nullptr;

void PrintEvents(const Cluster& cluster) {
  for (const std::string& event : cluster.last_events()) fmt::print("  {}\n", event);
}

extern "C" void Crashed(int) {
  fmt::print("seed {} crashed; the last events:\n", current_seed);
  if (current_cluster != nullptr) PrintEvents(*current_cluster);
  std::fflush(stdout);
  std::_Exit(kCrash);
}

void Add(Counts& total, const Counts& run) {
  total.applied += run.applied;
  total.acknowledged += run.acknowledged;
  total.reads += run.reads;
  total.elections += run.elections;
  total.lost += run.lost;
  total.repeated += run.repeated;
  total.killed += run.killed;
  total.powerless += run.powerless;
  total.cut += run.cut;
  total.clocks += run.clocks;
  total.compactions += run.compactions;
  total.trims += run.trims;
  total.log_reads += run.log_reads;
}

int Main(uint64_t first, uint64_t seeds, int steps) {
  std::signal(SIGABRT, Crashed);
  const auto start = std::chrono::steady_clock::now();
  Counts total;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    Cluster cluster(seed);
    current_seed = seed;
    current_cluster = &cluster;
    const Verdict verdict = cluster.Run(steps);
    Add(total, cluster.counts());
    current_cluster = nullptr;
    if (verdict == Verdict::kGood) continue;
    fmt::print("seed {}: {}\nthe last events:\n", seed, cluster.finding());
    PrintEvents(cluster);
    return verdict == Verdict::kStuck ? kStuck : kWrong;
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  fmt::print(
      "{} seeds of {} steps, {:.0f} a second: {} entries applied, {} acknowledged, {} reads, {} "
      "elections\nmessages lost {}, repeated {}; killed {}, powerless {}, cut {}, clocks {}, "
      "compactions {}, trims {}, log reads {}\n",
      seeds, steps, static_cast<double>(seeds) / elapsed.count(), total.applied, total.acknowledged,
      total.reads, total.elections, total.lost, total.repeated, total.killed, total.powerless,
      total.cut, total.clocks, total.compactions, total.trims, total.log_reads);
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace cairn::sim

int main(int argc, char** argv) {
  uint64_t first = 1;
  uint64_t seeds = 200;
  uint64_t steps = 3000;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const size_t equals = argument.find('=');
    const std::string_view name = argument.substr(0, equals);
    const std::string value(equals == argument.npos ? "" : argument.substr(equals + 1));
    uint64_t* const target = name == "--seeds"        ? &seeds
                             : name == "--first-seed" ? &first
                             : name == "--steps"      ? &steps
                                                      : nullptr;
    if (target == nullptr || value.empty()) {
      fmt::print(stderr, "usage: sim [--seeds=N] [--first-seed=N] [--steps=N]\n");
      return EXIT_FAILURE;
    }
    *target = std::strtoull(value.c_str(), nullptr, 10);
  }
  return cairn::sim::Main(first, seeds, static_cast<int>(steps));
}
