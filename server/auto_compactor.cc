#include "server/auto_compactor.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "server/duration.h"

namespace cairn::server {

namespace {

using std::chrono::nanoseconds;

constexpr nanoseconds kIntervalMax = std::chrono::hours(1);
constexpr nanoseconds kRevisionStep = std::chrono::minutes(5);
// Samples per interval.
constexpr int kSamples = 10;
// Keeps the samples of a window within 100,000: eleven years at one each 6 minutes.
constexpr int64_t kWindowHoursMax = 10'000 * 10;

constexpr std::string_view kRetentionFlag = "--auto-compaction-retention";

absl::Status Invalid(std::string_view retention, std::string_view wanted) {
  return base::Error(absl::StatusCode::kInvalidArgument, "{}={} is not {}", kRetentionFlag,
                     retention, wanted);
}

std::optional<int64_t> ParseNumber(std::string_view text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

}  // namespace

absl::StatusOr<AutoCompactionPolicy> ParseAutoCompaction(std::string_view mode,
                                                         std::string_view retention) {
  using Mode = AutoCompactionPolicy::Mode;
  if (mode != "periodic" && mode != "revision") {
    return base::Error(absl::StatusCode::kInvalidArgument,
                       "--auto-compaction-mode={} is neither periodic nor revision", mode);
  }
  if (retention.empty()) return AutoCompactionPolicy();
  const std::optional<int64_t> number = ParseNumber(retention);
  if (mode == "revision") {
    if (!number) return Invalid(retention, "a number of revisions");
    if (*number == 0) return AutoCompactionPolicy();
    return AutoCompactionPolicy{.mode = Mode::kRevision, .revisions = *number};
  }
  std::optional<nanoseconds> window;
  if (number && *number <= kWindowHoursMax) window = std::chrono::hours(*number);
  if (!number) window = ParseDuration(retention);
  if (!window || *window > std::chrono::hours(kWindowHoursMax)) {
    return Invalid(retention,
                   "a number of hours or a duration such as 30m or 1h30m, at most 11 years");
  }
  if (*window == nanoseconds(0)) return AutoCompactionPolicy();
  if (*window < std::chrono::milliseconds(kSamples)) {
    return Invalid(retention, "at least 10ms");
  }
  return AutoCompactionPolicy{.mode = Mode::kPeriodic, .window = *window};
}

AutoCompactor::AutoCompactor(const AutoCompactionPolicy& policy, TimePoint now)
    : policy_(policy), next_tick_(now), last_success_(now) {
  if (policy.mode == AutoCompactionPolicy::Mode::kPeriodic) {
    CAIRN_CHECK_GT(policy.window.count(), 0);
    step_ = std::min(policy.window, kIntervalMax) / kSamples;
    CAIRN_CHECK_GT(step_.count(), 0);
    samples_max_ = static_cast<size_t>(policy.window / step_) + 1;
    pause_ = policy.window;
  } else if (policy.mode == AutoCompactionPolicy::Mode::kRevision) {
    CAIRN_CHECK_GT(policy.revisions, 0);
    step_ = kRevisionStep;
    next_tick_ = now + step_;
  }
}

std::optional<AutoCompactor::TimePoint> AutoCompactor::next_tick() const {
  if (policy_.mode == AutoCompactionPolicy::Mode::kOff) return std::nullopt;
  return next_tick_;
}

std::optional<Revision> AutoCompactor::Tick(TimePoint now, Revision current, bool leads) {
  if (policy_.mode == AutoCompactionPolicy::Mode::kOff || now < next_tick_) return std::nullopt;
  next_tick_ = now + step_;
  return policy_.mode == AutoCompactionPolicy::Mode::kPeriodic ? TickPeriodic(now, current, leads)
                                                               : TickRevision(current, leads);
}

std::optional<Revision> AutoCompactor::TickPeriodic(TimePoint now, Revision current, bool leads) {
  // The oldest sample is a window and a step old as soon as that has passed: etcd looks before it
  // takes the sample of now.
  std::optional<Revision> oldest;
  if (!samples_.empty()) oldest = samples_.front();
  samples_.push_back(current);
  if (samples_.size() > samples_max_) samples_.pop_front();
  if (!oldest || !leads || now - last_success_ < pause_ || *oldest == last_compacted_) {
    return std::nullopt;
  }
  // From the second time on it need not wait for a whole window to fill.
  pause_ = std::min(policy_.window, kIntervalMax);
  return oldest;
}

std::optional<Revision> AutoCompactor::TickRevision(Revision current, bool leads) const {
  const Revision target(current.value() - policy_.revisions);
  if (!leads || target.value() <= 0 || target == last_compacted_) return std::nullopt;
  return target;
}

void AutoCompactor::OnCompacted(TimePoint now, Revision revision) {
  last_success_ = now;
  last_compacted_ = revision;
}

}  // namespace cairn::server
