// Runs watchers against a server, seed after seed: --server=PATH|reference --seed=N --seeds=N
// --kills=N --round_ms=N. Every third seed is a heavy run (watch_run.h): 2, 5, 8 and so on. Exit
// code 1 when a promise was broken.
#include <fmt/format.h>
#include <gflags/gflags.h>

#include <chrono>

#include "test/guarantees/watch_run.h"
#include "test/harness/target.h"

DEFINE_string(server, "", "The server under test: a path, or \"reference\".");
DEFINE_uint64(seed, 1, "The first seed.");
DEFINE_uint64(seeds, 1, "How many.");
DEFINE_int32(kills, 2, "SIGKILLs of each seed.");
DEFINE_int32(round_ms, 1500, "Writing before each kill.");

int main(int argc, char** argv) {
  gflags::ParseCommandLineFlags(&argc, &argv, true);
  const auto target = cairn::test::ResolveTarget(FLAGS_server);
  if (!target.ok()) {
    cairn::test::ReportSkipped(std::string(target.status().message()));
    return 0;
  }
  bool has_failed = false;
  for (uint64_t seed = FLAGS_seed; seed < FLAGS_seed + FLAGS_seeds; ++seed) {
    const auto begin = std::chrono::steady_clock::now();
    const auto report =
        cairn::test::RunWatchers(*target, {.seed = seed,
                                           .round = std::chrono::milliseconds(FLAGS_round_ms),
                                           .kills = FLAGS_kills,
                                           .is_heavy = seed % 3 == 2});
    const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin);
    if (!report.ok()) {
      fmt::print("seed {}: {}\n", seed, std::string(report.status().message()));
      has_failed = true;
      continue;
    }
    fmt::print(
        "seed {}: {} revisions, {} events told, {} promises, {} connections, {} compactions, {} "
        "watchers overtaken, {} violations, {:.1f} s\n",
        seed, report->revisions, report->events, report->promises, report->connections,
        report->compactions, report->compacted, report->violations.size(), seconds.count());
    if (report->fragments > 0) {
      fmt::print("  {} fragments, {} watchers seen to fall behind\n", report->fragments,
                 report->fallen);
    }
    for (size_t i = 0; i < report->violations.size() && i < 10; ++i) {
      fmt::print("  {}\n", report->violations[i]);
    }
    has_failed |= !report->violations.empty();
  }
  return has_failed ? 1 : 0;
}
