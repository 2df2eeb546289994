// Plays seeded streams of random KV operations into a real etcd and into a server under test and
// compares every answer, and what watchers are told of them. Exit codes: 0 no difference (or
// SKIPPED, said so), 1 differences, 2 usage or a server that would not run.
#include <gflags/gflags.h>

#include <cstdio>

#include "base/status.h"
#include "test/differential/session.h"

DEFINE_string(server, "", "the server under test");
DEFINE_string(reference, "reference",
              "the etcd to compare with: a path, or `reference` for the one the tests fetch");
DEFINE_uint64(first_seed, 1, "the first seed");
DEFINE_uint64(seeds, 1, "how many seeds to play");
DEFINE_int64(operations, 2000, "operations per seed");
DEFINE_bool(restart, true, "restart both servers after each round of 1000 operations");
DEFINE_bool(watches, false, "compare watchers too: operations come in bursts beside them");
DEFINE_bool(trace, false, "print every operation and its answer");

namespace cairn::test {
namespace {

void PrintSeed(uint64_t seed, const SessionReport& report) {
  std::printf(
      "seed %llu: %lld operations in %.1f s (%.0f/s), %lld errors agreed, %lld hashes, "
      "%lld by the allow-list, %lld restarts, revision %lld, %lld differences\n",
      static_cast<unsigned long long>(seed), static_cast<long long>(report.operations),
      report.seconds, static_cast<double>(report.operations) / report.seconds,
      static_cast<long long>(report.errors), static_cast<long long>(report.hashes),
      static_cast<long long>(report.allowed), static_cast<long long>(report.restarts),
      static_cast<long long>(report.last_revision), static_cast<long long>(report.differences));
  const WatchCounts& watches = report.watches;
  if (watches.settled > 0) {
    std::printf(
        "  %lld comparisons of %lld streams: %lld watchers, %lld refused, %lld cancelled, %lld "
        "compacted, %lld events, %lld fragmented, %lld progress answers, %lld silences, %lld "
        "notifications\n",
        static_cast<long long>(watches.settled), static_cast<long long>(watches.streams),
        static_cast<long long>(watches.watchers), static_cast<long long>(watches.refused),
        static_cast<long long>(watches.cancelled), static_cast<long long>(watches.compacted),
        static_cast<long long>(watches.events), static_cast<long long>(watches.fragmented),
        static_cast<long long>(watches.progress), static_cast<long long>(watches.silences),
        static_cast<long long>(watches.notifications));
  }
  std::fflush(stdout);
}

void Add(const SessionReport& report, SessionReport& total) {
  total.operations += report.operations;
  total.differences += report.differences;
  total.seconds += report.seconds;
  for (const auto& [name, counts] : report.counts) {
    total.counts[name][0] += counts[0];
    total.counts[name][1] += counts[1];
  }
}

int Main(int argc, char** argv) {
  gflags::ParseCommandLineFlags(&argc, &argv, /*remove_flags=*/true);
  const absl::StatusOr<Target> under_test = ResolveTarget(FLAGS_server);
  if (!under_test.ok()) {
    std::fprintf(stderr, "%s\n", std::string(base::Message(under_test.status())).c_str());
    return 2;
  }
  absl::StatusOr<Target> reference = ResolveTarget(FLAGS_reference);
  if (!reference.ok()) {
    if (reference.status().code() != absl::StatusCode::kNotFound) return 2;
    ReportSkipped(base::Message(reference.status()));
    return 0;
  }
  reference->is_reference = true;
  SessionReport total;
  for (uint64_t seed = FLAGS_first_seed; seed < FLAGS_first_seed + FLAGS_seeds; ++seed) {
    const absl::StatusOr<SessionReport> report = PlaySeed(*reference, *under_test,
                                                          {.seed = seed,
                                                           .operations = FLAGS_operations,
                                                           .restart = FLAGS_restart,
                                                           .watches = FLAGS_watches,
                                                           .trace = FLAGS_trace});
    if (!report.ok()) {
      std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed),
                  std::string(base::Message(report.status())).c_str());
      return 2;
    }
    PrintSeed(seed, *report);
    Add(*report, total);
  }
  for (const auto& [name, counts] : total.counts) {
    std::printf("%-12s %8lld answered %8lld refused\n", name.c_str(),
                static_cast<long long>(counts[0]), static_cast<long long>(counts[1]));
  }
  std::printf("%lld operations, %.0f/s, %lld differences\n",
              static_cast<long long>(total.operations),
              static_cast<double>(total.operations) / total.seconds,
              static_cast<long long>(total.differences));
  return total.differences == 0 ? 0 : 1;
}

}  // namespace
}  // namespace cairn::test

int main(int argc, char** argv) { return cairn::test::Main(argc, argv); }
