// The start of a log: scan the directory, obey the verdict, make what is left durable.
//
// Runs once, before the log has threads. recovery.h judges; this does the reading, the cut and the
// rewriting. A refused log is not touched.
#ifndef CAIRN_WAL_OPENING_H_
#define CAIRN_WAL_OPENING_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "wal/fs.h"
#include "wal/log_state.h"
#include "wal/recovery.h"
#include "wal/segment_file.h"
#include "wal/types.h"

namespace cairn::wal {

// A log ready to be written on: all of it is durable.
struct OpenedLog {
  Recovered recovered;
  LogState state;
  std::deque<SegmentFile> segments;  // Oldest first, the last one is current.
  std::optional<SegmentFile> spare;
  Chain chain;
  // The last batch is an empty one that proves all others.
  bool is_proven = false;
};

// Errors as Wal::Open. `spare_bytes` is the size that a spare must have to be kept.
absl::StatusOr<OpenedLog> OpenLog(Fs& fs, const std::string& directory, uint64_t spare_bytes,
                                  const std::optional<Identity>& expected);

// Removes what an unfinished Create left; kAlreadyExists when there is a log (or a damaged one).
absl::Status RemoveUnfinishedLog(Fs& fs, const std::string& directory);

}  // namespace cairn::wal

#endif  // CAIRN_WAL_OPENING_H_
