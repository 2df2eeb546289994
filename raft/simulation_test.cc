// Many seeds of simulation.h. One of them again, with everything that happened in it:
//   CAIRN_RAFT_FIRST_SEED=17 CAIRN_RAFT_SEEDS=1 CAIRN_RAFT_STORY=1 bazel-bin/raft/simulation_test
#include "raft/simulation.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

namespace cairn::raft {
namespace {

// What a failure shows of what led to it.
constexpr size_t kStoryLines = 60;

uint64_t FromEnvironment(const char* name, uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 10);
}

// The end of the story of a seed that failed: the same seed is the same run.
std::string StoryOf(uint64_t seed) {
  Simulation again(seed, /*keeps_story=*/true);
  again.Run();
  const std::vector<std::string>& story = again.cluster().story;
  std::string text;
  for (size_t i = story.size() - std::min(story.size(), kStoryLines); i < story.size(); ++i) {
    text += "  " + story[i] + "\n";
  }
  return text;
}

// A failed check of the core itself ends the process: say at least whose run it was.
uint64_t current_seed = 0;
extern "C" void NameSeed(int) { fmt::print(stderr, "seed {}\n", current_seed); }

TEST(RaftSimulation, KeepsItsInvariantsAndRecovers) {
  const uint64_t first = FromEnvironment("CAIRN_RAFT_FIRST_SEED", 1);
  const uint64_t seeds = FromEnvironment("CAIRN_RAFT_SEEDS", 300);
  const bool keeps_story = FromEnvironment("CAIRN_RAFT_STORY", 0) != 0;
  std::signal(SIGABRT, NameSeed);
  std::map<TraceKind, uint64_t> traced;
  std::map<Simulation::Fault, uint64_t> faults;
  uint64_t applied = 0;
  uint64_t reads = 0;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    current_seed = seed;
    Simulation simulation(seed, keeps_story);
    const std::string violation = simulation.Run();
    ASSERT_EQ(violation, "") << "seed " << seed << "; the last events:\n" << StoryOf(seed);
    for (const auto& [kind, count] : simulation.cluster().traced) traced[kind] += count;
    for (const auto& [fault, count] : simulation.faults()) faults[fault] += count;
    applied += simulation.cluster().checker.committed().value();
    reads += simulation.cluster().reads_answered.size();
    for (const std::string& line : simulation.cluster().story) fmt::print("{}\n", line);
  }
  fmt::print("{} seeds: {} entries committed, {} reads answered\n", seeds, applied, reads);
  for (const auto& [kind, count] : traced) fmt::print("  event {}: {}\n", int(kind), count);
  for (const auto& [fault, count] : faults) fmt::print("  fault {}: {}\n", int(fault), count);
  if (seeds < 100) return;
  // A run that never meets a fault proves nothing.
  for (int kind = 0; kind <= static_cast<int>(TraceKind::kLogStalled); ++kind) {
    EXPECT_GT(traced[static_cast<TraceKind>(kind)], 0u) << "event " << kind << " never happened";
  }
  for (int fault = 0; fault <= static_cast<int>(Simulation::Fault::kLate); ++fault) {
    EXPECT_GT(faults[static_cast<Simulation::Fault>(fault)], seeds / 10) << "fault " << fault;
  }
  EXPECT_GT(reads, seeds * 10);
  EXPECT_GT(applied, seeds * 20);
}

TEST(RaftSimulation, TheSameSeedIsTheSameRun) {
  size_t lines = 0;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    Simulation one(seed, true);
    Simulation two(seed, true);
    EXPECT_EQ(one.Run(), two.Run());
    EXPECT_EQ(one.cluster().story, two.cluster().story);
    lines += one.cluster().story.size();
  }
  EXPECT_GT(lines, 5000u);
}

}  // namespace
}  // namespace cairn::raft
