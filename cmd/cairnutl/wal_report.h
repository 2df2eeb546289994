// What `wal ls`, `wal verify` and `wal stats` say of a log.
//
// Pure: no thread, clock, file or socket: from what an inspection found to text. Any log has a
// report, a damaged one too.
#ifndef CAIRN_CMD_CAIRNUTL_WAL_REPORT_H_
#define CAIRN_CMD_CAIRNUTL_WAL_REPORT_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cmd/cairnutl/report.h"
#include "wal/inspector.h"

namespace cairn::cairnutl {

// "whole", "torn", "corrupt", "foreign", "newer", "no log".
std::string VerdictName(wal::VerdictKind kind);

// kExitOk for a log that a start would take, kExitError when there is none, kExitDamaged for one
// that a start would refuse.
int ExitCodeOf(const wal::LogReport& log);

// Files beside the log's own: a start refuses until they are moved away.
bool HasForeignFiles(const wal::LogReport& log);

// One row for each file of the log.
Report SegmentsReport(const wal::LogReport& log);

// The verdict in words, one line each: what it is and where, and what is still readable before the
// damage and behind it.
std::vector<std::string> VerdictLines(const wal::LogReport& log);
Json VerdictJson(const wal::LogReport& log);

// "0000000000000002.wal: 3 good batches behind the damage (entries 7 to 9)" for each segment that
// has some.
std::vector<std::string> DamageLines(const wal::LogReport& log);

// Counts over the good batches of a log. Add is the inspection's visitor.
class WalStats {
 public:
  void Add(const wal::SeenBatch& batch);

  // Records by type; batches by size; where the bytes went.
  Report Records() const;
  Report BatchSizes() const;
  Report EntriesPerBatch() const;
  Report Bytes(const wal::LogReport& log) const;

 private:
  struct Count {
    uint64_t records = 0;
    uint64_t bytes = 0;
    uint64_t largest = 0;
  };
  // By powers of two: the key is the bucket's upper bound, inclusive.
  using Histogram = std::map<uint64_t, uint64_t>;

  static Report ToReport(const Histogram& histogram, const std::string& title);

  std::map<std::string, Count> records_;
  Histogram batch_bytes_;
  Histogram batch_entries_;
  uint64_t batches_ = 0;
  uint64_t empty_batches_ = 0;
  uint64_t masked_batches_ = 0;
  uint64_t header_bytes_ = 0;
  uint64_t body_bytes_ = 0;
  uint64_t padding_bytes_ = 0;
};

// "entry", "hard-state", "configuration", "marker", "snapshot-installed", "sync-mode".
std::string RecordTypeName(wal::RecordType type);
// As server/sync_mode.h's, which pure code cannot reach, and for any number.
std::string SyncModeName(wal::SyncMode mode);

}  // namespace cairn::cairnutl

#endif  // CAIRN_CMD_CAIRNUTL_WAL_REPORT_H_
