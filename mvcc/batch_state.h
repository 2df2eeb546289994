// What Batch and WriteTxn are handles of: the one open batch of a store.
//
// Kept from batch to batch for its memory. Apply thread only.
#ifndef CAIRN_MVCC_BATCH_STATE_H_
#define CAIRN_MVCC_BATCH_STATE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "mvcc/arena.h"
#include "mvcc/backend.h"
#include "mvcc/chain.h"
#include "mvcc/overlay.h"
#include "mvcc/published.h"
#include "mvcc/removal.h"
#include "mvcc/removal_turns.h"
#include "mvcc/row_codec.h"
#include "mvcc/row_reader.h"
#include "mvcc/types.h"
#include "mvcc/write_txn.h"

namespace cairn::mvcc {

class BatchState {
 public:
  // All outlive this.
  BatchState(Backend* backend, PublishedState* published, const RemovalTurns* removal_turns);

  // -- The batch.
  void Begin();
  void End();
  bool is_open() const { return is_open_; }
  void KeepPrevious() { keeps_previous_ = true; }
  size_t held_bytes() const;
  const StateRow& state() const { return state_; }
  Overlay& overlay() { return overlay_; }
  std::span<const Change> changes() const { return changes_; }

  absl::StatusOr<bool> GetMeta(std::string_view key, std::string& value) const;
  absl::Status ScanMeta(std::string_view prefix,
                        absl::FunctionRef<bool(std::string_view, std::string_view)> visit);
  absl::Status SetCompactWatermark(Revision watermark);
  void RaiseRevision(int64_t by);
  absl::StatusOr<bool> ApplyRemoval(const RemovalStep& step);
  absl::Status Commit(EntryApplied applied);

  // -- The open transaction.
  void BeginTxn();
  void CommitTxn();
  void AbortTxn();
  Revision txn_revision() const;
  size_t changes_before_txn() const { return changes_before_txn_; }
  RowReader reader() { return RowReader(*backend_, &overlay_); }
  // The revision that a read in the transaction is at, or why it cannot be.
  absl::StatusOr<Revision> ReadRevision(Revision at) const;
  absl::StatusOr<PutResult> Put(std::string_view key, std::string_view value, LeaseId lease,
                                Values previous);
  absl::StatusOr<bool> Delete(std::string_view key, KeyValueVisitor deleted, Values previous);
  absl::StatusOr<int64_t> DeleteRange(const KeyRange& range, KeyValueVisitor deleted,
                                      Values previous);

 private:
  // A key's row of `keys` before a change.
  struct Previous {
    bool exists = false;  // A tombstone exists too.
    LatestRow row;        // Its `value` lives in an arena, and only if asked for or kept.
    ChainPlace place;
    int64_t row_bytes = 0;
    bool is_kept = false;  // Its change carries it.
  };
  // The keys of one slice of a range deletion.
  struct Doomed {
    std::string_view key;
    Previous previous;
  };
  // Stands for the index of a key that may not be in the overlay.
  static constexpr size_t kNotTouched = std::numeric_limits<size_t>::max();

  void ReserveRows();
  absl::StatusOr<bool> FindDoomed(const KeyRange& range, Values values, CacheUse cache_use);
  absl::Status ReadPrevious(size_t index, Values values, Previous& previous);
  absl::Status TakePrevious(std::string_view key, std::string_view row, Values values, Arena& arena,
                            Previous& previous);
  absl::Status FetchPreviousValue(Arena& arena, Previous& previous);
  absl::Status AddChange(size_t index, ChangeKind kind, const KeyValueView& kv,
                         const Previous& previous);
  std::string_view KeptPrevious(std::string_view key, const Previous& previous);
  std::string_view StoreLatest(const KeyValueView& kv, ChangeKind kind, RowRevision revision,
                               int64_t revision_row_bytes, const ChainPlace& place);
  KeyValueView PreviousView(std::string_view key, const Previous& previous) const;

  Backend* const backend_;
  PublishedState* const published_;
  const RemovalTurns* const removal_turns_;
  const std::unique_ptr<RowBatch> rows_;

  bool is_open_ = false;
  bool is_committed_ = false;
  bool in_txn_ = false;
  // Changes carry what they replaced where it is at hand.
  bool keeps_previous_ = false;
  // As the batch will leave it; `applied` is set by Commit.
  StateRow state_;
  Overlay overlay_;
  std::vector<Change> changes_;
  std::vector<RowRevision> removed_;
  size_t kept_previous_bytes_ = 0;
  // The first scan of side rows makes it and the batch keeps it: nothing is written meanwhile.
  std::unique_ptr<RowIterator> meta_rows_;
  // To roll a transaction back.
  size_t changes_before_txn_ = 0;
  int64_t logical_size_bytes_before_txn_ = 0;
  // What its changes count (WriteTxn::kBytesMax).
  int64_t txn_bytes_ = 0;
  // One slice of a range deletion, kept for its memory; its keys and small values, and a large one.
  std::vector<Doomed> doomed_;
  Arena doomed_arena_;
  Arena large_value_arena_;
};

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_BATCH_STATE_H_
