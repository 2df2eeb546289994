#include "server/maintenance_service.h"

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "api/errors.h"
#include "api/internal.pb.h"
#include "api/rpc.pb.h"
#include "api/version.h"
#include "base/status.h"
#include "server/cluster_state.h"
#include "server/cluster_version.h"
#include "server/command.h"
#include "server/rpc/proto.h"

namespace cairn::server {

namespace {

using api::Error;
using api::ToStatus;
using etcdserverpb::AlarmRequest;
using etcdserverpb::DowngradeRequest;
using etcdserverpb::SnapshotRequest;
using rpc::UnaryCall;

constexpr std::string_view kServiceName = "etcdserverpb.Maintenance";

// The fields of `message`, which has no header of its own, behind one.
rpc::SliceList Response(const ResponseHeader& header,
                        const google::protobuf::MessageLite& message) {
  return WithHeader(header, message.SerializeAsString());
}

}  // namespace

template <typename Request>
void MaintenanceService::Add(rpc::ServiceTable& table, std::string_view method,
                             OnLearner on_learner, Handler<Request> handler) {
  table.AddUnary(kServiceName, method,
                 rpc::TypedUnary<Request>(
                     [this, on_learner, handler](std::unique_ptr<UnaryCall> call, Request request) {
                       if (absl::Status status = Admit(context_, *call, on_learner); !status.ok()) {
                         call->Finish(std::move(status));
                         return;
                       }
                       (this->*handler)(std::move(call), request);
                     }));
}

void MaintenanceService::Register(rpc::ServiceTable& table) {
  Add(table, "Status", OnLearner::kServe, &MaintenanceService::Status);
  Add(table, "Hash", OnLearner::kRefuse, &MaintenanceService::Hash);
  Add(table, "HashKV", OnLearner::kRefuse, &MaintenanceService::HashKv);
  Add(table, "Defragment", OnLearner::kRefuse, &MaintenanceService::Defragment);
  Add(table, "MoveLeader", OnLearner::kRefuse, &MaintenanceService::MoveLeader);
  Add(table, "Alarm", OnLearner::kRefuse, &MaintenanceService::Alarm);
  Add(table, "Downgrade", OnLearner::kRefuse, &MaintenanceService::Downgrade);
  if (saver_ != nullptr) {
    table.AddServerStream(
        kServiceName, "Snapshot",
        rpc::TypedServerStream<SnapshotRequest>(
            [this](std::shared_ptr<rpc::StreamCall> call, const SnapshotRequest& /*request*/) {
              if (absl::Status status = Admit(context_, *call, OnLearner::kServe); !status.ok()) {
                call->Finish(std::move(status));
                return;
              }
              saver_->Save(std::move(call), StorageVersion());
            }));
  }
  rpc::AddUnimplementedRest(*AlarmRequest::descriptor()->file()->FindServiceByName("Maintenance"),
                            table);
}

void MaintenanceService::Status(std::unique_ptr<UnaryCall> call,
                                const etcdserverpb::StatusRequest& /*request*/) {
  const NodeStatus status = context_.node.status();
  etcdserverpb::StatusResponse response;
  response.set_version(std::string(api::kEtcdVersion));
  const std::shared_ptr<const ClusterState> cluster = context_.node.cluster_state();
  response.set_storageversion(StorageVersion());
  const int64_t size_bytes = std::max<int64_t>(context_.store.physical_size_bytes(), 1);
  response.set_dbsize(size_bytes);
  // What is stored compresses, so the logical size may be the larger one; "in use" is a part of the
  // whole for those who read it.
  response.set_dbsizeinuse(std::min(context_.store.logical_size_bytes(), size_bytes));
  response.set_dbsizequota(context_.limits.quota_backend_bytes);
  response.set_leader(status.leader.value());
  response.set_raftindex(status.commit.value());
  response.set_raftterm(status.term.value());
  response.set_raftappliedindex(status.applied.value());
  response.set_islearner(status.is_learner);
  etcdserverpb::DowngradeInfo& downgrade = *response.mutable_downgradeinfo();
  if (cluster->downgrade_target.has_value()) {
    downgrade.set_enabled(true);
    downgrade.set_targetversion(FullText(*cluster->downgrade_target));
  }
  if (status.leader == MemberId()) {
    response.add_errors(std::string(api::Info(Error::kNoLeader).text));
  }
  for (const server::Alarm& alarm : cluster->alarms) {
    response.add_errors(AlarmText(alarm));
  }
  if (status.sync_mode != wal::SyncMode::kAlways) {
    response.add_errors(
        "cairn: --wal-sync-mode is not \"always\": a power loss may take what was acknowledged");
  }
  call->Finish(Response(context_.HeaderNow(), response));
}

std::string MaintenanceService::StorageVersion() const {
  const std::shared_ptr<const ClusterState> cluster = context_.node.cluster_state();
  // Down with the cluster, so that an operator sees when members may be replaced by older ones.
  const bool is_lowered = cluster->version.has_value() && cluster->downgrade_target.has_value();
  return is_lowered ? FullText(*cluster->version) : std::string(api::kStorageVersion);
}

void MaintenanceService::MoveLeader(std::unique_ptr<UnaryCall> call,
                                    const etcdserverpb::MoveLeaderRequest& request) {
  if (context_.node.status().leader != context_.node.member_id()) {
    return call->Finish(api::ToStatus(api::Error::kNotLeader));
  }
  const MemberId target(request.targetid());
  if (target == MemberId(0)) {
    return call->Finish(api::ToStatus(api::Error::kBadLeaderTransferee));
  }
  context_.node.TransferLeadership(target, [call = std::move(call)](absl::Status status) {
    if (!status.ok()) return call->Finish(std::move(status));
    // Without a header, as etcd answers it.
    call->Finish(rpc::SliceList());
  });
}

void MaintenanceService::Hash(std::unique_ptr<UnaryCall> call,
                              const etcdserverpb::HashRequest& /*request*/) {
  auto shared = std::make_shared<std::unique_ptr<UnaryCall>>(std::move(call));
  const bool taken = context_.node.RunHash([this, shared] {
    UnaryCall& pending = **shared;
    if (pending.cancelled()) return pending.Finish(ToStatus(Error::kRequestCanceled));
    const absl::StatusOr<uint32_t> hash =
        context_.store.Hash([&] { return IsAbandoned(context_, pending); });
    if (!hash.ok()) {
      pending.Finish(ReadError(pending, hash.status()));
      return;
    }
    etcdserverpb::HashResponse response;
    response.set_hash(*hash);
    pending.Finish(Response(context_.HeaderNow(), response));
  });
  if (!taken) (*shared)->Finish(ToStatus(Error::kTooManyRequests));
}

void MaintenanceService::HashKv(std::unique_ptr<UnaryCall> call,
                                const etcdserverpb::HashKVRequest& request) {
  auto shared = std::make_shared<std::unique_ptr<UnaryCall>>(std::move(call));
  const Revision at(request.revision());
  const bool taken = context_.node.RunHash([this, shared, at] {
    UnaryCall& pending = **shared;
    if (pending.cancelled()) return pending.Finish(ToStatus(Error::kRequestCanceled));
    const absl::StatusOr<mvcc::HashKvResult> hash = context_.store.HashKv(
        at, mvcc::LiveKeys::kSkip, [&] { return IsAbandoned(context_, pending); });
    if (!hash.ok()) {
      pending.Finish(ReadError(pending, hash.status()));
      return;
    }
    etcdserverpb::HashKVResponse response;
    response.set_hash(hash->hash);
    response.set_compact_revision(hash->compact_revision.value());
    response.set_hash_revision(hash->hash_revision.value());
    pending.Finish(Response(context_.Header(hash->current), response));
  });
  if (!taken) (*shared)->Finish(ToStatus(Error::kTooManyRequests));
}

void MaintenanceService::Defragment(std::unique_ptr<UnaryCall> call,
                                    const etcdserverpb::DefragmentRequest& /*request*/) {
  // Rows that compaction removed give their space back in the background. There is nothing that
  // stopping the member would add, so the truth is that it is done. etcd sends no header here.
  call->Finish(rpc::SliceList());
}

void MaintenanceService::Alarm(std::unique_ptr<UnaryCall> call, const AlarmRequest& request) {
  switch (request.action()) {
    case AlarmRequest::GET:
      return ListAlarms(std::move(call), request.alarm());
    case AlarmRequest::ACTIVATE:
      if (!etcdserverpb::AlarmType_IsValid(request.alarm())) break;
      [[fallthrough]];
    case AlarmRequest::DEACTIVATE:
      return ProposeAndAnswer(context_, CommandKind::kAlarm, request.SerializeAsString(),
                              std::move(call));
    default:
      break;
  }
  call->Finish(base::Error(absl::StatusCode::kUnimplemented,
                           "action {} with alarm {} of method Alarm of service {} not implemented",
                           static_cast<int>(request.action()), static_cast<int>(request.alarm()),
                           kServiceName));
}

// A quorum answers, which is what `endpoint health` asks for; that takes no entry of the log.
void MaintenanceService::ListAlarms(std::unique_ptr<UnaryCall> call, int wanted) {
  const UnaryCall* const caller = call.get();
  context_.node.ReadBarrier(
      caller, [this, call = std::move(call), wanted](absl::Status read) mutable {
        if (!read.ok()) {
          call->Finish(std::move(read));
          return;
        }
        etcdserverpb::AlarmResponse response;
        const std::shared_ptr<const ClusterState> cluster = context_.node.cluster_state();
        for (const server::Alarm& alarm : cluster->alarms) {
          const int type = static_cast<int>(alarm.kind);
          if (wanted != etcdserverpb::NONE && wanted != type) continue;
          etcdserverpb::AlarmMember& shown = *response.add_alarms();
          shown.set_memberid(alarm.member.value());
          shown.set_alarm(static_cast<etcdserverpb::AlarmType>(type));
        }
        call->Finish(Response(context_.HeaderNow(), response));
      });
}

void MaintenanceService::Downgrade(std::unique_ptr<UnaryCall> call,
                                   const DowngradeRequest& request) {
  std::optional<Version> target;
  switch (request.action()) {
    case DowngradeRequest::VALIDATE:
    case DowngradeRequest::ENABLE:
      target = ParseDowngradeTarget(request.version());
      if (target.has_value()) break;
      return call->Finish(ToStatus(Error::kInvalidDowngradeTargetFormat));
    case DowngradeRequest::CANCEL:
      break;
    default:
      return call->Finish(ToStatus(Error::kUnknownMethod));
  }
  const bool validates_only = request.action() == DowngradeRequest::VALIDATE;
  const UnaryCall* const caller = call.get();
  context_.node.ReadBarrier(caller, [this, call = std::move(call), target,
                                     validates_only](absl::Status status) mutable {
    const std::shared_ptr<const ClusterState> cluster = context_.node.cluster_state();
    if (status.ok() && target.has_value()) {
      status = CheckDowngrade(cluster->version, *target, cluster->downgrade_target);
    } else if (status.ok() && !cluster->version.has_value()) {
      status = ToStatus(Error::kClusterVersionUnavailable);
    }
    if (!status.ok()) return call->Finish(std::move(status));
    // To cancel what is not there is no mistake.
    const bool has_nothing_to_do = !target.has_value() && !cluster->downgrade_target.has_value();
    const std::string version = ShortText(*cluster->version);
    if (validates_only || has_nothing_to_do) return AnswerDowngrade(*call, version);
    internal::Downgrade body;
    if (target.has_value()) body.set_target_version(FullText(*target));
    context_.node.Propose(CommandKind::kDowngrade, body.SerializeAsString(),
                          [this, call = std::move(call), version](Node::Outcome outcome) {
                            if (outcome.status.ok()) return AnswerDowngrade(*call, version);
                            call->Finish(std::move(outcome.status));
                          });
  });
}

void MaintenanceService::AnswerDowngrade(UnaryCall& call, const std::string& cluster_version) {
  etcdserverpb::DowngradeResponse response;
  response.set_version(cluster_version);
  call.Finish(Response(context_.HeaderNow(), response));
}

}  // namespace cairn::server
