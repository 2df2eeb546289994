// Refuses malformed KV requests before they cost anything: no proposal, no read, no lock.
//
// Pure functions over parsed requests; any thread. They check what can be told from the request
// alone, in etcd's order (etcd-semantics.md sections 3 and 4), so that of several faults the same
// one is named. What depends on the state (revisions, leases, present keys) is kv_apply.h's. Every
// error is INVALID_ARGUMENT with etcd's text.
#ifndef CAIRN_SERVER_REQUEST_VALIDATOR_H_
#define CAIRN_SERVER_REQUEST_VALIDATOR_H_

#include <absl/status/status.h>

#include <cstdint>
#include <string_view>

#include "api/rpc.pb.h"
#include "server/put_request.h"

namespace cairn::server {

// The number of operations that a transaction may have by default: --max-txn-ops.
inline constexpr int64_t kTxnOpsMaxDefault = 128;

// How deep transactions may nest, the outermost counted: what the default budget allows, since each
// level but the innermost spends at least one operation. Fixed, so that a larger --max-txn-ops does
// not let a request overflow a stack.
inline constexpr int kTxnDepthMax = 129;

// "key is not provided", "invalid sort option".
absl::Status ValidateRange(const etcdserverpb::RangeRequest& request);

// "key is not provided", "value is provided", "lease is provided".
absl::Status ValidatePut(const PutRequestView& request);

// "key is not provided".
absl::Status ValidateDeleteRange(const etcdserverpb::DeleteRangeRequest& request);

// All of the above for every operation of both branches and of nested transactions, an unset
// operation ("key not found"), compares without a key, the operation budget, and duplicate keys.
// Takes O(n log n) for n operations, however they nest.
absl::Status ValidateTxn(const etcdserverpb::TxnRequest& request, int64_t txn_ops_max);

// Parses a transaction however deep etcd would let it nest (Protobuf's own default stops at 50).
// INVALID_ARGUMENT "too many operations in txn request" beyond kTxnDepthMax; INTERNAL, as
// rpc::Parse, for bytes that are no transaction.
absl::Status ParseTxn(std::string_view bytes, etcdserverpb::TxnRequest& request);

// What growth of the state a transaction asks for at most, in bytes, as etcd counts it for the
// quota: the dearer branch, nested ones included (etcd-semantics.md section 8). 0 when it only
// reads and deletes.
int64_t TxnCostBytes(const etcdserverpb::TxnRequest& request);
int64_t PutCostBytes(std::string_view key, std::string_view value);

// Whether every operation of both branches is a plain range (a nested transaction is not): such a
// transaction is answered without the log.
bool IsReadOnly(const etcdserverpb::TxnRequest& request);
// Whether a read-only transaction may be answered without a read barrier: all ranges are
// serializable, or there are none.
bool IsSerializable(const etcdserverpb::TxnRequest& request);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_REQUEST_VALIDATOR_H_
