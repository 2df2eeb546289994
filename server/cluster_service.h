// etcdserverpb.Cluster: who the members are, and changing that.
//
// Handlers run on the transport's threads and never block. Registered once; outlives every call,
// and so must its context.
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_H_
#define CAIRN_SERVER_CLUSTER_SERVICE_H_

#include <memory>
#include <string_view>

#include "api/rpc.pb.h"
#include "server/member_changer.h"
#include "server/rpc/call.h"
#include "server/rpc/service_table.h"
#include "server/service_context.h"

namespace cairn::server {

class ClusterService {
 public:
  explicit ClusterService(ServiceContext context)
      : context_(context),
        changer_(context.node, {.strict_reconfig_check = context.limits.strict_reconfig_check,
                                .learners_max = context.limits.learners_max}) {}
  ClusterService(const ClusterService&) = delete;
  ClusterService& operator=(const ClusterService&) = delete;

  // Adds every rpc of the service to `table`.
  void Register(rpc::ServiceTable& table);

 private:
  template <typename Request>
  using Handler = void (ClusterService::*)(std::unique_ptr<rpc::UnaryCall> call, Request request);

  template <typename Request>
  void Add(rpc::ServiceTable& table, std::string_view method, Handler<Request> handler);

  void MemberAdd(std::unique_ptr<rpc::UnaryCall> call, etcdserverpb::MemberAddRequest request);
  void MemberRemove(std::unique_ptr<rpc::UnaryCall> call,
                    etcdserverpb::MemberRemoveRequest request);
  void MemberUpdate(std::unique_ptr<rpc::UnaryCall> call,
                    etcdserverpb::MemberUpdateRequest request);
  void MemberList(std::unique_ptr<rpc::UnaryCall> call, etcdserverpb::MemberListRequest request);
  void MemberPromote(std::unique_ptr<rpc::UnaryCall> call,
                     etcdserverpb::MemberPromoteRequest request);

  void ForwardPromotion(MemberId id, Node::ProposeDone answer);

  // What ends the wait for a change: its outcome is the call's answer.
  Node::ProposeDone Answer(std::unique_ptr<rpc::UnaryCall> call);
  void AnswerList(rpc::UnaryCall& call);

  const ServiceContext context_;
  MemberChanger changer_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_CLUSTER_SERVICE_H_
