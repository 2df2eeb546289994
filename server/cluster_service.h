// etcdserverpb.Cluster: who the members are.
//
// Registered once; outlives every call, and so must its context.
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_H_
#define CAIRN_SERVER_CLUSTER_SERVICE_H_

#include <memory>

#include "server/rpc/call.h"
#include "server/rpc/service_table.h"
#include "server/service_context.h"

namespace cairn::server {

class ClusterService {
 public:
  explicit ClusterService(ServiceContext context) : context_(context) {}
  ClusterService(const ClusterService&) = delete;
  ClusterService& operator=(const ClusterService&) = delete;

  // Adds every rpc of the service to `table`; those that are not built yet answer UNIMPLEMENTED.
  void Register(rpc::ServiceTable& table);

 private:
  void MemberList(std::unique_ptr<rpc::UnaryCall> call);

  const ServiceContext context_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_CLUSTER_SERVICE_H_
