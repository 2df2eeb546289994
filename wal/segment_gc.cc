#include "wal/segment_gc.h"

#include <algorithm>

namespace cairn::wal {

size_t PlanRemoval(const RemovalInput& input) {
  if (!input.opening_is_synced || input.segments.empty()) return 0;
  const Index covered = std::min(input.durable_applied, input.durable_marker);
  size_t count = 0;
  for (const SegmentSummary& segment : input.segments.first(input.segments.size() - 1)) {
    if (segment.highest > covered || segment.highest >= input.keep_from) break;
    ++count;
  }
  return count;
}

}  // namespace cairn::wal
