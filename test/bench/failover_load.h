// Puts and linearizable gets that outlive the member they were sent to: for how long a cluster
// answers nobody while its members come and go, and whether it keeps what it has acknowledged.
#ifndef CAIRN_TEST_BENCH_FAILOVER_LOAD_H_
#define CAIRN_TEST_BENCH_FAILOVER_LOAD_H_

#include <absl/status/statusor.h>

#include "test/bench/load.h"
#include "test/bench/options.h"

namespace cairn::bench {

// Every client owns one key and puts and gets it in turn, at `rate` requests a second of all
// together. An attempt that fails, or takes longer than `attempt_ms`, is made again at the next
// endpoint, a put with a new value. After `give_up_ms` the request
// counts as failed. A get must find what was put, and at the end all that was acknowledged is
// looked for. Channels reconnect by themselves, one to each endpoint.
//
// `extra` has: put_gap_ms, get_gap_ms (the longest time in which none was answered, and
// put_gap_begin_ns: when the former began, on the monotonic clock), retried (attempts that failed),
// failed_puts, failed_gets, lost (clients whose acknowledged put is missing at the end), stale
// (gets that found less than was acknowledged, and revisions that fell).
//
// Unavailable if the cluster cannot be asked at the end what it holds.
absl::StatusOr<Report> RunFailover(const Options& options);

}  // namespace cairn::bench

#endif  // CAIRN_TEST_BENCH_FAILOVER_LOAD_H_
