// What committed lease commands do to the state, and how keys come onto leases and off them.
//
// Owns the replicated table (lease/lease_table.h) and writes its rows into the batch that changes
// it: a row per lease ("l/" + id) and one per key of a lease ("k/" + id + key), so that a restart
// reads the leases alone and never looks for their keys. The store knows nothing of this: puts and
// deletions say which lease a key had and has (mvcc::Change), and Observe follows them.
//
// Deterministic: depends on the state and the entry alone. Apply thread only.
#ifndef CAIRN_SERVER_LEASE_APPLY_H_
#define CAIRN_SERVER_LEASE_APPLY_H_

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/internal.pb.h"
#include "lease/lease_table.h"
#include "mvcc/store.h"
#include "mvcc/write_txn.h"
#include "raft/types.h"
#include "server/command.h"
#include "server/node.h"

namespace cairn::server {

// The prefix of the rows that name the keys of `id`; each goes on with the key.
std::string LeaseKeysPrefix(LeaseId id);

// Visits the leases of the state from the id `first` on, in order, until `visit` returns false.
// DATA_LOSS when a row does not decode. Any thread.
absl::Status ScanLeases(const mvcc::Store& store, LeaseId first,
                        absl::FunctionRef<bool(LeaseId, const lease::LeaseFacts&)> visit);

class LeaseApplier {
 public:
  // Reads the leases from their rows. DATA_LOSS when one does not decode.
  static absl::StatusOr<LeaseApplier> Open(const mvcc::Store& store);

  const lease::LeaseTable& table() const { return table_; }
  bool Exists(LeaseId id) const { return table_.Find(id) != nullptr; }
  // Exists and is not ending.
  bool IsAlive(LeaseId id) const { return Exists(id) && !table_.Find(id)->is_ending(); }

  // Whether `kind` is one of this class's.
  static bool Handles(CommandKind kind);

  // Applies the command `body` of the entry at `id`. Refusals, with nothing changed:
  // FAILED_PRECONDITION (lease already exists), NOT_FOUND (lease). A batch of an earlier term, or
  // of leases that have ended, is skipped and OK. The error of the StatusOr itself is final, as
  // KvApplier's.
  absl::StatusOr<Node::Outcome> Apply(CommandKind kind, std::string_view body, raft::EntryId id,
                                      mvcc::Batch& batch);

  // Moves keys between leases as `changes` of a committed transaction say. DATA_LOSS when a key
  // names a lease that is not there.
  absl::Status Observe(std::span<const mvcc::Change> changes, mvcc::Batch& batch);

  // Writes the rows of the leases that changed since the last call, and tells which those are.
  std::vector<lease::LeaseUpdate> Finish(mvcc::Batch& batch);

 private:
  absl::StatusOr<Node::Outcome> Grant(std::string_view body, Index index, mvcc::Batch& batch);
  absl::StatusOr<Node::Outcome> Revoke(std::string_view body, mvcc::Batch& batch);
  absl::StatusOr<Node::Outcome> ApplyBatch(CommandKind kind, std::string_view body, Term term,
                                           mvcc::Batch& batch);
  // Deletes keys of the lease, sorted, in one revision: as many as `room_bytes` (what their
  // deletion counts, mvcc::WriteTxn::ChangeBytes) is enough for, from which it takes them off. With
  // the last key the lease goes; until then it is ending. It exists.
  absl::Status End(LeaseId id, int64_t& room_bytes, mvcc::Batch& batch);

  lease::LeaseTable table_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_LEASE_APPLY_H_
