#include "wal/segment_gc.h"

#include <algorithm>

#include "base/check.h"

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

Index TailStart(std::span<const SegmentSummary> segments, std::span<const uint64_t> used_bytes,
                Index last, const TailToKeep& tail) {
  CAIRN_CHECK_EQ(segments.size(), used_bytes.size());
  uint64_t bytes = 0;
  size_t kept = segments.size();
  while (kept > 0 && bytes + used_bytes[kept - 1] <= tail.bytes_max) bytes += used_bytes[--kept];
  if (kept == segments.size() || tail.entries_max == 0) return kKeepNothing;
  const Index first = segments[kept].before_first.index + 1;
  return last < Index(tail.entries_max) ? first : std::max(first, last + 1 - tail.entries_max);
}

}  // namespace cairn::wal
