// The verdict over what a log's files hold: whole, torn, or corrupt. Pure.
//
// A power cut can only lose whole sectors that were not yet synced. Whatever looks otherwise was
// changed by somebody, and the log is refused. ScanSegment reads one segment's bytes; Judge looks
// at all scans and decides. Neither touches a file; Wal::Open does what the verdict says.
#ifndef CAIRN_WAL_RECOVERY_H_
#define CAIRN_WAL_RECOVERY_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "wal/format.h"
#include "wal/types.h"

namespace cairn::wal {

// What the next batch must refer to.
struct Chain {
  uint64_t number = 0;  // Of the last batch.
  uint32_t checksum = 0;
};

enum class ScanEnd : uint8_t {
  kClean,    // Zeros up to the end of the file.
  kMissing,  // Something is written further on, but sectors before it never reached the disk.
  kBad,      // Bytes that no crash leaves behind.
};

struct SegmentScan {
  uint64_t sequence = 0;
  uint64_t file_bytes = 0;
  HeaderState header_state = HeaderState::kZero;
  SegmentHeader header;
  bool is_all_zero = false;

  // Offset behind the last good batch, where `end` says what comes next (and `reason` why).
  uint64_t end_offset = 0;
  ScanEnd end = ScanEnd::kClean;
  std::string reason;
  // The highest durable_through of a batch header found after end_offset.
  uint64_t later_durable_through = 0;
  // Offset behind the last sector that is not all zero.
  uint64_t nonzero_end = 0;

  uint64_t batches = 0;
  // The highest durable_through of a good batch: what is before it was synced.
  uint64_t proven = 0;
  Chain chain;
};

// Called with each good batch, in order. Answers what is wrong with its records, if anything.
using BatchSink =
    std::function<std::string(const BatchHeader& header, uint64_t offset, std::string_view body)>;
// Called with the header of the segment before its first batch.
using HeaderSink = std::function<std::string(const SegmentHeader& header)>;

// Scans the bytes of the segment whose name says `sequence`. `previous` is where the segment before
// it ended; nothing for the oldest one.
SegmentScan ScanSegment(uint64_t sequence, std::string_view bytes,
                        const std::optional<Chain>& previous, const HeaderSink& on_header,
                        const BatchSink& on_batch);

enum class VerdictKind : uint8_t {
  kNoLog,  // Nothing that Create had finished.
  kWhole,
  kTorn,  // Cut at (`last`, `cut_offset`).
  kCorrupt,
  kForeign,  // Another member's.
  kNewer,    // A format that this program does not know.
};

struct Verdict {
  VerdictKind kind = VerdictKind::kNoLog;
  // kWhole, kTorn: the position in `scans` of the segment to go on writing.
  size_t last = 0;
  // kTorn: the segment to cut and where; 0 means that the whole segment goes.
  size_t cut = 0;
  uint64_t cut_offset = 0;
  // All others: a sentence with segment, offset and remedy.
  std::string message;
};

// Judges all segments of a directory, sorted by sequence. `expected` is whose log it should be.
Verdict Judge(std::span<const SegmentScan> scans, const std::optional<Identity>& expected);

}  // namespace cairn::wal

#endif  // CAIRN_WAL_RECOVERY_H_
