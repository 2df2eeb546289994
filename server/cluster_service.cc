#include "server/cluster_service.h"

#include <absl/status/status.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/errors.h"
#include "api/peer.pb.h"
#include "api/rpc.pb.h"
#include "server/member_response.h"
#include "server/rpc/proto.h"

namespace cairn::server {

namespace {

using rpc::UnaryCall;

constexpr std::string_view kServiceName = "etcdserverpb.Cluster";

std::vector<std::string> UrlsOf(const google::protobuf::RepeatedPtrField<std::string>& urls) {
  return {urls.begin(), urls.end()};
}

// What the leader's answer means to the client.
Node::Outcome PromotionOutcome(const absl::StatusOr<std::string>& answer) {
  if (!answer.ok()) {
    // The leader's own words pass; what the connection says does not tell a client anything, but
    // that the leader may have done it.
    const std::optional<api::Error> reason = api::FindError(answer.status());
    if (reason == api::Error::kNotLeader) return {.status = api::ToStatus(api::Error::kNoLeader)};
    if (reason.has_value()) return {.status = answer.status()};
    return {.status = api::ToStatus(absl::IsDeadlineExceeded(answer.status())
                                        ? api::Error::kTimeout
                                        : api::Error::kTimeoutConnectionLost)};
  }
  peer::PromoteResponse response;
  if (!response.ParseFromString(*answer)) {
    return {.status = api::ToStatus(api::Error::kTimeoutConnectionLost)};
  }
  return {.response = std::move(*response.mutable_response())};
}

}  // namespace

template <typename Request>
void ClusterService::Add(rpc::ServiceTable& table, std::string_view method,
                         Handler<Request> handler) {
  table.AddUnary(
      kServiceName, method,
      rpc::TypedUnary<Request>([this, handler](std::unique_ptr<UnaryCall> call, Request request) {
        if (absl::Status status = Admit(context_, *call, OnLearner::kRefuse); !status.ok()) {
          call->Finish(std::move(status));
          return;
        }
        (this->*handler)(std::move(call), std::move(request));
      }));
}

void ClusterService::Register(rpc::ServiceTable& table) {
  Add(table, "MemberAdd", &ClusterService::MemberAdd);
  Add(table, "MemberRemove", &ClusterService::MemberRemove);
  Add(table, "MemberUpdate", &ClusterService::MemberUpdate);
  Add(table, "MemberList", &ClusterService::MemberList);
  Add(table, "MemberPromote", &ClusterService::MemberPromote);
}

// The rpcs on members tell no revision.
Node::ProposeDone ClusterService::Answer(std::unique_ptr<UnaryCall> call) {
  return [this, call = std::move(call)](Node::Outcome outcome) mutable {
    if (!outcome.status.ok()) {
      call->Finish(std::move(outcome.status));
      return;
    }
    call->Finish(WithHeader(context_.Header(Revision()), outcome.response));
  };
}

void ClusterService::MemberAdd(std::unique_ptr<UnaryCall> call,
                               etcdserverpb::MemberAddRequest request) {
  changer_.Add(UrlsOf(request.peerurls()), request.islearner(), Answer(std::move(call)));
}

void ClusterService::MemberRemove(std::unique_ptr<UnaryCall> call,
                                  etcdserverpb::MemberRemoveRequest request) {
  changer_.Remove(MemberId(request.id()), Answer(std::move(call)));
}

void ClusterService::MemberUpdate(std::unique_ptr<UnaryCall> call,
                                  etcdserverpb::MemberUpdateRequest request) {
  changer_.UpdatePeerUrls(MemberId(request.id()), UrlsOf(request.peerurls()),
                          Answer(std::move(call)));
}

void ClusterService::AnswerList(UnaryCall& call) {
  call.Finish(WithHeader(context_.Header(Revision()), ListResponse(*context_.node.members())));
}

void ClusterService::MemberList(std::unique_ptr<UnaryCall> call,
                                etcdserverpb::MemberListRequest request) {
  if (!request.linearizable() || context_.node.CanReadNow()) {
    AnswerList(*call);
    return;
  }
  const UnaryCall* const caller = call.get();
  context_.node.ReadBarrier(caller, [this, call = std::move(call)](absl::Status read) mutable {
    if (!read.ok()) {
      call->Finish(std::move(read));
      return;
    }
    AnswerList(*call);
  });
}

void ClusterService::MemberPromote(std::unique_ptr<UnaryCall> call,
                                   etcdserverpb::MemberPromoteRequest request) {
  const MemberId id(request.id());
  changer_.Promote(id, [this, id, answer = Answer(std::move(call))](Node::Outcome outcome) mutable {
    if (outcome.status != api::ToStatus(api::Error::kNotLeader)) {
      std::move(answer)(std::move(outcome));
      return;
    }
    ForwardPromotion(id, std::move(answer));
  });
}

// Only the leader knows how far a learner is.
void ClusterService::ForwardPromotion(MemberId id, Node::ProposeDone answer) {
  const MemberId leader = context_.node.status().leader;
  if (leader == MemberId() || leader == context_.node.member_id()) {
    std::move(answer)({.status = api::ToStatus(api::Error::kNoLeader)});
    return;
  }
  peer::PromoteRequest request;
  request.set_cluster_id(context_.node.cluster_id().value());
  request.set_member_id(id.value());
  context_.node.CallPeer(
      leader, "Promote", request.SerializeAsString(),
      [answer = std::move(answer)](absl::StatusOr<std::string> response) mutable {
        std::move(answer)(PromotionOutcome(response));
      });
}

}  // namespace cairn::server
