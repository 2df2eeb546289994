// Entries applied however many batches they take.
//
// Test only: who serves clients hears of each batch (apply_loop.h).
#ifndef CAIRN_SERVER_APPLY_ALL_H_
#define CAIRN_SERVER_APPLY_ALL_H_

#include <absl/status/statusor.h>

#include <span>
#include <utility>

#include "raft/types.h"
#include "server/applier.h"

namespace cairn::server {

// The result of the last batch, or of the one that failed. `entries` must not be empty.
inline absl::StatusOr<Applier::Result> ApplyAll(Applier& applier,
                                                std::span<const raft::Entry> entries) {
  while (true) {
    absl::StatusOr<Applier::Result> result = applier.Apply(entries);
    if (!result.ok() || result->entries == entries.size()) return result;
    entries = entries.subspan(result->entries);
  }
}

}  // namespace cairn::server

#endif  // CAIRN_SERVER_APPLY_ALL_H_
