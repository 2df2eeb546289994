// What is true of the cluster as a whole, beside who its members are: alarms, its version, a
// downgrade under way.
//
// Pure: no thread, clock, file or socket. The applier owns the state and changes it as entries say
// (cluster_apply.h); everyone else looks at immutable copies (Node::cluster_state). Small:
// kAlarmsMax alarms and two for each member at the most.
#ifndef CAIRN_SERVER_CLUSTER_STATE_H_
#define CAIRN_SERVER_CLUSTER_STATE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "server/cluster_version.h"

namespace cairn::server {

// What is wrong. The numbers are etcdserverpb.AlarmType's, on the wire and in rows.
enum class AlarmKind : uint8_t {
  kNoSpace = 1,  // Refuses growth, on every member.
  kCorrupt = 2,  // Refuses every write.
};

struct Alarm {
  AlarmKind kind = AlarmKind::kNoSpace;
  // Whom it concerns; 0 where nobody knows. Any number that a client likes, as in etcd.
  MemberId member;
  // The member noticed by itself and takes it back by itself.
  bool is_automatic = false;

  friend bool operator==(const Alarm&, const Alarm&) = default;
};

// Clients may name members that there are not, and a bound keeps them from filling the state. The
// alarms of members always fit.
inline constexpr size_t kAlarmsMax = 1000;

struct ClusterState {
  // Sorted by kind and member, each pair once.
  std::vector<Alarm> alarms;
  // None until a leader has decided it.
  std::optional<Version> version;
  // What the cluster is being brought down to.
  std::optional<Version> downgrade_target;

  friend bool operator==(const ClusterState&, const ClusterState&) = default;
};

// The alarm of `member`, whoever raised it; null if there is none.
const Alarm* FindAlarm(const ClusterState& state, AlarmKind kind, MemberId member);
// Whether anyone has it.
bool HasAlarm(const ClusterState& state, AlarmKind kind);

// Whether any member says by itself that its space is used up.
bool HasAutomaticAlarm(const ClusterState& state);

// Adds an alarm. False, with nothing changed, if that one is there already.
bool AddAlarm(ClusterState& state, const Alarm& alarm);
// False if there was none.
bool RemoveAlarm(ClusterState& state, AlarmKind kind, MemberId member);

// As Status.errors shows it: "memberID:10501334649042878790 alarm:NOSPACE". A member 0 is left out,
// as etcd does.
std::string AlarmText(const Alarm& alarm);

// The row of an alarm: its key, and back. DATA_LOSS for bytes that no version wrote.
std::string AlarmRowKey(AlarmKind kind, MemberId member);
std::string EncodeAlarmRow(const Alarm& alarm);
absl::StatusOr<Alarm> DecodeAlarmRow(std::string_view key, std::string_view value);

// The rows of the cluster's version and of a downgrade.
inline constexpr std::string_view kClusterVersionKey = "v/cluster";
inline constexpr std::string_view kDowngradeKey = "v/downgrade";

}  // namespace cairn::server

#endif  // CAIRN_SERVER_CLUSTER_STATE_H_
