// `installed_at`: the row of the state that says it arrived as a snapshot, and through which entry.
//
// Absent in a state that grew here. As long as nothing was applied on top, a start compares it with
// the log, which must say the same (bootstrap.h). Stateless; whoever may read the state.
#ifndef CAIRN_SERVER_INSTALLED_AT_H_
#define CAIRN_SERVER_INSTALLED_AT_H_

#include <absl/status/statusor.h>

#include <optional>
#include <string_view>

#include "mvcc/store.h"
#include "raft/types.h"

namespace cairn::server {

// Big endian: term (8), index (8).
inline constexpr std::string_view kInstalledKey = "c/installed";

void PutInstalledAt(mvcc::Batch& batch, raft::EntryId id);
// Nothing when the row is absent; DATA_LOSS when it is unreadable.
absl::StatusOr<std::optional<raft::EntryId>> ReadInstalledAt(const mvcc::Store& store);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_INSTALLED_AT_H_
