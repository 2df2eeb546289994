// Every revision of every key: the state that committed log entries make.
//
// One thread (the applier) writes, through Batch (write_txn.h); any thread reads, at any revision
// that is not compacted, without locks against the writer and without snapshots: a row newer than
// the revision asked for leads back to its older version. The store knows keys, revisions and
// compaction; leases, members and alarms are side rows whose meaning is the server's. SCHEMA.md has
// the rows.
#ifndef CAIRN_MVCC_STORE_H_
#define CAIRN_MVCC_STORE_H_

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "mvcc/backend.h"
#include "mvcc/event_reader.h"
#include "mvcc/removal.h"
#include "mvcc/types.h"
#include "mvcc/write_txn.h"

namespace cairn::mvcc {

// Whose state this is. Written when the state is made, checked whenever it is opened.
struct StoreIdentity {
  ClusterId cluster;
  MemberId member;
};

struct StoreOptions {
  StoreIdentity identity;
};

// What becomes of a copy of some cluster's state with which a new cluster begins.
struct RestoreOptions {
  StoreIdentity identity;
  // Where the new cluster's log goes on: in this term, one entry behind the copy's last, and behind
  // this index too.
  Term term;
  Index beyond;
  // Not negative. Added to the revision, so that what clients saw after the copy was made is not
  // given out again.
  int64_t raise_revision_by = 0;
  // The new revision is the compact watermark too: whoever goes on from an earlier one is told.
  bool is_compacted = false;
};

struct ScanOptions {
  KeyRange range;
  // kCurrent, or a revision in [watermark, current].
  Revision at = kCurrent;
  Values values = Values::kFetch;
  // After the visitor stopped the scan, go on counting the keys that follow.
  bool count_rest = false;
  // How many rows may be looked at, deleted ones too; an older version counts as some. The scan
  // ends before what would exceed it. Store only: a transaction's scan has no bound.
  int64_t effort_max = kAnyEffort;
};

struct ScanResult {
  ReadPoint point;
  // Keys visited (the one that stopped the scan too) plus, with count_rest, those that follow.
  int64_t count = 0;
  // effort_max ended the scan; what was visited and counted is a part.
  bool is_cut = false;
};

// Whether a hash of history comes with one of what lives, read as reads of the present are.
enum class LiveKeys : uint8_t { kSkip, kHash };

struct HashKvResult {
  uint32_t hash = 0;
  Revision compact_revision;
  Revision hash_revision;
  Revision current;
  // With LiveKeys::kHash: of every key-value that lives at hash_revision, in key order. History
  // does not tell it: it finds what the rows of `keys` say.
  uint32_t live_hash = 0;
};

class Store {
 public:
  // Takes an empty backend (and writes the identity into it) or one that holds a state.
  // FAILED_PRECONDITION: the state belongs to another cluster or member, or its format is not ours
  // (both numbers are named); DATA_LOSS: a row of the store's own is missing or unreadable.
  static absl::StatusOr<std::unique_ptr<Store>> Open(std::unique_ptr<Backend> backend,
                                                     const StoreOptions& options);
  // Takes another member's state (a checkpoint) and makes it this member's: the identity in it is
  // rewritten, durable only after Flush. FAILED_PRECONDITION when it is another cluster's or its
  // format is not ours; DATA_LOSS when there is no state or a row of the store's own is unreadable.
  static absl::StatusOr<std::unique_ptr<Store>> Adopt(std::unique_ptr<Backend> backend,
                                                      const StoreOptions& options);
  // Takes a copy of any cluster's state and makes it the beginning of another one; durable only
  // after Flush. Keys, history and side rows stay; whose of the latter do not fit the new cluster
  // is for the caller to say. INVALID_ARGUMENT when the revision cannot be raised so far; else as
  // Adopt.
  static absl::StatusOr<std::unique_ptr<Store>> Restore(std::unique_ptr<Backend> backend,
                                                        const RestoreOptions& options);
  // Takes a state to look at it, whoever's it is: `identity` tells. Errors as Adopt's.
  static absl::StatusOr<std::unique_ptr<Store>> Inspect(std::unique_ptr<Backend> backend,
                                                        StoreIdentity& identity);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // Any thread; never blocks. Values of the last committed batch.
  Published published() const;
  EntryApplied applied() const;
  // Bytes of the rows of keys and history, as they are encoded. Local to this member: removal runs
  // at each member's own pace.
  int64_t logical_size_bytes() const;
  // Removal has finished for every compaction up to and including this revision.
  Revision removed_through() const;

  // The last entry that a crash of the machine cannot take back. Any thread.
  EntryApplied durable_applied() const;
  // Bytes on disk and in write buffers; at least 1. Any thread.
  int64_t physical_size_bytes() const;
  // What a flush would write now, at most. Any thread.
  int64_t buffered_bytes() const;

  // Has `report` called, on the reading thread and before the read ends, with every error of a read
  // that is the disk's and not the caller's: the text names file and offset where RocksDB does. The
  // read then fails with the same code and a text that a client may hear. To be set before any
  // other thread reads. Without it, as in tools, errors come as they are.
  void ReportDamage(std::function<void(const absl::Status&)> report);
  // The same for who cannot read a side row, whose meaning is not the store's: reports `error` and
  // returns what to answer. Any thread.
  absl::Status Damaged(absl::Status error) const;

