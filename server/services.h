// Every service that a client can call, in one table.
//
// Made once by the server and handed to the transports; outlives them. Made on one thread and
// constant afterwards.
#ifndef CAIRN_SERVER_SERVICES_H_
#define CAIRN_SERVER_SERVICES_H_

#include "server/admin_service.h"
#include "server/cluster_service.h"
#include "server/kv_service.h"
#include "server/lease_service.h"
#include "server/maintenance_service.h"
#include "server/rpc/open_calls.h"
#include "server/rpc/service_table.h"
#include "server/service_context.h"
#include "server/snapshot/saver.h"
#include "server/watch_service.h"

namespace cairn::server {

class Services {
 public:
  // What `context` refers to, `watch`, `open_calls` and `saver` must outlive this object. Without
  // `watch`, Watch is not there either; without `open_calls` nobody can ask for clients; without
  // `saver` there is no Snapshot.
  explicit Services(const ServiceContext& context, WatchService* watch = nullptr,
                    const rpc::OpenCalls* open_calls = nullptr, SnapshotSaver* saver = nullptr);
  Services(const Services&) = delete;
  Services& operator=(const Services&) = delete;

  // KV, Lease, Watch, Maintenance, Cluster, grpc.health.v1.Health and cairn.admin.v1.Admin; every
  // rpc of the contract that is not built yet (Auth, Lock, Election) answers UNIMPLEMENTED, naming
  // itself.
  const rpc::ServiceTable& table() const { return table_; }

 private:
  const ServiceContext context_;
  KvService kv_;
  LeaseService lease_;
  MaintenanceService maintenance_;
  ClusterService cluster_;
  AdminService admin_;
  rpc::ServiceTable table_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SERVICES_H_
