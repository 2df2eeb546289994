// How long a sync of the log takes, in the log's own segments and in a file that grows.
//
// A segment is filled with zeros before its use, so that a write into it changes no metadata and
// its sync is one flush of the disk. This tells what that is worth on a disk. The caller's thread
// does everything; both files are gone afterwards.
#ifndef CAIRN_TEST_BENCH_SYNC_PROBE_H_
#define CAIRN_TEST_BENCH_SYNC_PROBE_H_

#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "wal/fs.h"

namespace cairn::bench {

// Of all pairs, median.
struct SyncTimes {
  double filled_us = 0;  // A write into a segment, and its sync.
  double append_us = 0;  // The same bytes at the end of a file, and its sync.
};

// `pairs` times `batch_bytes` into each of the two, in turn; neither is always the first of a pair.
// Both files are made in `directory`, which must exist. InvalidArgument unless both numbers are
// above 0 and the batch is whole sectors, as those of the log are; otherwise what the file system
// says.
absl::StatusOr<SyncTimes> CompareSyncs(wal::Fs& fs, const std::string& directory,
                                       size_t batch_bytes, uint32_t pairs);

}  // namespace cairn::bench

#endif  // CAIRN_TEST_BENCH_SYNC_PROBE_H_