  // -- Reads. Any thread. `at` is kCurrent (any value <= 0) or a revision.
  //
  // OUT_OF_RANGE: `at` is compacted or in the future (types.h tells which); DATA_LOSS: files or
  // rows are not what was written; INTERNAL: the disk gave nothing back. No read opens a file or
  // waits for memory (rocks_backend.cc), so either is for good and a reason to stop (ReportDamage).
  // A read at kCurrent that loses to a compaction starts again by itself and never reports
  // "compacted".

  // Calls `found` once if `key` existed; it may return anything. The current version of a key is
  // one point read of the backend.
  absl::StatusOr<ReadPoint> Get(std::string_view key, Revision at, KeyValueVisitor found,
                                Values values = Values::kFetch) const;

  // Visits the keys of a range in key order. `restart` is called before a scan at kCurrent starts
  // again: everything visited so far is to be forgotten. A large scan may be released after any row
  // and resumed at that key + '\0', with `at` = the revision it began with. CANCELLED when
  // `is_stopping` says so.
  absl::StatusOr<ScanResult> Scan(const ScanOptions& options, KeyValueVisitor visit,
                                  absl::FunctionRef<void()> restart,
                                  IsStopping is_stopping = kNeverStops) const;

  // The number of keys in a range. CANCELLED as above.
  absl::StatusOr<ScanResult> Count(const KeyRange& range, Revision at,
                                   IsStopping is_stopping = kNeverStops) const;

  // Visits the changes of [options.first, options.last] in order, in a bounded step, and returns
  // the revision through which every one was visited. OUT_OF_RANGE: `first` is compacted (what was
  // visited may then have gaps, and is to be forgotten), or `last` lies in the future.
  absl::StatusOr<Revision> ReadEvents(const EventsOptions& options,
                                      absl::FunctionRef<void(const Event&)> visit) const;
  // The key-value that an event replaced, encoded as stored, as it was just before the event's main
  // revision: true and in `key_value`, or false when there was none, when the event created the
  // key, or when that revision is compacted. `kind`, `revision` and `previous` are the event's.
  absl::StatusOr<bool> ReadPrevious(ChangeKind kind, RowRevision revision, RowRevision previous,
                                    std::string& key_value) const;

  // Side rows as last committed (write_txn.h). Get returns false when there is none; Scan visits
  // the rows whose key begins with `prefix`, in key order, until `visit` returns false.
  absl::StatusOr<bool> GetMeta(std::string_view key, std::string& value) const;
  absl::Status ScanMeta(
      std::string_view prefix,
      absl::FunctionRef<bool(std::string_view key, std::string_view value)> visit) const {
    return ScanMeta(prefix, prefix, visit);
  }
  // The same from `first` on, which begins with `prefix`.
  absl::Status ScanMeta(
      std::string_view prefix, std::string_view first,
      absl::FunctionRef<bool(std::string_view key, std::string_view value)> visit) const;

  // etcd's HashKV (etcd-semantics.md section 19) at `at`: equal for equal histories and watermarks,
  // whatever removal has done so far. Reads all of history; removal rests meanwhile. CANCELLED as
  // above. Any thread.
  absl::StatusOr<HashKvResult> HashKv(Revision at, LiveKeys live = LiveKeys::kSkip,
                                      IsStopping is_stopping = kNeverStops) const;
  // A checksum of the revision and every live key-value at it. Reads everything; CANCELLED as
  // above. Any thread.
  absl::StatusOr<uint32_t> Hash(IsStopping is_stopping = kNeverStops) const;

  // The next rows that compaction leaves behind, at most about `rows_max` walked (>= 1); `empty()`
  // when there is nothing to do now. Found on the side, committed by the applier
  // (Batch::ApplyRemoval); the server paces the steps. Any one thread beside the applier.
  absl::StatusOr<RemovalStep> FindRemovalStep(int rows_max) const;

  // Makes the state durable through the returned entry (that of the last batch committed before the
  // call, or a later one). An error is final: the member must stop. Any thread.
  absl::StatusOr<EntryApplied> Flush();

  // Flushes as above, and puts a copy of the state, durable, at `path`, which must not exist. It
  // holds the returned entry and maybe some after it: its own row tells. Only DATA_LOSS is damage:
  // there may be no room for a copy. Any thread; reads and writes go on.
  absl::StatusOr<EntryApplied> Checkpoint(const std::string& path);

  // Apply thread only. At most one batch at a time (checked).
  Batch BeginBatch();

  // Puts `fresh`, which is flushed and applied further than this (checked), in this one's place.
  // Reads under way end on the old state, which stays open for them; later ones see the new one, at
  // which revision, watermark and applied entry jump. The watermark that a read looks at last is
  // the new one's, so a read that ends later than this never gives what is compacted by then. Apply
  // thread only, with no batch open.
  void Replace(std::unique_ptr<Store> fresh);
  // Waits until no read is under way on a state that was replaced, and closes it. Not the apply
  // thread, which readers must not hold up.
  void CloseReplaced();

 private:
  friend class Batch;
  friend class WriteTxn;
  class Impl;

  explicit Store(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_STORE_H_
