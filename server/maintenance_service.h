// etcdserverpb.Maintenance: how the member is, hashes of its state, and what needs no doing here.
//
// Status answers locally; alarms are raised and cleared through the log and listed behind a read
// barrier; Hash and HashKV read on the node's thread for hashes; Defragment has nothing to
// do, because removed rows give their space back by themselves; Snapshot is the saver's
// (snapshot/saver.h). Handlers run on the transport's threads and never block. Registered once;
// outlives every call, and so must its context.
#ifndef CAIRN_SERVER_MAINTENANCE_SERVICE_H_
#define CAIRN_SERVER_MAINTENANCE_SERVICE_H_

#include <memory>
#include <string>
#include <string_view>

#include "api/rpc.pb.h"
#include "server/rpc/call.h"
#include "server/rpc/service_table.h"
#include "server/service_context.h"
#include "server/snapshot/saver.h"

namespace cairn::server {

class MaintenanceService {
 public:
  // Without `saver`, which must outlive this object, there is no Snapshot.
  explicit MaintenanceService(ServiceContext context, SnapshotSaver* saver = nullptr)
      : context_(context), saver_(saver) {}
  MaintenanceService(const MaintenanceService&) = delete;
  MaintenanceService& operator=(const MaintenanceService&) = delete;

  // Adds every rpc of the service to `table`; those that are not built yet answer UNIMPLEMENTED.
  void Register(rpc::ServiceTable& table);

 private:
  template <typename Request>
  using Handler = void (MaintenanceService::*)(std::unique_ptr<rpc::UnaryCall> call,
                                               const Request& request);
  // Requests come to `handler` parsed and admitted.
  template <typename Request>
  void Add(rpc::ServiceTable& table, std::string_view method, OnLearner on_learner,
           Handler<Request> handler);

  void Status(std::unique_ptr<rpc::UnaryCall> call, const etcdserverpb::StatusRequest& request);
  // The etcd version whose stored messages ours equal, as Status and Snapshot tell it.
  std::string StorageVersion() const;
  void Hash(std::unique_ptr<rpc::UnaryCall> call, const etcdserverpb::HashRequest& request);
  void HashKv(std::unique_ptr<rpc::UnaryCall> call, const etcdserverpb::HashKVRequest& request);
  void Defragment(std::unique_ptr<rpc::UnaryCall> call,
                  const etcdserverpb::DefragmentRequest& request);
  void MoveLeader(std::unique_ptr<rpc::UnaryCall> call,
                  const etcdserverpb::MoveLeaderRequest& request);
  void Alarm(std::unique_ptr<rpc::UnaryCall> call, const etcdserverpb::AlarmRequest& request);
  // Those of one AlarmType; of all for NONE.
  void ListAlarms(std::unique_ptr<rpc::UnaryCall> call, int wanted);

  void Downgrade(std::unique_ptr<rpc::UnaryCall> call,
                 const etcdserverpb::DowngradeRequest& request);
  void AnswerDowngrade(rpc::UnaryCall& call, const std::string& cluster_version);

  const ServiceContext context_;
  SnapshotSaver* const saver_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_MAINTENANCE_SERVICE_H_
