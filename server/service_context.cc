#include "server/service_context.h"

#include <optional>
#include <string_view>
#include <utility>

#include "api/errors.h"
#include "base/utf8.h"
#include "server/kv_source.h"
#include "server/lease_manager.h"

namespace cairn::server {

absl::Status Admit(const ServiceContext& context, const rpc::Call& call, OnLearner on_learner) {
  if (const std::optional<std::string_view> version = call.Find("client-api-version");
      version && !base::IsUtf8(*version)) {
    return api::ToStatus(api::Error::kInvalidClientApiVersion);
  }
  const bool wants_leader = call.Find("hasleader") == std::optional<std::string_view>("true");
  if (on_learner == OnLearner::kServe && !wants_leader) return absl::OkStatus();
  const NodeStatus status = context.node.status();
  if (status.is_learner && on_learner == OnLearner::kRefuse) {
    return api::ToStatus(api::Error::kNotSupportedForLearner);
  }
  if (wants_leader && status.leader == MemberId()) return api::ToStatus(api::Error::kNoLeader);
  return absl::OkStatus();
}

int64_t UsedBytes(const mvcc::Store& store, const LeaseManager& leases) {
  return store.logical_size_bytes() + static_cast<int64_t>(leases.count()) * kLeaseCostBytes;
}

absl::Status CheckGrowth(const ServiceContext& context, int64_t cost_bytes) {
  if (context.node.RefusesWrites()) return api::ToStatus(api::Error::kNoSpace);
  if (cost_bytes <= 0) return absl::OkStatus();
  const int64_t quota_bytes = context.limits.quota_backend_bytes;
  const bool is_over_quota =
      quota_bytes > 0 && UsedBytes(context.store, context.node.leases()) + cost_bytes > quota_bytes;
  if (!is_over_quota && !context.node.RefusesGrowth()) return absl::OkStatus();
  if (context.on_refused_growth) context.on_refused_growth(cost_bytes);
  return api::ToStatus(api::Error::kNoSpace);
}

bool IsAbandoned(const ServiceContext& context, const rpc::Call& call) {
  return context.node.EndsReads() || call.cancelled();
}

absl::Status ReadError(const rpc::Call& call, const absl::Status& error) {
  if (!absl::IsCancelled(error)) return TranslateReadError(error);
  return api::ToStatus(call.cancelled() ? api::Error::kRequestCanceled
                                        : api::Error::kServerStopped);
}

void ProposeAndAnswer(const ServiceContext& context, CommandKind kind, std::string_view body,
                      std::unique_ptr<rpc::UnaryCall> call) {
  context.node.Propose(
      kind, body, [&context, call = std::move(call)](Node::Outcome outcome) mutable {
        if (!outcome.status.ok()) {
          call->Finish(std::move(outcome.status));
          return;
        }
        call->Finish(WithHeader(context.Header(outcome.revision), outcome.response, outcome.rest));
      });
}

}  // namespace cairn::server
