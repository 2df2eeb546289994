// Watchers on held streams, and puts that they see.
//
// Every event is read: each watcher must be given its events in order, exactly once, or the run
// fails with an error. Values carry the moment they were sent, so an event's delay is the time from
// there until it was read. Puts go out on connections of their own, as other processes' would.
#ifndef CAIRN_TEST_BENCH_WATCH_LOAD_H_
#define CAIRN_TEST_BENCH_WATCH_LOAD_H_

#include <absl/status/statusor.h>

#include "test/bench/load.h"
#include "test/bench/options.h"

namespace cairn::bench {

// Opens the streams, creates their watchers, puts a warm-up and then the measured part, and waits
// after each until every event has come. Requests of the report are events and its latencies are
// their delays; `extra` tells of puts, memory and stopped streams. The server must have nobody else
// writing into the key space.
//
// Errors as RunLoad; DataLoss for an event out of order, twice, or of a key nobody watches;
// DeadlineExceeded if the server stops delivering with events missing.
absl::StatusOr<Report> RunWatch(const Options& options);

}  // namespace cairn::bench

#endif  // CAIRN_TEST_BENCH_WATCH_LOAD_H_
