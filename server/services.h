// Every service that a client can call, in one table.
//
// Made once by the server and handed to the transports; outlives them.
#ifndef CAIRN_SERVER_SERVICES_H_
#define CAIRN_SERVER_SERVICES_H_

#include "server/cluster_service.h"
#include "server/kv_service.h"
#include "server/lease_service.h"
#include "server/maintenance_service.h"
#include "server/rpc/service_table.h"
#include "server/service_context.h"
#include "server/watch_service.h"

namespace cairn::server {

class Services {
 public:
  // What `context` refers to, and `watch`, must outlive this object. Without `watch`, Watch is not
  // there either.
  explicit Services(const ServiceContext& context, WatchService* watch = nullptr);
  Services(const Services&) = delete;
  Services& operator=(const Services&) = delete;

  // KV, Lease, Watch, Maintenance, Cluster and grpc.health.v1.Health; every rpc of the contract
  // that is not built yet (Auth, Lock, Election) answers UNIMPLEMENTED, naming itself.
  const rpc::ServiceTable& table() const { return table_; }

 private:
  const ServiceContext context_;
  KvService kv_;
  LeaseService lease_;
  MaintenanceService maintenance_;
  ClusterService cluster_;
  rpc::ServiceTable table_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SERVICES_H_
