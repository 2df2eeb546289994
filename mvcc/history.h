// What walks all of history: the steps of removal, and the hash of etcd.
//
// Free functions over a backend, called by Store from any thread beside the writer. They agree
// through holds: a hash asks removal to rest while it reads.
#ifndef CAIRN_MVCC_HISTORY_H_
#define CAIRN_MVCC_HISTORY_H_

#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>

#include "base/ids.h"
#include "mvcc/backend.h"
#include "mvcc/removal.h"
#include "mvcc/row_reader.h"
#include "mvcc/schema.h"

namespace cairn::mvcc {

// A step names the keys of tombstones, which may be large: it ends once they are so long together.
inline constexpr size_t kTombstoneBytesMax = size_t{1} << 20;

// The next step of removal from `state`'s cursor towards its watermark; at most `rows_max` rows are
// walked.
absl::StatusOr<RemovalStep> FindRemovalStep(const Backend& backend, const StateRow& state,
                                            int rows_max);

struct HashKvRange {
  Revision at;
  Revision watermark;
  // Removal has come this far, and rests.
  RowRevision removal_cursor;
  // Whether any key lives at `at`.
  bool any_live = false;
  // Superseded rows remembered at once: what bounds the memory of a hash. At least 2.
  size_t window_rows = size_t{1} << 20;
};

// etcd-semantics.md section 19. Looks at `is_stopping` whenever it has read kRowsBetweenLooks rows
// (row_reader.h); CANCELLED when that says so.
absl::StatusOr<uint32_t> HashHistory(const Backend& backend, const HashKvRange& range,
                                     IsStopping is_stopping = kNeverStops);

// The key-values that live at `at`, in key order, as the rows of `keys` tell them; stops likewise.
// kMissing when a row was not there.
absl::StatusOr<RowReader::Outcome> HashLiveKeys(const RowReader& reader, Revision at,
                                                IsStopping is_stopping, uint32_t& hash);

// What the backend holds now: also what is written but not yet published. DATA_LOSS when it is
// missing or unreadable.
absl::StatusOr<StateRow> ReadStateRow(const Backend& backend);

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_HISTORY_H_
