#include "mvcc/history.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/status.h"
#include "mvcc/row_codec.h"
#include "mvcc/row_reader.h"

namespace cairn::mvcc {
namespace {

// The first row after everything that `revision` made.
RowRevision RowsAfter(Revision revision) { return {revision + 1, 0}; }

// Rows of `revisions` in [first, limit), in order.
class HistoryWalk {
 public:
  // `is_stopping` outlives the walk.
  HistoryWalk(const Backend& backend, RowRevision first, RowRevision limit, IsStopping is_stopping)
      : limit_(limit), is_stopping_(is_stopping) {
    if (!(first < limit)) return;
    rows_ = backend.NewIterator(Family::kRevisions, RevisionKey(limit).view(), CacheUse::kBypass);
    rows_->Seek(RevisionKey(first).view());
  }

  // False at the end and after an error; the views are good until the next call.
  bool Next(RowRevision& revision, RevisionRow& row) {
    if (rows_ == nullptr || !status_.ok()) return false;
    if (has_begun_) rows_->Next();
    has_begun_ = true;
    if (++rows_since_look_ >= kRowsBetweenLooks) {
      rows_since_look_ = 0;
      if (is_stopping_()) {
        status_ = StoppedError();
        return false;
      }
    }
    if (!rows_->Valid()) {
      status_ = rows_->status();
      return false;
    }
    row_bytes_ = rows_->value().size();
    if (!ParseRevisionKey(rows_->key(), revision) || !(revision < limit_) ||
        !DecodeRevisionRow(rows_->value(), row)) {
      status_ = UnreadableRevisionRow(revision);
      return false;
    }
    return true;
  }

  // Of the row last returned, in key and value.
  int64_t row_bytes() const { return static_cast<int64_t>(kRevisionKeyBytes + row_bytes_); }
  const absl::Status& status() const { return status_; }

