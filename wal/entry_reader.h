// Reads one stretch of entries back from a segment's file.
//
// Runs on any thread beside the writer: everything it needs was copied under the log's lock, and
// written bytes never change.
#ifndef CAIRN_WAL_ENTRY_READER_H_
#define CAIRN_WAL_ENTRY_READER_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/ids.h"
#include "raft/types.h"
#include "wal/log_state.h"
#include "wal/segment_file.h"

namespace cairn::wal {

struct StretchRequest {
  SegmentFile segment;  // used_bytes as of the moment of the call.
  Anchor from;
  // Entries in [first, limit) are wanted; all of them lie in this stretch.
  Index first;
  Index limit;
  // Stop before `entries` holds more data than this, but never before one entry.
  size_t max_bytes = 0;
};

// Appends to `entries` and adds their data to `bytes`. Returns whether the budget is exhausted.
absl::StatusOr<bool> ReadStretch(const StretchRequest& request, std::vector<raft::Entry>& entries,
                                 size_t& bytes);

}  // namespace cairn::wal

#endif  // CAIRN_WAL_ENTRY_READER_H_
