// cairn.admin.v1.Admin: who is connected, who watches what and how far behind, which leases exist,
// how the log does.
//
// For the operator's tools. Translates only: open calls come from the transport's book, watchers
// from the watch thread, leases from their rows and the lease manager; all in pages and short
// steps, so that looking delays nobody who is served. Any thread.
#ifndef CAIRN_SERVER_ADMIN_SERVICE_H_
#define CAIRN_SERVER_ADMIN_SERVICE_H_

#include <absl/status/statusor.h>

#include <cstddef>
#include <memory>

#include "api/admin.pb.h"
#include "server/rpc/call.h"
#include "server/rpc/open_calls.h"
#include "server/rpc/service_table.h"
#include "server/service_context.h"
#include "server/watch_service.h"

namespace cairn::server {

class AdminService {
 public:
  // Items on a page: what is asked for when nothing is said, and the most. A page of the most takes
  // the watch thread well below a millisecond.
  static constexpr size_t kDefaultLimit = 100;
  static constexpr size_t kMaxLimit = 1000;

  // Everything outlives this object. Without `watch` or `open_calls` the rpc about them is not
  // there either.
  AdminService(const ServiceContext& context, WatchService* watch, const rpc::OpenCalls* open_calls)
      : context_(context), watch_(watch), open_calls_(open_calls) {}
  AdminService(const AdminService&) = delete;
  AdminService& operator=(const AdminService&) = delete;

  // Adds the rpcs to `table`. A limit or a page token that is none is INVALID_ARGUMENT.
  void Register(rpc::ServiceTable& table);

 private:
  using SharedCall = std::shared_ptr<std::unique_ptr<rpc::UnaryCall>>;

  void Clients(std::unique_ptr<rpc::UnaryCall> call);
  void Watchers(std::unique_ptr<rpc::UnaryCall> call);
  void Leases(std::unique_ptr<rpc::UnaryCall> call);
  void Log(std::unique_ptr<rpc::UnaryCall> call);

  // Finishes the call with what `answer` returns, from the read pool.
  template <typename Response>
  void AnswerInPool(const SharedCall& call,
                    absl::AnyInvocable<absl::StatusOr<Response>()> answer) const;

  const ServiceContext context_;
  WatchService* const watch_;
  const rpc::OpenCalls* const open_calls_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_ADMIN_SERVICE_H_
