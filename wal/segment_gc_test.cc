#include "wal/segment_gc.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace cairn::wal {
namespace {

TEST(SegmentGcTest, PlansTheLongestCoveredPrefix) {
  struct Case {
    std::string name;
    std::vector<uint64_t> highest;  // Of each segment, oldest first.
    uint64_t applied;
    uint64_t marker;
    uint64_t keep_from;
    bool opening_is_synced;
    size_t expected;
  };
  constexpr uint64_t kNone = ~uint64_t{0};
  const std::vector<Case> cases = {
      {"nothing there", {}, 9, 9, kNone, true, 0},
      {"the current one always stays", {5}, 9, 9, kNone, true, 0},
      {"wholly covered", {5, 9, 12}, 9, 9, kNone, true, 2},
      {"one index short", {5, 10, 12}, 9, 9, kNone, true, 1},
      {"the marker limits", {5, 9, 12}, 9, 8, kNone, true, 1},
      {"the state limits", {5, 9, 12}, 4, 9, kNone, true, 0},
      {"no marker", {5, 9, 12}, 9, 0, kNone, true, 0},
      {"the opening batch may be lost", {5, 9, 12}, 9, 9, kNone, false, 0},
      {"a pin at the first entry of the second", {5, 9, 12}, 9, 9, 6, true, 1},
      {"a pin at the last entry of the first", {5, 9, 12}, 9, 9, 5, true, 0},
      {"superseded entries count too", {20, 9, 12}, 12, 12, kNone, true, 0},
      {"a segment without entries goes with the others", {5, 0, 9, 12}, 9, 9, kNone, true, 3},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    std::vector<SegmentSummary> segments;
    for (const uint64_t highest : c.highest) {
      segments.push_back({.sequence = segments.size() + 1, .highest = Index(highest)});
    }
    EXPECT_EQ(PlanRemoval({.segments = segments,
                           .durable_applied = Index(c.applied),
                           .durable_marker = Index(c.marker),
                           .keep_from = Index(c.keep_from),
                           .opening_is_synced = c.opening_is_synced}),
              c.expected);
  }
}

}  // namespace
}  // namespace cairn::wal
