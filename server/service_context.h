// What all services share: the node, the state, the limits; and the checks before any request.
//
// Made once by the server, outlives every call. Any thread.
#ifndef CAIRN_SERVER_SERVICE_CONTEXT_H_
#define CAIRN_SERVER_SERVICE_CONTEXT_H_

#include <absl/status/status.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "mvcc/store.h"
#include "server/node.h"
#include "server/response.h"
#include "server/response_buffer.h"
#include "server/rpc/call.h"

namespace cairn::server {

// What a lease counts for the quota, as etcd counts it.
inline constexpr int64_t kLeaseCostBytes = 64;

struct ServiceLimits {
  // --max-txn-ops.
  int64_t txn_ops_max = 128;
  // --max-request-bytes: the most that an encoded command may take.
  size_t request_bytes_max = size_t{1536} << 10;
  // --quota-backend-bytes: growth of the state is refused beyond it. 0: no limit.
  int64_t quota_backend_bytes = 0;
  // The least time to live of a lease: one and a half election timeouts, in whole seconds.
  int64_t lease_ttl_min_s = 2;
  // --strict-reconfig-check and --max-learners (membership_rules.h, membership_change.h).
  bool strict_reconfig_check = true;
  uint32_t learners_max = 1;
};

struct ServiceContext {
  Node& node;
  const mvcc::Store& store;
  ResponseBudget& budget;
  ServiceLimits limits;
  // Growth by so much was refused here, for lack of room. Any thread; must not block. May be empty.
  std::function<void(int64_t cost_bytes)> on_refused_growth = {};

  ResponseHeader Header(Revision revision) const { return HeaderOf(node, revision); }
  // The header of an answer that tells the store's revision at this moment.
  ResponseHeader HeaderNow() const { return Header(store.published().revision); }
};

// Whether a learner answers an rpc too.
enum class OnLearner : bool { kRefuse, kServe };

// What is checked before a call of any service is looked at: INVALID_ARGUMENT for a
// client-api-version that is no UTF-8; FAILED_PRECONDITION on a learner, UNAVAILABLE "no leader" if
// the client asked for one (metadata hasleader) and there is none.
absl::Status Admit(const ServiceContext& context, const rpc::Call& call, OnLearner on_learner);

// What counts against the quota: live rows, history, and the leases, whose rows are not part of the
// state's size.
int64_t UsedBytes(const mvcc::Store& store, const LeaseManager& leases);

// Whether the state may grow by `cost_bytes`: RESOURCE_EXHAUSTED "database space exceeded" when
// this member's quota is reached or Node::RefusesGrowth. Growth is refused before it is proposed,
// so "no space" always means "not applied"; what deletes (0) passes, unless Node::RefusesWrites.
// What compacts is not asked about. What an alarm that a client has raised refuses is told when it
// is applied, so that who has disarmed it can write through every member at once.
absl::Status CheckGrowth(const ServiceContext& context, int64_t cost_bytes);

// Whether nobody waits any more for what is read for `call`: its client has gone, or the server
// ends its reads. Any thread, as long as the call is not finished.
bool IsAbandoned(const ServiceContext& context, const rpc::Call& call);

// What `call` is answered when a read for it failed with `error`: an abandoned one hears "request
// canceled" or "server stopped", and refusals of a revision are in etcd's words.
absl::Status ReadError(const rpc::Call& call, const absl::Status& error);

// Proposes a command and finishes the call with the outcome, behind a header of its revision.
void ProposeAndAnswer(const ServiceContext& context, CommandKind kind, std::string_view body,
                      std::unique_ptr<rpc::UnaryCall> call);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SERVICE_CONTEXT_H_
