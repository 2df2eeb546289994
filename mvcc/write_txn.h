// The write side: a batch of transactions that becomes visible, and durable, as one.
//
// The applier opens a Batch, applies many log entries into it (a WriteTxn each, side rows beside
// them), and commits it with the last entry's index and term. Reads inside a transaction see what
// the batch holds so far. Apply thread only; deterministic: what a transaction does depends on the
// state and its arguments alone.
#ifndef CAIRN_MVCC_WRITE_TXN_H_
#define CAIRN_MVCC_WRITE_TXN_H_

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "mvcc/removal.h"
#include "mvcc/types.h"

namespace cairn::mvcc {

struct ScanOptions;
struct ScanResult;
class BatchState;
class Store;

// The numbers stand on disk: never change one.
enum class ChangeKind : uint8_t {
  kCreation = 1,  // A put of a key that did not exist.
  kUpdate = 2,    // A put of a key that did.
  kDeletion = 3,
};

// The most that a batch keeps of what was replaced: as much as the server hands on at once.
inline constexpr size_t kKeptPreviousBytesMax = size_t{32} << 20;

// One row of history as it was made, for whoever must hear of it. The views are valid until the
// batch they came from is destroyed.
struct Change {
  ChangeKind kind = ChangeKind::kCreation;
  RowRevision revision;
  // The key's row before this one, deletions included; kNoRow when it has none.
  RowRevision previous;
  // The lease the key was attached to before; 0 for none and for a creation.
  LeaseId previous_lease;
  // The lease it is attached to now; 0 for a deletion.
  LeaseId lease;
  std::string_view key;
  // mvccpb.KeyValue as stored: for a deletion the key alone.
  std::string_view key_value;
  // The same of what it replaced, if the batch keeps that (Batch::KeepPrevious) and it was at hand;
  // otherwise empty.
  std::string_view previous_key_value;
};

// What a put replaced. `previous.value` is filled only if asked for. Valid until the batch is gone.
struct PutResult {
  bool existed = false;
  KeyValueView previous;
};

// A transaction stands in memory whole, several times, until it is written. So it may change only
// so much, and what a change counts must be the same on every member: it depends on what the change
// says and on the live keys alone, not on rows that one member has removed and another has not.
class WriteTxn {
 public:
  // What a change counts beside its bytes, and again where it moves a key off a lease or onto one,
  // which is a row of its own.
  static constexpr int64_t kChangeBytes = 64;
  // What the changes of one transaction may count together; one alone always passes. Part of the
  // state machine: it never differs between members. A deleted key takes four to seven times what
  // it counts until it is written, a third of that within the memory limit of the state (SCHEMA.md
  // has the measurement). So a member with the default limit deletes 262,144 keys of 64 bytes at
  // once within 512 MiB, and within the time that a request waits.
  static constexpr int64_t kBytesMax = int64_t{32} << 20;

  static constexpr int64_t ChangeBytes(size_t key_bytes, size_t value_bytes, bool moves_lease) {
    const auto row_bytes = static_cast<int64_t>(key_bytes) + kChangeBytes;
    return (moves_lease ? 2 : 1) * row_bytes + static_cast<int64_t>(value_bytes);
  }

  // Aborts unless committed.
  ~WriteTxn();
  WriteTxn(WriteTxn&& other) noexcept;
  WriteTxn& operator=(WriteTxn&&) = delete;

  // The revision that this transaction began at, i.e. of everything before it.
  Revision revision_before() const;
  // revision_before() without changes so far, else one more: the revision of its changes, and the
  // one that reads at kCurrent see.
  Revision revision() const;

  // As Store's, at kCurrent or at a revision in [watermark, revision()]; own changes are visible.
  // No restart: nothing else moves while the applier reads.
  absl::StatusOr<ReadPoint> Get(std::string_view key, Revision at, KeyValueVisitor found,
                                Values values = Values::kFetch) const;
  absl::StatusOr<ScanResult> Scan(const ScanOptions& options, KeyValueVisitor visit) const;
  absl::StatusOr<ScanResult> Count(const KeyRange& range, Revision at) const;

