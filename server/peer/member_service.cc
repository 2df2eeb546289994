#include "server/peer/member_service.h"

#include <algorithm>
#include <string>
#include <utility>

#include "api/errors.h"
#include "base/status.h"
#include "server/rpc/proto.h"

namespace cairn::server {

namespace {

constexpr std::string_view kServiceName = "cairn.peer.Peer";

}  // namespace

void PeerMemberService::Register(rpc::ServiceTable& table) {
  table.AddUnary(
      kServiceName, "Members",
      rpc::TypedUnary<peer::MembersRequest>(
          [this](std::unique_ptr<rpc::UnaryCall> call, const peer::MembersRequest& /*request*/) {
            Members(std::move(call));
          }));
  table.AddUnary(kServiceName, "Promote",
                 rpc::TypedUnary<peer::PromoteRequest>([this](std::unique_ptr<rpc::UnaryCall> call,
                                                              const peer::PromoteRequest& request) {
                   Promote(std::move(call), request);
                 }));
}

void PeerMemberService::Members(std::unique_ptr<rpc::UnaryCall> call) {
  peer::MembersResponse response;
  response.set_cluster_id(node_.cluster_id().value());
  const std::shared_ptr<const server::Members> members = node_.members();
  for (const Member& member : *members) {
    peer::Member& shown = *response.add_members();
    shown.set_id(member.id.value());
    shown.set_name(member.name);
    for (const std::string& url : member.peer_urls) shown.add_peer_urls(url);
    for (const std::string& url : member.client_urls) shown.add_client_urls(url);
    shown.set_is_learner(member.is_learner);
  }
  call->Finish(rpc::SliceList(rpc::Encode(response)));
}

absl::StatusOr<ExistingCluster> DecodeMembersResponse(std::string_view bytes) {
  peer::MembersResponse response;
  if (!response.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ||
      response.cluster_id() == 0) {
    return base::Error(absl::StatusCode::kDataLoss, "the answer does not parse");
  }
  ExistingCluster existing{ClusterId(response.cluster_id()), {}};
  for (const peer::Member& shown : response.members()) {
    existing.members.push_back(
        {.id = MemberId(shown.id()),
         .name = shown.name(),
         .peer_urls = {shown.peer_urls().begin(), shown.peer_urls().end()},
         .client_urls = {shown.client_urls().begin(), shown.client_urls().end()},
         .is_learner = shown.is_learner()});
  }
  // Looked up by id.
  std::sort(existing.members.begin(), existing.members.end(),
            [](const Member& a, const Member& b) { return a.id < b.id; });
  return existing;
}

void PeerMemberService::Promote(std::unique_ptr<rpc::UnaryCall> call,
                                const peer::PromoteRequest& request) {
  if (request.cluster_id() != node_.cluster_id().value()) {
    call->Finish(api::ToStatus(api::Error::kClusterIdMismatch));
    return;
  }
  changer_.Promote(MemberId(request.member_id()),
                   [call = std::move(call)](Node::Outcome outcome) mutable {
                     if (!outcome.status.ok()) {
                       call->Finish(std::move(outcome.status));
                       return;
                     }
                     peer::PromoteResponse response;
                     response.set_response(std::move(outcome.response));
                     call->Finish(rpc::SliceList(rpc::Encode(response)));
                   });
}

}  // namespace cairn::server
