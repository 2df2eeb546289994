// Runs seeds of the simulated cluster:
//   sim [--seeds=N] [--first-seed=N] [--steps=N] [--story] [--regressions]
//
// Exit codes: 0 good; 2 wrong (a promise was broken); 3 stuck (the faults ended and the cluster did
// not recover); 4 crash (a member's own check stopped it); 1 bad arguments. Whatever is not good is
// printed with the seed, the step and the last events. Under Bazel's test sharding each shard takes
// its part of the seeds.
#include <fmt/format.h>
#include <glog/logging.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "test/sim/cluster.h"
#include "test/sim/regressions.h"

namespace cairn::sim {
namespace {

constexpr int kWrong = 2;
constexpr int kStuck = 3;
constexpr int kCrash = 4;

// One in so many seeds is run twice: the same seed must be the same run.
constexpr uint64_t kTwiceEach = 50;
// With so many steps each kind of thing must have happened.
constexpr uint64_t kStepsForAll = 500'000;

struct Arguments {
  uint64_t first = 1;
  uint64_t seeds = 200;
  uint64_t steps = 3000;
  bool tells_story = false;
  bool has_regressions = false;
  // Seeds of this shard: those that leave `shard` when divided by `shards`.
  uint64_t shard = 0;
  uint64_t shards = 1;
};

// For the handler of SIGABRT, which runs on the one thread there is.
uint64_t current_seed = 0;
const Cluster* current_cluster = nullptr;

void PrintEvents(const Cluster& cluster) {
  for (const std::string& event : cluster.last_events()) fmt::print("  {}\n", event);
}

void PrintReplay(uint64_t seed, int steps) {
  fmt::print("again: ./bazelw run //test/sim -- --first-seed={} --seeds=1 --steps={} --story\n",
             seed, steps);
}

extern "C" void Crashed(int) {
  fmt::print("seed {} crashed; the last events:\n", current_seed);
  if (current_cluster != nullptr) PrintEvents(*current_cluster);
  std::fflush(stdout);
  std::_Exit(kCrash);
}

struct Total {
  Counts counts;
  Microseconds simulated = 0;
  uint64_t seeds = 0;
};

// 0, or the exit code.
int RunSeed(uint64_t seed, int steps, bool tells_story, Total& total) {
  const bool is_twice = seed % kTwiceEach == 0;
  uint64_t first_hash = 0;
  for (int run = 0; run < (is_twice ? 2 : 1); ++run) {
    Cluster cluster(seed, tells_story);
    current_seed = seed;
    current_cluster = &cluster;
    const Verdict verdict = cluster.Run(steps);
    current_cluster = nullptr;
    if (verdict != Verdict::kGood) {
      fmt::print("seed {}: {}\nthe last events:\n", seed, cluster.finding());
      PrintEvents(cluster);
      PrintReplay(seed, steps);
      return verdict == Verdict::kStuck ? kStuck : kWrong;
    }
    if (run == 1 && cluster.trace_hash() != first_hash) {
      fmt::print("seed {} is not the same run twice\n", seed);
      return kWrong;
    }
    first_hash = cluster.trace_hash();
    if (run == 1) return 0;
    total.counts.Add(cluster.counts());
    total.simulated += cluster.simulated();
    ++total.seeds;
  }
  return 0;
}

int Main(const Arguments& arguments) {
  std::signal(SIGABRT, Crashed);
  // Members tell of each torn tail and more.
  FLAGS_minloglevel = google::GLOG_ERROR;
  const auto start = std::chrono::steady_clock::now();
  Total total;
  if (arguments.has_regressions && arguments.shard == 0) {
    for (const Regression& regression : kRegressions) {
      const int code = RunSeed(regression.seed, regression.steps, false, total);
      if (code != 0) return code;
    }
  }
  const int steps = static_cast<int>(arguments.steps);
  for (uint64_t seed = arguments.first; seed < arguments.first + arguments.seeds; ++seed) {
    if (seed % arguments.shards != arguments.shard) continue;
    const int code = RunSeed(seed, steps, arguments.tells_story, total);
    if (code != 0) return code;
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  fmt::print("{} seeds of {} steps in {:.1f} s, {:.1f} seeds a second; {} s simulated\n{}\n",
             total.seeds, steps, elapsed.count(),
             static_cast<double>(total.seeds) / elapsed.count(), total.simulated / kSecond,
             total.counts.Text());
  const std::string missing = total.counts.Missing();
  if (!missing.empty() && total.seeds * arguments.steps >= kStepsForAll) {
    fmt::print("never happened: {}\n", missing);
    return kWrong;
  }
  return EXIT_SUCCESS;
}

uint64_t FromEnvironment(const char* name, uint64_t fallback) {
  const char* const text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 10);
}

int ParseAndRun(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const size_t equals = argument.find('=');
    const std::string_view name = argument.substr(0, equals);
    const std::string value(equals == argument.npos ? "" : argument.substr(equals + 1));
    uint64_t* const number = name == "--seeds"        ? &arguments.seeds
                             : name == "--first-seed" ? &arguments.first
                             : name == "--steps"      ? &arguments.steps
                                                      : nullptr;
    bool* const is_on = argument == "--story"         ? &arguments.tells_story
                        : argument == "--regressions" ? &arguments.has_regressions
                                                      : nullptr;
    if (number != nullptr && !value.empty()) {
      *number = std::strtoull(value.c_str(), nullptr, 10);
    } else if (is_on != nullptr) {
      *is_on = true;
    } else {
      fmt::print(stderr,
                 "usage: sim [--seeds=N] [--first-seed=N] [--steps=N] [--story] [--regressions]\n");
      return EXIT_FAILURE;
    }
  }
  arguments.shards = FromEnvironment("TEST_TOTAL_SHARDS", 1);
  arguments.shard = FromEnvironment("TEST_SHARD_INDEX", 0);
  if (const char* const file = std::getenv("TEST_SHARD_STATUS_FILE")) {
    if (std::FILE* const touched = std::fopen(file, "w")) std::fclose(touched);
  }
  return Main(arguments);
}

}  // namespace
}  // namespace cairn::sim

int main(int argc, char** argv) { return cairn::sim::ParseAndRun(argc, argv); }
