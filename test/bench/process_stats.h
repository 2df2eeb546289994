// What a process has cost: CPU time of another process or of this one.
//
// Reads /proc; holds nothing. Any thread.
#ifndef CAIRN_TEST_BENCH_PROCESS_STATS_H_
#define CAIRN_TEST_BENCH_PROCESS_STATS_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <string_view>

namespace cairn::bench {

// User and system time in ns from the text of /proc/PID/stat, whose command may hold any
// characters. `ticks_per_second` is the kernel's unit. DataLoss if the text is not of that form.
absl::StatusOr<int64_t> ParseCpuTimeNs(std::string_view stat, int64_t ticks_per_second);

// The CPU time that process `pid` and its threads have used, exited threads too, in steps of the
// kernel's tick (10 ms). NotFound if there is no such process.
absl::StatusOr<int64_t> CpuTimeNs(int32_t pid);

// Resident memory in bytes from the text of /proc/PID/status. DataLoss if it does not say.
absl::StatusOr<uint64_t> ParseResidentBytes(std::string_view status);

// What process `pid` has in memory. NotFound if there is no such process.
absl::StatusOr<uint64_t> ResidentBytes(int32_t pid);

// The CPU time of this process, exact.
int64_t OwnCpuTimeNs();

}  // namespace cairn::bench

#endif  // CAIRN_TEST_BENCH_PROCESS_STATS_H_
