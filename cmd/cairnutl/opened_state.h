// A state opened for reading only: of a member, of any other directory that holds one, or inside of
// a saved snapshot.
//
// What every command that reads states stands on; where one comes from is this file's business
// alone. Nothing on the disk changes: RocksDB opens for reading, and what a replay of the log adds
// stays in memory. One thread at a time.
#ifndef CAIRN_CMD_CAIRNUTL_OPENED_STATE_H_
#define CAIRN_CMD_CAIRNUTL_OPENED_STATE_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "cmd/cairnutl/directory.h"
#include "mvcc/backend.h"
#include "mvcc/schema.h"
#include "mvcc/store.h"
#include "wal/inspector.h"

namespace cairn::cairnutl {

struct StateOptions {
  WhereToLook where;
  // First apply, in memory, what a start would: what the log has committed and the state does not
  // hold yet, and everything if this member is the sole voter. Needs the log.
  bool replay = false;
};

class OpenedState {
 public:
  // `where.directory` may name a saved snapshot, too, which is complete without a log. Errors as
  // Locate; DATA_LOSS when the files do not check out.
  static absl::StatusOr<OpenedState> Open(const StateOptions& options, const Tool& tool);
  // A state whose rows somebody else has opened.
  static absl::StatusOr<OpenedState> Adopt(std::string name,
                                           std::unique_ptr<mvcc::Backend> backend);

  // How messages name it.
  const std::string& name() const { return name_; }
  const Located& located() const { return located_; }
  const mvcc::FormatRow& format() const { return format_; }
  // The rows.
  const mvcc::Backend& backend() const { return *backend_; }
  // The same as keys and revisions.
  const mvcc::Store& store() const { return *store_; }
  // Entries that were replayed.
  uint64_t replayed() const { return replayed_; }

 private:
  OpenedState() = default;

  absl::Status OpenStore(std::unique_ptr<mvcc::Backend> backend,
                         const std::optional<wal::LogReport>& log, const StateOptions& options);
  // Compares with the log, if there is one: replays what the state lacks, or notes it.
  absl::Status MeetLog(const std::optional<wal::LogReport>& log, const StateOptions& options,
                       const Tool& tool);
  absl::Status Replay(const wal::LogReport& log, Index committed);

  std::string name_;
  Located located_;
  mvcc::FormatRow format_;
  std::unique_ptr<mvcc::Store> store_;  // Owns what backend_ points to.
  const mvcc::Backend* backend_ = nullptr;
  uint64_t replayed_ = 0;
};

// Whether it is a file, as snapshots are, and no directory.
bool IsSnapshotFile(const WhereToLook& where);

// The rows of a state, for whoever wants them also when the store's own rows are damaged.
absl::StatusOr<std::unique_ptr<mvcc::Backend>> OpenRows(const std::string& state_path);

// Where a state stands; DATA_LOSS when that row is missing or unreadable.
absl::StatusOr<mvcc::StateRow> ReadStateRow(const mvcc::Backend& backend);

}  // namespace cairn::cairnutl

#endif  // CAIRN_CMD_CAIRNUTL_OPENED_STATE_H_