  // Each of the following may fail with IsTxnTooLarge: the transaction has no room for another
  // change. Those it has made so far are in it; to leave nothing behind, abort it. Any other error
  // is the backend's and final.

  // Sets `key`. The arguments are copied.
  absl::StatusOr<PutResult> Put(std::string_view key, std::string_view value, LeaseId lease,
                                Values previous = Values::kSkip);

  // Removes `key`; returns whether it existed, and if so calls `deleted` with what it was.
  absl::StatusOr<bool> Delete(std::string_view key, KeyValueVisitor deleted,
                              Values previous = Values::kSkip);
  absl::StatusOr<bool> Delete(std::string_view key);
  // Removes every key of the range that exists, in key order, calling `deleted` for each; returns
  // how many. Once it has returned false, what was deleted comes without its value. The view is
  // valid during the call.
  absl::StatusOr<int64_t> DeleteRange(const KeyRange& range, KeyValueVisitor deleted,
                                      Values previous = Values::kSkip);
  absl::StatusOr<int64_t> DeleteRange(const KeyRange& range);

  // What this transaction changed so far, in order of sub-revision. Invalidated by the next change.
  std::span<const Change> changes() const;

  // Keeps the changes in the batch, whose revision rises by one iff there are any. No further use.
  void Commit();
  // Leaves nothing of this transaction behind. No further use.
  void Abort();

 private:
  friend class Batch;
  explicit WriteTxn(BatchState* state);

  BatchState* state_;  // Null when committed, aborted or moved from.
};

class Batch {
 public:
  // Abandons the batch unless it was committed.
  ~Batch();
  Batch(Batch&& other) noexcept;
  Batch& operator=(Batch&&) = delete;

  // Has changes from here on carry what they replaced where it is at hand: not what was created, a
  // value of kInlineValueBytesLimit or more, what this very transaction made, or what is beyond
  // kKeptPreviousBytesMax.
  void KeepPrevious();
  // About what the batch takes in memory so far.
  size_t held_bytes() const;

  // At most one at a time (checked).
  WriteTxn BeginTxn();

  // The revision and watermark that reads and transactions in this batch begin from.
  Published current() const;

  // Side rows. A key begins with one of the prefixes that schema.h gives to the server (checked).
  // Reads see this batch's own rows first. They belong to no transaction: an abort leaves them.
  void PutMeta(std::string_view key, std::string_view value);
  void DeleteMeta(std::string_view key);
  absl::StatusOr<bool> GetMeta(std::string_view key, std::string& value) const;
  // Visits the side rows whose key begins with `prefix`, in key order, until `visit` returns false.
  // It takes no step beyond the row that ended the visit. `visit` must not change rows.
  absl::Status ScanMeta(
      std::string_view prefix,
      absl::FunctionRef<bool(std::string_view key, std::string_view value)> visit) const;

  // Reads below `watermark` fail from here on; removal begins when the batch is committed.
  // OUT_OF_RANGE without effect: compacted, if `watermark` is not above the current one; future, if
  // it lies above the current revision. Revision 0 on a store that was never compacted is allowed,
  // as in etcd. Not while a transaction is open (checked).
  absl::Status SetCompactWatermark(Revision watermark);

  // Issues the next `by` revisions (above 0) to nobody: there is nothing at them. Not while a
  // transaction is open (checked).
  void RaiseRevision(int64_t by);

  // Commits a removal step with this batch. False, without effect, if the step is stale (another
  // was committed since it was found) or a hash asks removal to rest: find it again. Not while a
  // transaction is open (checked).
  absl::StatusOr<bool> ApplyRemoval(const RemovalStep& step);

  // Every change of the committed transactions, in order of revision; valid until the batch is
  // destroyed.
  std::span<const Change> changes() const;

  // Writes everything in one atomic backend batch, together with `applied` (the last entry that
  // went into it; checked not to fall, the same as before when the batch holds removal alone), then
  // publishes. An empty batch still moves the applied entry. An error is final: the member must
  // stop. No transaction may be open (checked). Afterwards only changes() and the views given out
  // may be used.
  absl::Status Commit(EntryApplied applied);

 private:
  friend class Store;
  explicit Batch(BatchState* state);

  BatchState* state_;  // Null when moved from.
};

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_WRITE_TXN_H_
