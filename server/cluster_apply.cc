#include "server/cluster_apply.h"

#include <optional>
#include <string>
#include <utility>

#include "api/errors.h"
#include "api/internal.pb.h"
#include "api/rpc.pb.h"
#include "api/version.h"
#include "base/check.h"
#include "base/status.h"
#include "mvcc/schema.h"
#include "server/cluster_version.h"
#include "server/membership_change.h"
#include "server/request_validator.h"

namespace cairn::server {

namespace {

using api::Error;
using etcdserverpb::AlarmRequest;

template <typename Message>
absl::Status Parse(CommandKind kind, std::string_view body, Message& message) {
  if (message.ParseFromArray(body.data(), static_cast<int>(body.size()))) return absl::OkStatus();
  return base::Error(absl::StatusCode::kDataLoss, "a command of kind {} holds no such request",
                     static_cast<int>(kind));
}

std::optional<AlarmKind> KindOf(int type) {
  if (type == etcdserverpb::NOSPACE) return AlarmKind::kNoSpace;
  if (type == etcdserverpb::CORRUPT) return AlarmKind::kCorrupt;
  return std::nullopt;
}

// A version that is stored; none for an empty text.
absl::StatusOr<std::optional<Version>> StoredVersion(std::string_view text) {
  if (text.empty()) return std::optional<Version>();
  const std::optional<Version> version = ParseVersion(text);
  if (version.has_value()) return version;
  return base::Error(absl::StatusCode::kDataLoss, "\"{}\" is no version", text);
}

absl::Status CheckOwnVersion(const Version& cluster) {
  const std::optional<Version> own = ParseVersion(api::kEtcdVersion);
  CAIRN_CHECK(own.has_value());
  if (cluster <= ClusterVersionOf(*own)) return absl::OkStatus();
  return base::Error(absl::StatusCode::kFailedPrecondition,
                     "the cluster speaks version {}, this server only {}: start a newer one here, "
                     "or have the cluster downgraded first (\"etcdctl downgrade enable {}\")",
                     ShortText(cluster), api::kEtcdVersion, ShortText(*own));
}

// Nothing when there is no such row.
template <typename Message>
absl::Status LoadRow(const mvcc::Store& store, std::string_view key, Message& message) {
  std::string bytes;
  CAIRN_RETURN_IF_ERROR(store.GetMeta(key, bytes).status());
  if (message.ParseFromString(bytes)) return absl::OkStatus();
  return base::Error(absl::StatusCode::kDataLoss, "the row {} does not parse", key);
}

bool IsWriteOfAClient(CommandKind kind) {
  return kind == CommandKind::kPut || kind == CommandKind::kDeleteRange ||
         kind == CommandKind::kTxn || kind == CommandKind::kCompact ||
         kind == CommandKind::kLeaseGrant || kind == CommandKind::kLeaseRevoke;
}

bool Grows(CommandKind kind, std::string_view body) {
  if (kind == CommandKind::kPut || kind == CommandKind::kLeaseGrant) return true;
  if (kind != CommandKind::kTxn) return false;
  etcdserverpb::TxnRequest request;
  // What does not parse is told by whoever applies it.
  return ParseTxn(body, request).ok() && TxnCostBytes(request) > 0;
}

}  // namespace

absl::StatusOr<ClusterApplier> ClusterApplier::Open(const mvcc::Store& store) {
  ClusterApplier applier;
  absl::Status decoded;
  CAIRN_RETURN_IF_ERROR(
      store.ScanMeta(mvcc::kAlarmPrefix, [&](std::string_view key, std::string_view value) {
        const absl::StatusOr<Alarm> alarm = DecodeAlarmRow(key, value);
        if (alarm.ok()) {
          AddAlarm(applier.state_, *alarm);
        } else {
          decoded = alarm.status();
        }
        return alarm.ok();
      }));
  CAIRN_RETURN_IF_ERROR(decoded);
  internal::ClusterVersion version;
  internal::Downgrade downgrade;
  CAIRN_RETURN_IF_ERROR(LoadRow(store, kClusterVersionKey, version));
  CAIRN_RETURN_IF_ERROR(LoadRow(store, kDowngradeKey, downgrade));
  CAIRN_ASSIGN_OR_RETURN(applier.state_.version, StoredVersion(version.version()));
  CAIRN_ASSIGN_OR_RETURN(applier.state_.downgrade_target,
                         StoredVersion(downgrade.target_version()));
  if (applier.state_.version.has_value()) {
    CAIRN_RETURN_IF_ERROR(CheckOwnVersion(*applier.state_.version));
  }
  return applier;
}

bool ClusterApplier::Handles(CommandKind kind) {
  return kind == CommandKind::kAlarm || kind == CommandKind::kSpaceAlarm ||
         kind == CommandKind::kClusterVersion || kind == CommandKind::kDowngrade;
}

absl::StatusOr<Node::Outcome> ClusterApplier::Apply(CommandKind kind, std::string_view body,
                                                    const Members& members, mvcc::Batch& batch) {
  Node::Outcome outcome;
  switch (kind) {
    case CommandKind::kAlarm: {
      CAIRN_ASSIGN_OR_RETURN(outcome, ApplyAlarm(body, members, batch));
      break;
    }
    case CommandKind::kSpaceAlarm:
      CAIRN_RETURN_IF_ERROR(ApplySpaceAlarm(body, members, batch));
      break;
    case CommandKind::kClusterVersion:
      CAIRN_RETURN_IF_ERROR(ApplyVersion(body, batch));
      break;
    case CommandKind::kDowngrade:
      CAIRN_RETURN_IF_ERROR(ApplyDowngrade(body, batch));
      break;
    default:
      CAIRN_CHECK(Handles(kind));
  }
  outcome.revision = batch.current().revision;
  return outcome;
}

absl::StatusOr<Node::Outcome> ClusterApplier::ApplyAlarm(std::string_view body,
                                                         const Members& members,
                                                         mvcc::Batch& batch) {
  AlarmRequest request;
  CAIRN_RETURN_IF_ERROR(Parse(CommandKind::kAlarm, body, request));
  const std::optional<AlarmKind> kind = KindOf(request.alarm());
  const MemberId member(request.memberid());
  Node::Outcome outcome;
  bool shows = false;
  if (kind.has_value() && request.action() == AlarmRequest::ACTIVATE) {
    shows = FindAlarm(state_, *kind, member) != nullptr || state_.alarms.size() < kAlarmsMax ||
            member == MemberId(0) || FindMember(members, member) != nullptr;
    if (shows) {
      // What the member had raised by itself is the client's from now on.
      Put({.kind = *kind, .member = member}, batch);
    } else {
      outcome.status = base::Error(absl::StatusCode::kResourceExhausted,
                                   "cairn: there are {} alarms already", kAlarmsMax);
    }
  } else if (kind.has_value() && request.action() == AlarmRequest::DEACTIVATE) {
    shows = Remove(*kind, member, batch);
  }
  if (!shows) return outcome;
  etcdserverpb::AlarmResponse response;
  etcdserverpb::AlarmMember& shown = *response.add_alarms();
  shown.set_memberid(member.value());
  shown.set_alarm(request.alarm());
  outcome.response = response.SerializeAsString();
  return outcome;
}

absl::Status ClusterApplier::ApplySpaceAlarm(std::string_view body, const Members& members,
                                             mvcc::Batch& batch) {
  internal::SpaceAlarm request;
  CAIRN_RETURN_IF_ERROR(Parse(CommandKind::kSpaceAlarm, body, request));
  const MemberId member(request.member_id());
  const Alarm* const alarm = FindAlarm(state_, AlarmKind::kNoSpace, member);
  if (request.is_full()) {
    // A member that was removed meanwhile will not take it back.
    if (alarm == nullptr && FindMember(members, member) != nullptr) {
      Put({.kind = AlarmKind::kNoSpace, .member = member, .is_automatic = true}, batch);
    }
    return absl::OkStatus();
  }
  // What a client has raised, a client clears.
  if (alarm != nullptr && alarm->is_automatic) Remove(AlarmKind::kNoSpace, member, batch);
  return absl::OkStatus();
}

absl::Status ClusterApplier::ApplyVersion(std::string_view body, mvcc::Batch& batch) {
  internal::ClusterVersion request;
  CAIRN_RETURN_IF_ERROR(Parse(CommandKind::kClusterVersion, body, request));
  CAIRN_ASSIGN_OR_RETURN(const std::optional<Version> version, StoredVersion(request.version()));
  if (!version.has_value() || version == state_.version) return absl::OkStatus();
  CAIRN_RETURN_IF_ERROR(CheckOwnVersion(*version));
  state_.version = version;
  batch.PutMeta(kClusterVersionKey, body);
  has_changed_ = true;
  return absl::OkStatus();
}

absl::Status ClusterApplier::ApplyDowngrade(std::string_view body, mvcc::Batch& batch) {
  internal::Downgrade request;
  CAIRN_RETURN_IF_ERROR(Parse(CommandKind::kDowngrade, body, request));
  CAIRN_ASSIGN_OR_RETURN(const std::optional<Version> target,
                         StoredVersion(request.target_version()));
  if (target == state_.downgrade_target) return absl::OkStatus();
  state_.downgrade_target = target;
  if (target.has_value()) {
    batch.PutMeta(kDowngradeKey, body);
  } else {
    batch.DeleteMeta(kDowngradeKey);
  }
  has_changed_ = true;
  return absl::OkStatus();
}

absl::Status ClusterApplier::Refuses(CommandKind kind, std::string_view body) const {
  if (state_.alarms.empty()) return absl::OkStatus();
  if (HasAlarm(state_, AlarmKind::kCorrupt) && IsWriteOfAClient(kind)) {
    return api::ToStatus(Error::kCorrupt);
  }
  if (HasAlarm(state_, AlarmKind::kNoSpace) && Grows(kind, body)) {
    return api::ToStatus(Error::kNoSpace);
  }
  return absl::OkStatus();
}

void ClusterApplier::OnRemoved(MemberId id, mvcc::Batch& batch) {
  const Alarm* alarm = FindAlarm(state_, AlarmKind::kNoSpace, id);
  if (alarm != nullptr && alarm->is_automatic) Remove(AlarmKind::kNoSpace, id, batch);
}

std::shared_ptr<const ClusterState> ClusterApplier::TakeChange() {
  if (!std::exchange(has_changed_, false)) return nullptr;
  return std::make_shared<const ClusterState>(state_);
}

void ClusterApplier::Put(const Alarm& alarm, mvcc::Batch& batch) {
  const Alarm* const held = FindAlarm(state_, alarm.kind, alarm.member);
  if (held != nullptr && *held == alarm) return;
  RemoveAlarm(state_, alarm.kind, alarm.member);
  AddAlarm(state_, alarm);
  batch.PutMeta(AlarmRowKey(alarm.kind, alarm.member), EncodeAlarmRow(alarm));
  has_changed_ = true;
}

bool ClusterApplier::Remove(AlarmKind kind, MemberId member, mvcc::Batch& batch) {
  if (!RemoveAlarm(state_, kind, member)) return false;
  batch.DeleteMeta(AlarmRowKey(kind, member));
  has_changed_ = true;
  return true;
}

}  // namespace cairn::server
