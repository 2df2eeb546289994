// A run of many watchers against a server under random writes, compactions, slow readers,
// reconnections and kills, and the verdict over what each was told.
//
// A heavy run takes the server off its easy paths: values so large that responses come in
// fragments, and readers that stop until the server has dropped what it kept for them, and then
// must read history, across kills too.
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
  bool is_heavy = false;
};

struct WatchRunReport {
  Violations violations;
  int64_t revisions = 0;
  int64_t events = 0;
  int64_t promises = 0;
  int64_t connections = 0;
  int64_t compacted = 0;
  int64_t compactions = 0;
  // Pieces of responses but for the last of each.
  int64_t fragments = 0;
  // Watchers seen to fall behind (of Cairn, in a heavy run). Those that nobody saw do not count.
  int64_t fallen = 0;
};

// An error if the server could not be started, ended by itself, left a watcher behind for ever, or
// was not brought where a heavy run is to bring it.
absl::StatusOr<WatchRunReport> RunWatchers(const Target& target, const WatchRunOptions& options);

}  // namespace cairn::test

#endif  // CAIRN_TEST_GUARANTEES_WATCH_RUN_H_
