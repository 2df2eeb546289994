#include "wal/pins.h"

#include <algorithm>

#include "base/check.h"

namespace cairn::wal {

namespace {

// What lies between `pin.from` and the end of the log.
PinView Span(const Pin& pin, const LogExtent& log) {
  PinView view{.pin = pin};
  const Index first = log.segments.empty() ? Index(1) : log.segments.front().before_first.index + 1;
  const Index from = std::max(pin.from, first);
  if (from > log.last) return view;
  view.entries = log.last - from + 1;
  for (size_t i = log.segments.size(); i > 0; --i) {
    view.bytes += log.used_bytes[i - 1];
    ++view.segments;
    if (log.segments[i - 1].before_first.index < from) break;
  }
  return view;
}

}  // namespace

std::string_view PinKindName(PinKind kind) {
  switch (kind) {
    case PinKind::kTail:
      return "tail";
    case PinKind::kFollower:
      return "follower";
    case PinKind::kLearner:
      return "learner";
    case PinKind::kSnapshot:
      return "snapshot";
    case PinKind::kBackup:
      return "backup";
  }
  CAIRN_CHECK(false, "no such kind of pin");
}

Index TailStart(const LogExtent& log, const TailToKeep& tail) {
  CAIRN_CHECK_EQ(log.segments.size(), log.used_bytes.size());
  uint64_t bytes = 0;
  size_t kept = log.segments.size();
  while (kept > 0 && bytes + log.used_bytes[kept - 1] <= tail.bytes_max) {
    bytes += log.used_bytes[--kept];
  }
  if (kept == log.segments.size() || tail.entries_max == 0) return kKeepNothing;
  const Index first = log.segments[kept].before_first.index + 1;
  const Index last = log.last;
  return last < Index(tail.entries_max) ? first : std::max(first, last + 1 - tail.entries_max);
}

Retention Resolve(const Pins& pins, const LogExtent& log) {
  Retention retention;
  const Index tail_start = TailStart(log, pins.tail);
  if (tail_start != kKeepNothing) {
    retention.keep_from = tail_start;
    retention.pins.push_back(Span({PinKind::kTail, 0, tail_start}, log));
    retention.pins.back().is_kept = true;
  }
  const Index first = log.segments.empty() ? Index(1) : log.segments.front().before_first.index + 1;
  for (const Pin& pin : pins.pins) {
    CAIRN_CHECK(pin.kind != PinKind::kTail);
    PinView view = Span(pin, log);
    // Who needs nothing that is there holds nothing and lacks nothing.
    if (pin.kind == PinKind::kFollower || pin.kind == PinKind::kLearner) {
      view.is_kept = pin.from > log.last || pin.from >= std::max(first, tail_start);
    } else {
      view.is_kept =
          pin.from > log.last || (pin.from >= first && view.bytes <= pins.copy_bytes_max);
      if (view.is_kept) retention.keep_from = std::min(retention.keep_from, pin.from);
    }
    retention.pins.push_back(view);
  }
  return retention;
}

}  // namespace cairn::wal
