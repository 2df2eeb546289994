#include "server/cluster_service.h"

#include <absl/status/status.h>

#include <memory>
#include <utility>

#include "api/rpc.pb.h"
#include "server/rpc/proto.h"

namespace cairn::server {

namespace {

using etcdserverpb::MemberListRequest;
using rpc::UnaryCall;

void AnswerMemberList(const ServiceContext& context, UnaryCall& call) {
  etcdserverpb::MemberListResponse response;
  const std::shared_ptr<const Members> members = context.node.members();
  for (const Member& member : *members) {
    etcdserverpb::Member& shown = *response.add_members();
    shown.set_id(member.id.value());
    shown.set_name(member.name);
    for (const std::string& url : member.peer_urls) shown.add_peerurls(url);
    for (const std::string& url : member.client_urls) shown.add_clienturls(url);
    shown.set_islearner(member.is_learner);
  }
  // The rpcs on members tell no revision.
  call.Finish(WithHeader(context.Header(Revision()), response.SerializeAsString()));
}

}  // namespace

void ClusterService::Register(rpc::ServiceTable& table) {
  const google::protobuf::ServiceDescriptor& service =
      *MemberListRequest::descriptor()->file()->FindServiceByName("Cluster");
  table.AddUnary(service.full_name(), "MemberList",
                 [this](std::unique_ptr<UnaryCall> call) { MemberList(std::move(call)); });
  rpc::AddUnimplementedRest(service, table);
}

void ClusterService::MemberList(std::unique_ptr<UnaryCall> call) {
  MemberListRequest request;
  absl::Status status = rpc::Parse(call->request(), request);
  if (status.ok()) status = Admit(context_, *call, OnLearner::kRefuse);
  if (!status.ok()) {
    call->Finish(std::move(status));
    return;
  }
  if (!request.linearizable() || context_.node.CanReadNow()) {
    AnswerMemberList(context_, *call);
    return;
  }
  context_.node.ReadBarrier([this, call = std::move(call)](absl::Status read) mutable {
    if (!read.ok()) {
      call->Finish(std::move(read));
      return;
    }
    AnswerMemberList(context_, *call);
  });
}

}  // namespace cairn::server
