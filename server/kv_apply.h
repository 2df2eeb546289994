// What a committed KV command does to the state: Put, DeleteRange, Txn, Compact.
//
// Deterministic: the outcome depends on the state, the command's bytes and the leases alone, so
// every member reaches the same state. Apply thread only. Knows nothing of consensus, waiters or
// watches; what changed is read from the batch afterwards (mvcc::Batch::changes).
#ifndef CAIRN_SERVER_KV_APPLY_H_
#define CAIRN_SERVER_KV_APPLY_H_

#include <absl/functional/any_invocable.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "api/rpc.pb.h"
#include "base/ids.h"
#include "mvcc/write_txn.h"
#include "server/command.h"
#include "server/node.h"
#include "server/response_buffer.h"

namespace cairn::server {

// The most that the response of one applied command may hold.
inline constexpr size_t kApplyResponseBytesMax = size_t{64} << 20;
// What all of them may hold, from when they are built to when they are sent. They are built on the
// apply thread and cannot wait for memory, so they have a budget apart from that of reads. An
// answer may have half of a budget, and a quarter is for what answers begin with.
inline constexpr int64_t kApplyResponseBudgetBytes = 2 * int64_t{kApplyResponseBytesMax};

// Whether anyone waits for the answer. Other members than the proposer, and replay after a restart,
// save the reads that only feed it; the state changes alike.
enum class Answer : bool { kDiscard, kBuild };

class KvApplier {
 public:
  // Whether there is such a lease to put keys on now, in the order of the log.
  using LeaseExists = absl::AnyInvocable<bool(LeaseId) const>;

  explicit KvApplier(LeaseExists lease_exists);

  // Whether `kind` is one of this class's.
  static bool Handles(CommandKind kind);

  // Applies one command in a transaction of its own. `body` is the client's request as it came over
  // the wire, validated when it was proposed. `batch` must have no open transaction.
  //
  // The outcome is OK with the response's fields but the header, and the header's revision; or a
  // refusal with nothing changed: NOT_FOUND (lease), INVALID_ARGUMENT "key not found", OUT_OF_RANGE
  // (compacted or future revision), RESOURCE_EXHAUSTED kTooMuchAtOnce (mvcc::WriteTxn::kBytesMax).
  // One error does not undo the change and says so: RESOURCE_EXHAUSTED, when the response would
  // pass kApplyResponseBytesMax, or what is left of kApplyResponseBudgetBytes.
  //
  // The error of the StatusOr itself is final, and the member must stop: the backend failed, or
  // `body` is not what was validated (DATA_LOSS).
  absl::StatusOr<Node::Outcome> Apply(CommandKind kind, std::string_view body, Answer answer,
                                      mvcc::Batch& batch);

  // What the answers hold. Outlived by those that are still on their way.
  ResponseBudget& budget() { return budget_; }

 private:
  absl::StatusOr<Node::Outcome> Dispatch(CommandKind kind, std::string_view body, Answer answer,
                                         mvcc::Batch& batch);
  absl::StatusOr<Node::Outcome> ApplyPut(std::string_view body, Answer answer, mvcc::Batch& batch);
  absl::StatusOr<Node::Outcome> ApplyDeleteRange(std::string_view body, Answer answer,
                                                 mvcc::Batch& batch);
  absl::StatusOr<Node::Outcome> ApplyTxn(std::string_view body, Answer answer, mvcc::Batch& batch);
  absl::StatusOr<Node::Outcome> ApplyCompact(std::string_view body, mvcc::Batch& batch);

  LeaseExists lease_exists_;
  ResponseBudget budget_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_KV_APPLY_H_
