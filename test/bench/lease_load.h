// Leases: renewals on held streams, and many that end at once.
#ifndef CAIRN_TEST_BENCH_LEASE_LOAD_H_
#define CAIRN_TEST_BENCH_LEASE_LOAD_H_

#include <absl/status/statusor.h>

#include "test/bench/load.h"
#include "test/bench/options.h"

namespace cairn::bench {

// Renews the leases [1, leases] in turn on streams that stay open, one renewal in flight on each.
// The leases exist already (kGrant). Errors as RunLoad; NotFound for a lease that is gone.
absl::StatusOr<Report> RunHeldKeepAlive(const Options& options);

// Grants `leases` leases of one TTL, gives each a key, and watches the keys go while puts at `rate`
// go on. Requests of the report are leases and its latencies how late their keys were seen to go;
// `extra` tells of the puts before and meanwhile.
//
// Errors as RunLoad; FailedPrecondition if the TTL is too short to prepare all leases within it,
// DataLoss if a key goes before its time, DeadlineExceeded if they stop going.
absl::StatusOr<Report> RunExpiry(const Options& options);

}  // namespace cairn::bench

#endif  // CAIRN_TEST_BENCH_LEASE_LOAD_H_
