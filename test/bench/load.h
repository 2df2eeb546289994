// The load itself: many clients in one thread on one gRPC completion queue.
//
// One thread, asynchronous calls and raw bytes, because the measurement is worth something only as
// long as the server's core is full before the client's. Nothing is retried: an error is counted
// and the run goes on, so that a run with errors can be refused as a whole. The caller's thread
// does everything; RequestStop may be called by a signal handler.
#ifndef CAIRN_TEST_BENCH_LOAD_H_
#define CAIRN_TEST_BENCH_LOAD_H_

#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "test/bench/histogram.h"
#include "test/bench/options.h"
#include "test/bench/wire.h"

namespace cairn::bench {

// What the measured part of a run showed.
struct Report {
  uint64_t requests = 0;  // answered without an error
  uint64_t errors = 0;
  std::string first_error;
  double seconds = 0;
  // From the moment a request was due: in an open loop that is its place in the schedule, so a
  // server that stalls is charged for every request that had to wait behind the stall.
  Histogram latency_ns;
  uint64_t response_bytes = 0;
  int64_t client_cpu_ns = 0;
  std::optional<int64_t> server_cpu_ns;
  // Of the first request of the run, warm-up included.
  Answer answer;
  // What only some operations have, by the name it has in the result.
  std::vector<std::pair<std::string, double>> extra;
};

// What the measured part of a run costs in time and CPU.
class Meter {
 public:
  // From now on. The CPU of `server_pids` is summed; none: it is not counted. NotFound if there is
  // no such process.
  static absl::StatusOr<Meter> Begin(const std::vector<int32_t>& server_pids);
  // Until now: fills in seconds and CPU.
  absl::Status End(Report& report) const;

 private:
  std::vector<int32_t> server_pids_;
  std::chrono::steady_clock::time_point start_;
  int64_t client_cpu_ns_ = 0;
  int64_t server_cpu_ns_ = 0;
};

// Runs the load to its bounds. Unavailable if nobody accepts connections, FailedPrecondition if the
// first range does not count what was expected, NotFound if the server's process is gone.
absl::StatusOr<Report> RunLoad(const Options& options);

// Ends a running load at its next answer, as if its time were over. Safe in a signal handler.
void RequestStop();
bool StopRequested();

// Asks for the first key until a linearizable read is answered and returns the monotonic clock's
// time of that moment in ns. Attempts are refused connections mostly, 1 ms apart.
// DeadlineExceeded after options.limit_seconds.
absl::StatusOr<int64_t> WaitForFirstRead(const Options& options);

}  // namespace cairn::bench

#endif  // CAIRN_TEST_BENCH_LOAD_H_
