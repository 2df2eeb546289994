#include "server/cluster_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "api/internal.pb.h"
#include "base/coding.h"
#include "base/status.h"
#include "mvcc/schema.h"

namespace cairn::server {

namespace {

static_assert(kClusterVersionKey.starts_with(mvcc::kVersionPrefix));
static_assert(kDowngradeKey.starts_with(mvcc::kVersionPrefix));

bool IsBefore(const Alarm& alarm, const std::pair<AlarmKind, MemberId>& place) {
  return std::pair(alarm.kind, alarm.member) < place;
}

template <typename Alarms>
auto PlaceOf(Alarms& alarms, AlarmKind kind, MemberId member) {
  return std::lower_bound(alarms.begin(), alarms.end(), std::pair(kind, member), IsBefore);
}

}  // namespace

const Alarm* FindAlarm(const ClusterState& state, AlarmKind kind, MemberId member) {
  const auto found = PlaceOf(state.alarms, kind, member);
  const bool is_there =
      found != state.alarms.end() && found->kind == kind && found->member == member;
  return is_there ? &*found : nullptr;
}

bool HasAlarm(const ClusterState& state, AlarmKind kind) {
  return std::any_of(state.alarms.begin(), state.alarms.end(),
                     [kind](const Alarm& alarm) { return alarm.kind == kind; });
}

bool HasAutomaticAlarm(const ClusterState& state) {
  return std::any_of(state.alarms.begin(), state.alarms.end(),
                     [](const Alarm& alarm) { return alarm.is_automatic; });
}

bool AddAlarm(ClusterState& state, const Alarm& alarm) {
  if (FindAlarm(state, alarm.kind, alarm.member) != nullptr) return false;
  state.alarms.insert(PlaceOf(state.alarms, alarm.kind, alarm.member), alarm);
  return true;
}

bool RemoveAlarm(ClusterState& state, AlarmKind kind, MemberId member) {
  if (FindAlarm(state, kind, member) == nullptr) return false;
  state.alarms.erase(PlaceOf(state.alarms, kind, member));
  return true;
}

std::string AlarmText(const Alarm& alarm) {
  const std::string_view kind = alarm.kind == AlarmKind::kNoSpace ? "NOSPACE" : "CORRUPT";
  if (alarm.member == MemberId(0)) return fmt::format("alarm:{}", kind);
  return fmt::format("memberID:{} alarm:{}", alarm.member.value(), kind);
}

std::string AlarmRowKey(AlarmKind kind, MemberId member) {
  std::string key(mvcc::kAlarmPrefix);
  key.push_back(static_cast<char>(kind));
  base::AppendBig64(key, member.value());
  return key;
}

std::string EncodeAlarmRow(const Alarm& alarm) {
  internal::AlarmRow row;
  row.set_is_automatic(alarm.is_automatic);
  return row.SerializeAsString();
}

absl::StatusOr<Alarm> DecodeAlarmRow(std::string_view key, std::string_view value) {
  Alarm alarm;
  uint64_t member = 0;
  internal::AlarmRow row;
  bool is_ours = key.starts_with(mvcc::kAlarmPrefix) && key.size() > mvcc::kAlarmPrefix.size();
  if (is_ours) {
    key.remove_prefix(mvcc::kAlarmPrefix.size());
    alarm.kind = static_cast<AlarmKind>(key.front());
    key.remove_prefix(1);
    is_ours = (alarm.kind == AlarmKind::kNoSpace || alarm.kind == AlarmKind::kCorrupt) &&
              base::TakeBig64(key, member) && key.empty() &&
              row.ParseFromArray(value.data(), static_cast<int>(value.size()));
  }
  if (!is_ours) return base::Error(absl::StatusCode::kDataLoss, "an alarm's row does not parse");
  alarm.member = MemberId(member);
  alarm.is_automatic = row.is_automatic();
  return alarm;
}

}  // namespace cairn::server
