#include "server/auto_compactor.h"

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace cairn::server {
namespace {

using Mode = AutoCompactionPolicy::Mode;
using TimePoint = AutoCompactor::TimePoint;
using namespace std::chrono_literals;

TEST(ParseAutoCompaction, UnderstandsWhatEtcdDoes) {
  struct Case {
    std::string_view mode;
    std::string_view retention;
    AutoCompactionPolicy policy;
  };
  const Case cases[] = {
      {"periodic", "", {}},
      {"periodic", "0", {}},
      {"periodic", "0s", {}},
      {"revision", "0", {}},
      {"periodic", "1", {Mode::kPeriodic, 1h, 0}},
      {"periodic", "72", {Mode::kPeriodic, 72h, 0}},
      {"periodic", "1h30m", {Mode::kPeriodic, 90min, 0}},
      {"periodic", "10m", {Mode::kPeriodic, 10min, 0}},
      {"periodic", "1.5h", {Mode::kPeriodic, 90min, 0}},
      {"periodic", ".5s", {Mode::kPeriodic, 500ms, 0}},
      {"periodic", "300ms", {Mode::kPeriodic, 300ms, 0}},
      {"periodic", "50000us", {Mode::kPeriodic, 50ms, 0}},
      {"revision", "1000", {Mode::kRevision, 0ns, 1000}},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(each.retention);
    const absl::StatusOr<AutoCompactionPolicy> policy =
        ParseAutoCompaction(each.mode, each.retention);
    ASSERT_TRUE(policy.ok()) << policy.status();
    EXPECT_EQ(*policy, each.policy);
  }
}

TEST(ParseAutoCompaction, RefusesTheRestAndNamesTheFlag) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"periodic", "1x"},           {"periodic", "h"},
      {"periodic", "-1"},           {"periodic", "-1h"},
      {"periodic", "1h "},          {"periodic", "1e3h"},
      {"periodic", "1h30"},         {"periodic", "1ns"},
      {"periodic", "nan"},          {"periodic", "9999999"},
      {"periodic", "99999999999h"}, {"revision", "1h"},
      {"revision", "-5"},           {"revision", "many"},
  };
  for (const auto& [mode, retention] : cases) {
    SCOPED_TRACE(retention);
    const absl::Status status = ParseAutoCompaction(mode, retention).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(base::Message(status).find("--auto-compaction-retention"), std::string_view::npos);
  }
  const absl::Status status = ParseAutoCompaction("hourly", "1").status();
  EXPECT_NE(base::Message(status).find("--auto-compaction-mode"), std::string_view::npos);
}

// Runs a compactor for `span`, one revision a minute from 1 on, and tells at which minute it asked
// for which revision.
std::vector<std::pair<int64_t, int64_t>> RunFor(AutoCompactor& compactor, TimePoint start,
                                                std::chrono::minutes span, bool leads = true) {
  std::vector<std::pair<int64_t, int64_t>> asked;
  while (compactor.next_tick() && *compactor.next_tick() <= start + span) {
    const TimePoint now = *compactor.next_tick();
    const auto minute = std::chrono::duration_cast<std::chrono::minutes>(now - start).count();
    const std::optional<Revision> revision = compactor.Tick(now, Revision(1 + minute), leads);
    if (!revision) continue;
    asked.emplace_back(minute, revision->value());
    compactor.OnCompacted(now, *revision);
  }
  return asked;
}

using Asked = std::vector<std::pair<int64_t, int64_t>>;

TEST(AutoCompactor, PeriodicKeepsTheWindowAndRunsEachHour) {
  const TimePoint start{};
  AutoCompactor compactor({.mode = Mode::kPeriodic, .window = 2h}, start);
  // First when a window has passed, to its start; then hourly, a window and a sample (6 min) back.
  EXPECT_EQ(RunFor(compactor, start, 300min), (Asked{{120, 1}, {180, 55}, {240, 115}, {300, 175}}));
}

TEST(AutoCompactor, PeriodicWithAShortWindowRunsEachWindow) {
  const TimePoint start{};
  AutoCompactor compactor({.mode = Mode::kPeriodic, .window = 10min}, start);
  EXPECT_EQ(RunFor(compactor, start, 30min), (Asked{{10, 1}, {20, 10}, {30, 20}}));
}

TEST(AutoCompactor, PeriodicTriesAgainUntilItSucceeds) {
  const TimePoint start{};
  AutoCompactor compactor({.mode = Mode::kPeriodic, .window = 10min}, start);
  std::vector<int64_t> asked;
  for (int minute = 0; minute <= 12; ++minute) {
    const auto revision = compactor.Tick(start + minute * 1min, Revision(minute + 1), true);
    if (revision) asked.push_back(revision->value());
  }
  EXPECT_EQ(asked, (std::vector<int64_t>{1, 1, 2}));
}

TEST(AutoCompactor, DoesNothingWhereNothingChanged) {
  const TimePoint start{};
  AutoCompactor compactor({.mode = Mode::kPeriodic, .window = 10min}, start);
  int asked = 0;
  for (int minute = 0; minute <= 100; ++minute) {
    const TimePoint now = start + minute * 1min;
    if (const auto revision = compactor.Tick(now, Revision(5), true)) {
      compactor.OnCompacted(now, *revision);
      ++asked;
    }
  }
  EXPECT_EQ(asked, 1);
}

TEST(AutoCompactor, FollowersSampleOnly) {
  const TimePoint start{};
  AutoCompactor compactor({.mode = Mode::kPeriodic, .window = 10min}, start);
  EXPECT_EQ(RunFor(compactor, start, 25min, /*leads=*/false), Asked{});
  // Leads now: due at once, and the samples are there.
  EXPECT_EQ(RunFor(compactor, start, 26min), (Asked{{26, 16}}));
}

TEST(AutoCompactor, RevisionKeepsTheLastOnes) {
  const TimePoint start{};
  AutoCompactor compactor({.mode = Mode::kRevision, .revisions = 8}, start);
  EXPECT_EQ(RunFor(compactor, start, 20min), (Asked{{10, 3}, {15, 8}, {20, 13}}));
}

TEST(AutoCompactor, OffNeverTicks) {
  AutoCompactor compactor({}, TimePoint{});
  EXPECT_FALSE(compactor.next_tick());
  EXPECT_FALSE(compactor.Tick(TimePoint{} + 100h, Revision(100), true));
}

TEST(AutoCompactor, EarlyCallsDoNothing) {
  const TimePoint start{};
  AutoCompactor compactor({.mode = Mode::kRevision, .revisions = 1}, start);
  EXPECT_FALSE(compactor.Tick(start + 299s, Revision(100), true));
  EXPECT_EQ(compactor.Tick(start + 300s, Revision(100), true), Revision(99));
}

}  // namespace
}  // namespace cairn::server
