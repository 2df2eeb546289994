// etcdserverpb.KV: requests are checked, reads answered from the state, writes proposed.
//
// Handlers run on the transport's threads and never block: what is small is read there, what is
// large in the node's read pool, what writes is completed by the node. Registered once; outlives
// every call, and so must its context.
#ifndef CAIRN_SERVER_KV_SERVICE_H_
#define CAIRN_SERVER_KV_SERVICE_H_

#include <memory>

#include "api/rpc.pb.h"
#include "server/rpc/call.h"
#include "server/rpc/service_table.h"
#include "server/service_context.h"

namespace cairn::server {

class KvService {
 public:
  explicit KvService(ServiceContext context) : context_(context) {}
  KvService(const KvService&) = delete;
  KvService& operator=(const KvService&) = delete;

  // Adds every rpc of the service to `table`.
  void Register(rpc::ServiceTable& table);

 private:
  void Range(std::unique_ptr<rpc::UnaryCall> call);
  void RangeStream(std::shared_ptr<rpc::StreamCall> call, etcdserverpb::RangeRequest request);
  void Put(std::unique_ptr<rpc::UnaryCall> call);
  void DeleteRange(std::unique_ptr<rpc::UnaryCall> call);
  void Txn(std::unique_ptr<rpc::UnaryCall> call);
  void ReadTxn(std::unique_ptr<rpc::UnaryCall> call, etcdserverpb::TxnRequest request);
  void Compact(std::unique_ptr<rpc::UnaryCall> call);

  // Proposes the call's request and answers with the outcome.
  void Propose(CommandKind kind, std::unique_ptr<rpc::UnaryCall> call);
  // "request is too large", "database space exceeded".
  absl::Status CheckRoom(size_t body_bytes, int64_t cost_bytes) const;

  const ServiceContext context_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_KV_SERVICE_H_
