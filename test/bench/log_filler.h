// Gives a stopped member a log that its state knows nothing of.
//
// A running server makes its state durable long before the log is large, so what a restart can at
// most replay is short, and the rate of it hard to tell. This appends puts to a stopped member's
// log as the server would have: the same entries, written and synced in batches by the log library
// itself. The next start has to apply them all. The caller's thread does everything.
#ifndef CAIRN_TEST_BENCH_LOG_FILLER_H_
#define CAIRN_TEST_BENCH_LOG_FILLER_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>

#include "test/bench/options.h"
#include "wal/fs.h"

namespace cairn::bench {

struct LogFill {
  uint64_t entries = 0;
  uint64_t bytes = 0;  // Of their batches in the log, padding included.
};

// Appends the first `options.total` requests of the load that `options` describe, which are puts,
// to the log in `directory`, whose member must not run, and says in it that all of them are
// committed. InvalidArgument for other loads; otherwise what the log says.
absl::StatusOr<LogFill> FillLog(wal::Fs& fs, const std::string& directory, const Options& options);

}  // namespace cairn::bench

#endif  // CAIRN_TEST_BENCH_LOG_FILLER_H_
