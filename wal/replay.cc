#include "wal/replay.h"

#include <fmt/format.h>

#include <algorithm>

namespace cairn::wal {

std::string Replay::OnHeader(const SegmentHeader& header) {
  if (!first_sequence_) {
    state_ = LogState(header.before_first);
    first_sequence_ = header.sequence;
  } else if (header.before_first != state_.last()) {
    return fmt::format("it continues entry {}, but the segment before it ends with entry {}",
                       header.before_first.index, state_.last().index);
  }
  identity_ = header.identity;
  begins_ = header.sequence;
  return {};
}

std::string Replay::OnBatch(const BatchHeader& header, uint64_t offset, std::string_view body) {
  if (begins_) state_.BeginSegment(*std::exchange(begins_, std::nullopt));
  state_.BeginBatch(offset, header.commit);
  last_batch_is_empty_ = body.size() == 1;
  Record record;
  do {
    if (!TakeRecord(body, record)) return "a record is malformed";
    if (std::string problem = state_.Apply(record); !problem.empty()) return problem;
  } while (record.type != RecordType::kEnd);
  return {};
}

std::string Replay::CheckStart() const {
  Index covered;
  if (state_.marker()) covered = state_.marker()->id.index;
  if (state_.snapshot_installed()) {
    covered = std::max(covered, state_.snapshot_installed()->id.index);
  }
  if (state_.before_first().index <= covered) return {};
  return fmt::format(
      "{} at offset 0: it continues entry {}, but the segments before it are missing and the state "
      "is marked durable only through entry {}; put the missing segments back, or restore this "
      "member from a backup",
      SegmentName(first_sequence_.value_or(0)), state_.before_first().index, covered);
}

}  // namespace cairn::wal
