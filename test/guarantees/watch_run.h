// A run of many watchers against a server under random writes, compactions, slow readers,
// reconnections and kills, and the verdict over what each was told.
//
// One thread drives the server (see process.h); writers and watchers have threads of their own.
#ifndef CAIRN_TEST_GUARANTEES_WATCH_RUN_H_
#define CAIRN_TEST_GUARANTEES_WATCH_RUN_H_

#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>

#include "test/guarantees/watch_promises.h"
#include "test/harness/target.h"

namespace cairn::test {

struct WatchRunOptions {
  uint64_t seed = 0;
  int watchers = 24;
  int writers = 3;
  // Writing between two kills, and how many kills.
  std::chrono::milliseconds round{1500};
  int kills = 2;
};

struct WatchRunReport {
  Violations violations;
  int64_t revisions = 0;
  int64_t events = 0;
  int64_t promises = 0;
  int64_t connections = 0;
  int64_t compacted = 0;
  int64_t compactions = 0;
};

// An error if the server could not be started, ended by itself, or left a watcher behind for ever.
absl::StatusOr<WatchRunReport> RunWatchers(const Target& target, const WatchRunOptions& options);

}  // namespace cairn::test

#endif  // CAIRN_TEST_GUARANTEES_WATCH_RUN_H_
