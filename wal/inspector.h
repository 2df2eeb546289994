// Looks at a log without touching it: every file, every batch, the verdict, the entries that count.
//
// For offline tools and tests. Opens files for reading only, creates, cuts and removes nothing, and
// needs no lock: beside a running member it sees what the moment shows, where the newest batch may
// look half written and segments may come and go. Reads segment by segment; keeps what LogState
// keeps. Says of a damaged log what is still readable, before the damage and behind it. One thread
// at a time.
#ifndef CAIRN_WAL_INSPECTOR_H_
#define CAIRN_WAL_INSPECTOR_H_

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "raft/types.h"
#include "wal/format.h"
#include "wal/fs.h"
#include "wal/log_state.h"
#include "wal/recovery.h"
#include "wal/types.h"

namespace cairn::wal {

// A batch whose checksums are right.
struct SeenBatch {
  uint64_t sequence = 0;
  uint64_t offset = 0;
  BatchHeader header;
  // Records, up to and with kEnd; take them with TakeRecord, which may still refuse one.
  std::string_view body;
  // Lies behind damage: intact in itself, but a start would never take it in.
  bool is_behind_damage = false;
};
// False: no more batches are wanted; the look goes on without telling.
using BatchVisitor = absl::FunctionRef<bool(const SeenBatch&)>;

struct SegmentReport {
  std::string name;
  SegmentScan scan;
  uint64_t records = 0;  // Of good batches, without kEnd.
  // Entry records as they lie, superseded or not.
  std::optional<raft::EntryId> first_entry;
  std::optional<raft::EntryId> last_entry;
  // Batches behind the damage that are intact in themselves, and the entries that they name.
  uint64_t batches_behind_damage = 0;
  std::optional<raft::EntryId> first_entry_behind;
  std::optional<raft::EntryId> last_entry_behind;

  bool is_damaged() const { return scan.end != ScanEnd::kClean || !is_header_known(); }
  bool is_header_known() const {
    return scan.is_all_zero || scan.header_state == HeaderState::kValid;
  }
};

struct OtherFile {
  enum class Kind : uint8_t {
    kUnfinished,  // A spare in the making.
    kBroken,      // What a start cut off a torn segment.
    kForeign,     // Nothing that a log makes: a start refuses it.
  };
  std::string name;
  Kind kind = Kind::kForeign;
  uint64_t size_bytes = 0;
};

struct LogReport {
  std::vector<SegmentReport> segments;  // By sequence; at the end the spare, if there is one.
  std::vector<OtherFile> others;        // By name. The lock is not among them.
  // What a start would come to. kWhole and kTorn have no message.
  Verdict verdict;
  Identity identity;  // Of the first segment whose header is good; 0 when there is none.
  // Of everything good before the first damage.
  LogState state;
  // The last entry of it.
  raft::EntryId last;

  bool is_readable() const {
    return verdict.kind == VerdictKind::kWhole || verdict.kind == VerdictKind::kTorn;
  }
};

// Looks at every file of `directory`, and shows `visit` every batch in the order in which they lie.
// Errors are the file system's alone (kNotFound: there is no such directory); whatever the files
// hold is reported, never an error.
absl::StatusOr<LogReport> InspectLog(Fs& fs, const std::string& directory, BatchVisitor visit);

// Shows `visit` the entries that count (none that was superseded) from `first` through `last`, in
// order, until it returns false. Both must lie in what `report` knows: after its
// state.before_first(), up to its `last`; else kOutOfRange. kDataLoss when a file has changed
// since.
absl::Status ForEachEntry(Fs& fs, const std::string& directory, const LogReport& report,
                          Index first, Index last,
                          absl::FunctionRef<bool(const raft::Entry&)> visit);

}  // namespace cairn::wal

#endif  // CAIRN_WAL_INSPECTOR_H_
