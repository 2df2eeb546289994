#include "server/installed_at.h"

#include <string>

#include "base/coding.h"
#include "base/status.h"
#include "mvcc/schema.h"

namespace cairn::server {

static_assert(kInstalledKey.starts_with(mvcc::kConfigurationPrefix));

void PutInstalledAt(mvcc::Batch& batch, raft::EntryId id) {
  std::string row;
  base::AppendBig64(row, id.term.value());
  base::AppendBig64(row, id.index.value());
  batch.PutMeta(kInstalledKey, row);
}

absl::StatusOr<std::optional<raft::EntryId>> ReadInstalledAt(const mvcc::Store& store) {
  std::string row;
  CAIRN_ASSIGN_OR_RETURN(const bool is_there, store.GetMeta(kInstalledKey, row));
  if (!is_there) return std::optional<raft::EntryId>();
  std::string_view rest = row;
  uint64_t term = 0;
  uint64_t index = 0;
  if (!base::TakeBig64(rest, term) || !base::TakeBig64(rest, index) || !rest.empty()) {
    return base::Error(absl::StatusCode::kDataLoss, "state: the row {} is unreadable",
                       kInstalledKey);
  }
  return raft::EntryId{Term(term), Index(index)};
}

}  // namespace cairn::server
