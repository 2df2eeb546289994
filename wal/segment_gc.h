// Which segments may go. Pure.
#ifndef CAIRN_WAL_SEGMENT_GC_H_
#define CAIRN_WAL_SEGMENT_GC_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/ids.h"
#include "wal/log_state.h"
#include "wal/types.h"

namespace cairn::wal {

struct RemovalInput {
  // Oldest first; the last one is being written.
  std::span<const SegmentSummary> segments;
  // The state machine is durable through here ...
  Index durable_applied;
  // ... and the log durably says so through here.
  Index durable_marker;
  // The lowest index that somebody still needs (pins.h).
  Index keep_from = kKeepNothing;
  // The current segment repeats hard state, configuration and marker, durably.
  bool opening_is_synced = false;
};

// How many of the oldest segments may be removed: the longest prefix of finished segments of which
// no record names an index above the durable marker, or from keep_from on. What holds the entry
// after the marker always stays.
size_t PlanRemoval(const RemovalInput& input);

}  // namespace cairn::wal

#endif  // CAIRN_WAL_SEGMENT_GC_H_
