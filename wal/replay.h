// What the records of a log amount to, as its segments are scanned one after the other.
//
// Pure: values in, values out. The sinks of ScanSegment (recovery.h) for whoever opens a log and
// for whoever only looks at one, so that both see the same. Knows nothing of files; keeps what
// LogState keeps.
#ifndef CAIRN_WAL_REPLAY_H_
#define CAIRN_WAL_REPLAY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "wal/format.h"
#include "wal/log_state.h"
#include "wal/types.h"

namespace cairn::wal {

class Replay {
 public:
  // Each answers what is wrong, if anything; nothing more may be fed in then.
  std::string OnHeader(const SegmentHeader& header);
  std::string OnBatch(const BatchHeader& header, uint64_t offset, std::string_view body);

  // What is below the first entry must be covered, or older segments were lost: a sentence with
  // segment, offset and remedy then, else an empty one.
  std::string CheckStart() const;

  const LogState& state() const { return state_; }
  LogState TakeState() { return std::move(state_); }
  const Identity& identity() const { return identity_; }
  // The last batch says nothing but durable_through.
  bool last_batch_is_empty() const { return last_batch_is_empty_; }

 private:
  LogState state_;
  Identity identity_;
  std::optional<uint64_t> first_sequence_;
  std::optional<uint64_t> begins_;  // A segment whose first batch has not come yet.
  bool last_batch_is_empty_ = false;
};

}  // namespace cairn::wal

#endif  // CAIRN_WAL_REPLAY_H_
