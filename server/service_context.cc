#include "server/service_context.h"

#include <optional>
#include <string_view>
#include <utility>

#include "api/errors.h"
#include "server/lease_manager.h"

namespace cairn::server {

namespace {

// Whether `text` is well-formed UTF-8 (no overlong forms, no surrogates, nothing above U+10FFFF).
bool IsUtf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<uint8_t>(text[i++]);
    if (lead < 0x80) continue;
    int continuation_bytes = 0;
    uint8_t second_min = 0x80;
    uint8_t second_max = 0xbf;
    if (lead >= 0xc2 && lead <= 0xdf) {
      continuation_bytes = 1;
    } else if (lead >= 0xe0 && lead <= 0xef) {
      continuation_bytes = 2;
      if (lead == 0xe0) second_min = 0xa0;
      if (lead == 0xed) second_max = 0x9f;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
      continuation_bytes = 3;
      if (lead == 0xf0) second_min = 0x90;
      if (lead == 0xf4) second_max = 0x8f;
    } else {
      return false;
    }
    for (int n = 0; n < continuation_bytes; ++n, ++i) {
      if (i == text.size()) return false;
      const auto byte = static_cast<uint8_t>(text[i]);
      if (byte < (n == 0 ? second_min : 0x80) || byte > (n == 0 ? second_max : 0xbf)) return false;
    }
  }
  return true;
}

}  // namespace

absl::Status Admit(const ServiceContext& context, const rpc::Call& call, OnLearner on_learner) {
  if (const std::optional<std::string_view> version = call.Find("client-api-version");
      version && !IsUtf8(*version)) {
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
  if (cost_bytes <= 0) return absl::OkStatus();
  const int64_t quota_bytes = context.limits.quota_backend_bytes;
  const bool is_over_quota =
      quota_bytes > 0 && UsedBytes(context.store, context.node.leases()) + cost_bytes > quota_bytes;
  if (!is_over_quota && !context.node.RefusesGrowth()) return absl::OkStatus();
  if (context.on_refused_growth) context.on_refused_growth(cost_bytes);
  return api::ToStatus(api::Error::kNoSpace);
}

void ProposeAndAnswer(const ServiceContext& context, CommandKind kind, std::string_view body,
                      std::unique_ptr<rpc::UnaryCall> call) {
  context.node.Propose(
      kind, body, [&context, call = std::move(call)](Node::Outcome outcome) mutable {
        if (!outcome.status.ok()) {
          call->Finish(std::move(outcome.status));
          return;
        }
        call->Finish(WithHeader(context.Header(outcome.revision), outcome.response));
      });
}

}  // namespace cairn::server
