// etcdserverpb.Lease: grants and revocations go through the log, renewals and looks do not.
//
// Translates and checks; the rules are lease/lessor.h's and lease_apply.h's. Any thread.
#ifndef CAIRN_SERVER_LEASE_SERVICE_H_
#define CAIRN_SERVER_LEASE_SERVICE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "api/rpc.pb.h"
#include "base/ids.h"
#include "lease/lessor.h"
#include "server/rpc/call.h"
#include "server/rpc/service_table.h"
#include "server/service_context.h"

namespace cairn::server {

class LeaseService {
 public:
  // What `context` refers to must outlive this object.
  explicit LeaseService(const ServiceContext& context);

  void Register(rpc::ServiceTable& table);

 private:
  void Grant(std::unique_ptr<rpc::UnaryCall> call);
  void Revoke(std::unique_ptr<rpc::UnaryCall> call);
  // Answers once the leader has had the last keys of an ending lease deleted.
  void AnswerAtEnd(const lease::LeaseName& name, std::unique_ptr<rpc::UnaryCall> call);
  void KeepAlive(std::shared_ptr<rpc::StreamCall> call);
  void TimeToLive(std::unique_ptr<rpc::UnaryCall> call);
  // Asks the leader for what only it knows, if this member does not lead, then answers.
  void FindTimeToLive(std::unique_ptr<rpc::UnaryCall> call,
                      const etcdserverpb::LeaseTimeToLiveRequest& request);
  void AnswerTimeToLive(std::unique_ptr<rpc::UnaryCall> call,
                        const etcdserverpb::LeaseTimeToLiveRequest& request,
                        const std::optional<lease::LeaseView>& view);
  // `body` and the keys of the lease. In the read pool: what it walks is not bounded by the keys.
  void AnswerWithKeys(rpc::UnaryCall& call, LeaseId id, std::string_view body);
  void Leases(std::unique_ptr<rpc::UnaryCall> call);
  void AnswerLeases(rpc::UnaryCall& call);
  // An id that no lease has now, above 0.
  LeaseId PickId();

  const ServiceContext context_;
  // As etcd makes them: 2 bytes of the member's id, 5 of the clock at start, 1 to count from there.
  std::atomic<uint64_t> next_id_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_LEASE_SERVICE_H_
