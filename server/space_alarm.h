// When a member says that its space is used up, and when it takes that back.
//
// Pure: values in, a decision out; any thread. The alarm comes as soon as growth was refused here,
// or would be. It goes when there is room for what was refused and some more (but no more than half
// the quota, for a request that can never fit must not hold all others up), and never within a
// second of its coming, so that a member at the edge of its quota does not fill the log with
// alarms.
#ifndef CAIRN_SERVER_SPACE_ALARM_H_
#define CAIRN_SERVER_SPACE_ALARM_H_

#include <cstdint>

namespace cairn::server {

// How a member stands.
struct SpaceView {
  // An alarm of this member's is in force; the member has raised it itself.
  bool is_raised = false;
  bool is_automatic = false;
  // For how long it has been seen.
  int64_t raised_for_ms = 0;
  // The disk is (nearly) full.
  bool is_disk_full = false;
  // --quota-backend-bytes, 0: no limit; and what counts against it.
  int64_t quota_bytes = 0;
  int64_t used_bytes = 0;
  // The largest growth that was refused since the last time that there was room; 0: none.
  int64_t refused_bytes = 0;
};

enum class SpaceDecision {
  kNone,
  kRaise,
  kClear,
};

// The least time between an alarm's coming and its going.
inline constexpr int64_t kSpaceAlarmMsMin = 1000;
// The part of the quota that must be free for it to go.
inline constexpr int64_t kSpaceFreeShare = 16;

// Whether what was refused, or anything at all, does not fit now.
bool IsFull(const SpaceView& view);

SpaceDecision DecideSpaceAlarm(const SpaceView& view);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SPACE_ALARM_H_
