// When to compact without being asked, and to which revision: etcd's two modes.
//
// periodic keeps the history of a time window; it samples the revision ten times per interval and
// compacts once per interval, min(window, 1 h), to the sample that is a window old. revision keeps
// the last N revisions and looks every 5 minutes. (etcd-semantics.md section 14.) Pure in `now`:
// the caller owns clock, timer and proposal, and asks only on the leader. One thread.
#ifndef CAIRN_SERVER_AUTO_COMPACTOR_H_
#define CAIRN_SERVER_AUTO_COMPACTOR_H_

#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string_view>

#include "base/ids.h"

namespace cairn::server {

struct AutoCompactionPolicy {
  enum class Mode { kOff, kPeriodic, kRevision };

  Mode mode = Mode::kOff;
  // kPeriodic: the history to keep, above 0.
  std::chrono::nanoseconds window{0};
  // kRevision: the revisions to keep, above 0.
  int64_t revisions = 0;

  friend bool operator==(const AutoCompactionPolicy&, const AutoCompactionPolicy&) = default;
};

// Understands --auto-compaction-mode ("periodic", "revision") and --auto-compaction-retention: a
// plain number is hours or revisions, periodic also takes a duration as Go writes it ("1h30m",
// "0.5s"). Empty or zero retention is off. INVALID_ARGUMENT with a text that names the flag; a
// duration for mode revision too, which etcd silently reads as a number of nanoseconds.
absl::StatusOr<AutoCompactionPolicy> ParseAutoCompaction(std::string_view mode,
                                                         std::string_view retention);

class AutoCompactor {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  AutoCompactor(const AutoCompactionPolicy& policy, TimePoint now);

  // When Tick is next worth a call; none when the policy is off. An earlier call does nothing.
  std::optional<TimePoint> next_tick() const;

  // Takes note of the store's revision. The result, if any, is the revision to compact to; tell
  // OnCompacted when that has succeeded (or was compacted already). Without it the next tick tries
  // again. `leads`: whether this member is to compact; samples are taken in any case.
  std::optional<Revision> Tick(TimePoint now, Revision current, bool leads);
  void OnCompacted(TimePoint now, Revision revision);

 private:
  std::optional<Revision> TickPeriodic(TimePoint now, Revision current, bool leads);
  std::optional<Revision> TickRevision(Revision current, bool leads) const;

  const AutoCompactionPolicy policy_;
  // Between two ticks.
  std::chrono::nanoseconds step_{0};
  TimePoint next_tick_;
  // Periodic: the revision at each tick of the last window, the oldest first.
  std::deque<Revision> samples_;
  size_t samples_max_ = 0;
  TimePoint last_success_;
  // What must have passed since the last success: the window at first, then the interval.
  std::chrono::nanoseconds pause_{0};
  Revision last_compacted_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_AUTO_COMPACTOR_H_
