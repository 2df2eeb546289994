// The rows of `keys` and `revisions` as bytes.
//
// SCHEMA.md draws them. Decoders never read past their input and return false for what cannot be a
// row; they do not find every flipped bit (RocksDB's block checksums do). Pure functions; views
// point into the bytes given.
#ifndef CAIRN_MVCC_ROW_CODEC_H_
#define CAIRN_MVCC_ROW_CODEC_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/ids.h"
#include "mvcc/chain.h"
#include "mvcc/write_txn.h"

namespace cairn::mvcc {

// The value of a row of `keys`: the last word on a key.
struct LatestRow {
  // False: a tombstone; then create_revision, version, lease and value are zero.
  bool live = false;
  // The value stands here. False for a tombstone, and for a value of kInlineValueBytesLimit or
  // more, which stands in the row of `revisions` alone.
  bool has_value = false;
  RowRevision revision;
  Revision create_revision;
  int64_t version = 0;
  LeaseId lease;
  // Key and value of this row's counterpart in `revisions`.
  uint64_t revision_row_bytes = 0;
  uint64_t position = 0;
  std::string_view value;
  // Still encoded: only a writer needs them (DecodeChainPlace).
  std::string_view landmarks;
};

// The most that StoreLatestRow writes for a value of `value_bytes`.
size_t LatestRowBytesMax(size_t value_bytes);
// Writes the row and returns the end. `place.position` must equal `row.position`; `row.landmarks`
// is not used.
char* StoreLatestRow(char* to, const LatestRow& row, const ChainPlace& place);
[[nodiscard]] bool DecodeLatestRow(std::string_view bytes, LatestRow& row);
[[nodiscard]] bool DecodeChainPlace(const LatestRow& row, ChainPlace& place);

// The value of a row of `revisions`: one change.
struct RevisionRow {
  ChangeKind kind = ChangeKind::kCreation;
  // The key's row before this one; kNoRow at position 0.
  RowRevision previous;
  // Key and value of that row in `revisions`.
  uint64_t previous_bytes = 0;
  // chain.h; kNoRow at position 0.
  RowRevision skip;
  // mvccpb.KeyValue; for a deletion the key alone.
  std::string_view key_value;
};

// The most that the part before `key_value` takes.
inline constexpr size_t kRevisionRowHeadBytesMax = 1 + 5 * 10;
// Writes everything before `key_value`, which the caller puts right after it; returns the end.
char* StoreRevisionRowHead(char* to, const RevisionRow& row);
[[nodiscard]] bool DecodeRevisionRow(std::string_view bytes, RevisionRow& row);

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_ROW_CODEC_H_