 private:
  const RowRevision limit_;
  const IsStopping is_stopping_;
  std::unique_ptr<RowIterator> rows_;
  bool has_begun_ = false;
  int rows_since_look_ = 0;
  size_t row_bytes_ = 0;
  absl::Status status_;
};

// One window of the rows at or below the watermark, and which of them are superseded.
struct Window {
  RowRevision first;
  RowRevision limit;
  // Sorted.
  std::vector<RowRevision> superseded;
};

// Pass 1: the rows from `first` on, up to the watermark, that a later row which counts supersedes.
// When they become too many the window ends earlier.
absl::StatusOr<Window> CollectSuperseded(const Backend& backend, const HashKvRange& range,
                                         RowRevision first, IsStopping is_stopping) {
  const RowRevision watermark_limit = RowsAfter(range.watermark);
  Window window = {first, watermark_limit, {}};
  // When nothing lives at the revision asked for, what a finished compaction keeps is hashed.
  const RowRevision limit = range.any_live ? RowsAfter(range.at) : watermark_limit;
  HistoryWalk walk(backend, range.removal_cursor, limit, is_stopping);
  RowRevision revision;
  RevisionRow row;
  while (walk.Next(revision, row)) {
    if (row.previous == kNoRow || row.previous < first || !(row.previous < window.limit)) continue;
    window.superseded.push_back(row.previous);
    if (window.superseded.size() < range.window_rows) continue;
    const auto middle =
        window.superseded.begin() + static_cast<ptrdiff_t>(window.superseded.size() / 2);
    std::nth_element(window.superseded.begin(), middle, window.superseded.end());
    // Each row is superseded once; a damaged history must not keep us here for ever.
    if (*middle == first) return UnreadableRevisionRow(revision);
    window.limit = *middle;
    window.superseded.erase(middle, window.superseded.end());
  }
  CAIRN_RETURN_IF_ERROR(walk.status());
  std::sort(window.superseded.begin(), window.superseded.end());
  return window;
}

// As etcd keys its records: main, '_', sub, and 't' for a deletion.
void HashRecord(uint32_t& hash, RowRevision revision, const RevisionRow& row) {
  char key[18];
  base::StoreBig64(key, static_cast<uint64_t>(revision.main.value()));
  key[8] = '_';
  base::StoreBig64(key + 9, static_cast<uint64_t>(revision.sub));
  key[17] = 't';
  const size_t key_bytes = row.kind == ChangeKind::kDeletion ? 18 : 17;
  hash = base::ExtendCrc32c(hash, {key, key_bytes});
  hash = base::ExtendCrc32c(hash, row.key_value);
}

// Pass 2 of a window: what of it still counts.
absl::Status HashWindow(const Backend& backend, const HashKvRange& range, const Window& window,
                        IsStopping is_stopping, uint32_t& hash) {
  HistoryWalk walk(backend, window.first, window.limit, is_stopping);
  auto superseded = window.superseded.begin();
  RowRevision revision;
  RevisionRow row;
  while (walk.Next(revision, row)) {
    while (superseded != window.superseded.end() && *superseded < revision) ++superseded;
    if (superseded != window.superseded.end() && *superseded == revision) continue;
    if (row.kind == ChangeKind::kDeletion && (range.any_live || revision.main != range.watermark)) {
      continue;
    }
    HashRecord(hash, revision, row);
  }
  return walk.status();
}

}  // namespace

absl::StatusOr<RemovalStep> FindRemovalStep(const Backend& backend, const StateRow& state,
                                            int rows_max) {
  CAIRN_CHECK_GE(rows_max, 1);
  RemovalStep step;
  step.from = state.removal_cursor;
  step.to = state.removal_cursor;
  const RowRevision limit = {state.published.watermark, 0};
  if (!(step.from < limit)) return step;
  // A step is short.
  HistoryWalk walk(backend, step.from, limit, kNeverStops);
  RowRevision revision;
  RevisionRow row;
  bool has_more = true;
  size_t tombstone_bytes = 0;
  for (int rows = 0; rows < rows_max && tombstone_bytes < kTombstoneBytesMax; ++rows) {
    has_more = walk.Next(revision, row);
    if (!has_more) break;
    // A creation supersedes nothing but a deletion, which removes itself.
    if (row.kind != ChangeKind::kCreation) {
      step.rows.push_back(row.previous);
      step.size_bytes += static_cast<int64_t>(row.previous_bytes);
    }
    if (row.kind == ChangeKind::kDeletion) {
      KeyValueView kv;
      if (!ParseKeyValue(row.key_value, kv)) return UnreadableRevisionRow(revision);
      step.rows.push_back(revision);
      step.size_bytes += walk.row_bytes();
      step.tombstones.push_back({std::string(kv.key), revision});
      tombstone_bytes += kv.key.size();
    }
    step.to = {revision.main, revision.sub + 1};
  }
  CAIRN_RETURN_IF_ERROR(walk.status());
  if (!has_more) step.to = limit;
  return step;
}

absl::StatusOr<uint32_t> HashHistory(const Backend& backend, const HashKvRange& range,
                                     IsStopping is_stopping) {
  CAIRN_CHECK_GE(range.window_rows, 2u);
  uint32_t hash = base::Crc32c("key");
  const RowRevision watermark_limit = RowsAfter(range.watermark);
  for (RowRevision first = kNoRow; first < watermark_limit;) {
    CAIRN_ASSIGN_OR_RETURN(const Window window,
                           CollectSuperseded(backend, range, first, is_stopping));
    CAIRN_RETURN_IF_ERROR(HashWindow(backend, range, window, is_stopping, hash));
    first = window.limit;
  }
  HistoryWalk walk(backend, watermark_limit, RowsAfter(range.at), is_stopping);
  RowRevision revision;
  RevisionRow row;
  while (walk.Next(revision, row)) HashRecord(hash, revision, row);
  CAIRN_RETURN_IF_ERROR(walk.status());
  return hash;
}

absl::StatusOr<RowReader::Outcome> HashLiveKeys(const RowReader& reader, Revision at,
                                                IsStopping is_stopping, uint32_t& hash) {
  hash = 0;
  std::string bytes;
  const auto visit = [&](const KeyValueView& kv) {
    bytes.clear();
    AppendKeyValue(bytes, kv);
    hash = base::ExtendCrc32c(hash, bytes);
    return true;
  };
  CAIRN_ASSIGN_OR_RETURN(
      const RowReader::Scanned scanned,
      reader.Scan(KeyRange::All(), at, Values::kFetch,
                  /*count_rest=*/false, visit, kAnyEffort, CacheUse::kBypass, is_stopping));
  return scanned.outcome;
}

absl::StatusOr<StateRow> ReadStateRow(const Backend& backend) {
  StateRow state;
  bool is_readable = false;
  CAIRN_ASSIGN_OR_RETURN(const bool is_there,
                         backend.Get(Family::kMeta, kStateKey, [&](std::string_view row) {
                           is_readable = DecodeStateRow(row, state);
                         }));
  if (!is_there || !is_readable) {
    return base::Error(absl::StatusCode::kDataLoss, "state: the row {} is {}", kStateKey,
                       is_there ? "unreadable" : "missing");
  }
  return state;
}

}  // namespace cairn::mvcc
