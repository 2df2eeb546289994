#include "server/cluster_apply.h"

#include <optional>
#include <utility>

#include "api/errors.h"
#include "api/internal.pb.h"
#include "api/rpc.pb.h"
#include "base/status.h"
#include "mvcc/schema.h"
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
  return applier;
}

bool ClusterApplier::Handles(CommandKind kind) {
  return kind == CommandKind::kAlarm || kind == CommandKind::kSpaceAlarm;
}

absl::StatusOr<Node::Outcome> ClusterApplier::Apply(CommandKind kind, std::string_view body,
                                                    mvcc::Batch& batch) {
  Node::Outcome outcome;
  if (kind == CommandKind::kAlarm) {
    CAIRN_ASSIGN_OR_RETURN(outcome, ApplyAlarm(body, batch));
  } else {
    CAIRN_RETURN_IF_ERROR(ApplySpaceAlarm(body, batch));
  }
  outcome.revision = batch.current().revision;
  return outcome;
}

absl::StatusOr<Node::Outcome> ClusterApplier::ApplyAlarm(std::string_view body,
                                                         mvcc::Batch& batch) {
  AlarmRequest request;
  CAIRN_RETURN_IF_ERROR(Parse(CommandKind::kAlarm, body, request));
  const std::optional<AlarmKind> kind = KindOf(request.alarm());
  const MemberId member(request.memberid());
  Node::Outcome outcome;
  bool shows = false;
  if (kind.has_value() && request.action() == AlarmRequest::ACTIVATE) {
    shows = Add({.kind = *kind, .member = member}, batch) ||
            FindAlarm(state_, *kind, member) != nullptr;
    if (!shows) {
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

absl::Status ClusterApplier::ApplySpaceAlarm(std::string_view body, mvcc::Batch& batch) {
  internal::SpaceAlarm request;
  CAIRN_RETURN_IF_ERROR(Parse(CommandKind::kSpaceAlarm, body, request));
  const MemberId member(request.member_id());
  if (request.is_full()) {
    Add({.kind = AlarmKind::kNoSpace, .member = member, .is_automatic = true}, batch);
    return absl::OkStatus();
  }
  // What a client has raised, a client clears.
  const Alarm* alarm = FindAlarm(state_, AlarmKind::kNoSpace, member);
  if (alarm != nullptr && alarm->is_automatic) Remove(AlarmKind::kNoSpace, member, batch);
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

bool ClusterApplier::Add(const Alarm& alarm, mvcc::Batch& batch) {
  if (!AddAlarm(state_, alarm)) return false;
  batch.PutMeta(AlarmRowKey(alarm.kind, alarm.member), EncodeAlarmRow(alarm));
  has_changed_ = true;
  return true;
}

bool ClusterApplier::Remove(AlarmKind kind, MemberId member, mvcc::Batch& batch) {
  if (!RemoveAlarm(state_, kind, member)) return false;
  batch.DeleteMeta(AlarmRowKey(kind, member));
  has_changed_ = true;
  return true;
}

}  // namespace cairn::server
