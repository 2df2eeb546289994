// How a transaction is evaluated: which branch each level takes, and what its response looks like.
//
// Shared by the applier (kv_apply.h) and by transactions that only read and therefore never enter
// the log. Compares of all levels look at the state before the transaction (etcd-semantics.md
// section 4). Any thread that may use the source.
#ifndef CAIRN_SERVER_TXN_EVAL_H_
#define CAIRN_SERVER_TXN_EVAL_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
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
  // Either of the two: small bodies as text, ranges as chunks.
  std::string small;
  rpc::SliceList large;
};

// The TxnResponse, without header, of a transaction that took `path` and whose plain operations
// answered `results`, in order of execution.
std::string EncodeTxnResponse(const etcdserverpb::TxnRequest& request, const TxnPath& path,
                              const std::vector<OpResult>& results);

// What the state refuses of a range in a transaction, told before anything is written:
// OUT_OF_RANGE, in etcd's words, for a revision that `state`, the one before the transaction, does
// not have. Any revision but 0 counts here, also a negative one, which elsewhere means "current".
absl::Status CheckTxnRange(const etcdserverpb::RangeRequest& request, mvcc::Published state);

// Whether a read-only transaction names single keys only, in compares and operations: quick enough
// for an RPC thread.
bool IsSmallReadTxn(const etcdserverpb::TxnRequest& request);

// Evaluates a transaction that only reads (IsReadOnly) over one state of the published store. The
// text is the TxnResponse without header.
struct ReadTxnResult {
  Revision revision;  // The header's.
  std::string body;
};
// OUT_OF_RANGE in etcd's words; UNAVAILABLE: the response budget is spent.
absl::StatusOr<ReadTxnResult> EvaluateReadTxn(const mvcc::Store& store,
                                              const etcdserverpb::TxnRequest& request,
                                              ResponseBudget& budget,
                                              std::chrono::milliseconds wait);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_TXN_EVAL_H_
