// How a transaction is evaluated: which branch each level takes, and what its response looks like.
//
// Shared by the applier (kv_apply.h) and by transactions that only read and therefore never enter
// the log. Compares of all levels look at the state before the transaction (etcd-semantics.md
// section 4). Any thread that may use the source.
#ifndef CAIRN_SERVER_TXN_EVAL_H_
#define CAIRN_SERVER_TXN_EVAL_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <string>
#include <vector>

#include "api/rpc.pb.h"
#include "mvcc/store.h"
#include "server/kv_source.h"
#include "server/response_buffer.h"

namespace cairn::server {

// Which branch each transaction on the way takes: the outermost first, then the nested ones of the
// branches taken, in order of their operations (pre-order). True: the compares held.
using TxnPath = std::vector<bool>;

// `source` must show the state before the transaction. Errors are the backend's.
absl::StatusOr<TxnPath> DecidePath(const KvSource& source, const etcdserverpb::TxnRequest& request);

// The operations of the branch that `succeeded` names.
inline const auto& BranchOf(const etcdserverpb::TxnRequest& request, bool succeeded) {
  return succeeded ? request.success() : request.failure();
}

// What one operation answered: the fields of its response but the header.
struct OpResult {
  // As the header of an operation shows it: the revision alone.
  Revision header_revision;
  // One after the other: a few fields as text, rows as chunks, which are counted already.
  std::string small;
  rpc::SliceList large;
};

// Writes the TxnResponse, without header, of a transaction that took `path` and whose plain
// operations answered `results`, in order of execution. Large results are shared, not copied. False
// when `out` refuses.
bool EncodeTxnResponse(const etcdserverpb::TxnRequest& request, const TxnPath& path,
                       const std::vector<OpResult>& results, ResponseBuffer& out);

// What the state refuses of a range in a transaction, told before anything is written:
// OUT_OF_RANGE, in etcd's words, for a revision that `state`, the one before the transaction, does
// not have. Any revision but 0 counts here, also a negative one, which elsewhere means "current".
absl::Status CheckTxnRange(const etcdserverpb::RangeRequest& request, mvcc::Published state);

// As many keys as the recipes for locks and configurations read, with some to spare. Each may hold
// the largest value, so at worst some 12 MiB are copied at once.
inline constexpr int kSmallTxnReadsMax = 8;

// Whether a read-only transaction names single keys only, in compares and operations, and no more
// of them than that: for an RPC thread, which may be the only one.
bool IsSmallReadTxn(const etcdserverpb::TxnRequest& request);

// Evaluates a transaction that only reads (IsReadOnly) over one state of the published store and
// writes the TxnResponse without header to `out`, whose budget and wait also hold for what is read
// on the way. Returns the header's revision. `out` must be empty and is unspecified after an error.
// OUT_OF_RANGE in etcd's words; RESOURCE_EXHAUSTED: the answer is too large; UNAVAILABLE: the
// response budget is spent; CANCELLED: `is_stopping` said so.
absl::StatusOr<Revision> EvaluateReadTxn(const mvcc::Store& store,
                                         const etcdserverpb::TxnRequest& request,
                                         ResponseBuffer& out,
                                         mvcc::IsStopping is_stopping = mvcc::kNeverStops);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_TXN_EVAL_H_
