#include "server/space_alarm.h"

#include <algorithm>

namespace cairn::server {

namespace {

bool HasRoomFor(const SpaceView& view, int64_t size_bytes) {
  return !view.is_disk_full &&
         (view.quota_bytes <= 0 || size_bytes <= view.quota_bytes - view.used_bytes);
}

}  // namespace

bool IsFull(const SpaceView& view) {
  return !HasRoomFor(view, std::max<int64_t>(view.refused_bytes, 1));
}

SpaceDecision DecideSpaceAlarm(const SpaceView& view) {
  if (!view.is_raised) return IsFull(view) ? SpaceDecision::kRaise : SpaceDecision::kNone;
  const int64_t wanted_bytes =
      std::clamp(view.refused_bytes, view.quota_bytes / kSpaceFreeShare, view.quota_bytes / 2);
  const bool clears =
      view.is_automatic && view.raised_for_ms >= kSpaceAlarmMsMin && HasRoomFor(view, wanted_bytes);
  return clears ? SpaceDecision::kClear : SpaceDecision::kNone;
}

}  // namespace cairn::server
