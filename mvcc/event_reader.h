// History as events: what changed from a revision on, and what each change replaced.
//
// Free functions over a backend, called by Store from any thread beside the writer. They know no
// watermark: Store looks at it before and after.
#ifndef CAIRN_MVCC_EVENT_READER_H_
#define CAIRN_MVCC_EVENT_READER_H_

#include <absl/functional/function_ref.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "mvcc/backend.h"
#include "mvcc/write_txn.h"

namespace cairn::mvcc {

// One row of history. The views are valid until the visitor returns.
struct Event {
  ChangeKind kind = ChangeKind::kCreation;
  RowRevision revision;
  // The key's row before this one; kNoRow when it has none.
  RowRevision previous;
  std::string_view key;
  // mvccpb.KeyValue as stored: for a deletion the key alone.
  std::string_view key_value;
};

struct EventsOptions {
  // The revisions to read, both included; `first` >= 1.
  Revision first;
  Revision last;
  // Stops at the end of the revision that reaches one of these; both >= 1.
  size_t rows_max = 1000;
  size_t bytes_max = size_t{256} << 10;
};

// Visits rows in order. Returns the revision through which every row was visited: never a part of
// one revision.
absl::StatusOr<Revision> ReadEvents(const Backend& backend, const EventsOptions& options,
                                    absl::FunctionRef<void(const Event&)> visit);

enum class PreviousOutcome : uint8_t {
  kFound,
  kNone,     // The key did not exist before that revision, or the event made it.
  kMissing,  // A row is not there: a compaction, or damage.
};

// Puts the key's encoded key-value just before `revision.main` into `key_value`, given the kind and
// the previous row of the event at `revision`.
absl::StatusOr<PreviousOutcome> ReadPrevious(const Backend& backend, ChangeKind kind,
                                             RowRevision revision, RowRevision previous,
                                             std::string& key_value);

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_EVENT_READER_H_
