// Who needs which entries of the log, and what that keeps. Pure.
//
// A pin names the oldest entry that somebody still needs. What the pins of followers and learners
// keep is bounded by the tail, which stays for them anyway (whoever leads next must be able to
// serve them): one that needs more is turned over to a snapshot. A copy of the state that is on its
// way pins the log behind it up to a bound of its own.
#ifndef CAIRN_WAL_PINS_H_
#define CAIRN_WAL_PINS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "wal/log_state.h"
#include "wal/types.h"

namespace cairn::wal {

enum class PinKind : uint8_t {
  kTail,      // What is kept for followers whatever they have.
  kFollower,  // A voter that the leader sends entries to.
  kLearner,
  kSnapshot,  // A copy of the state on its way to a member, which wants what follows it.
  kBackup,    // A copy of the state on its way to a client.
};

// "tail", "follower" and so on.
std::string_view PinKindName(PinKind kind);

struct Pin {
  PinKind kind = PinKind::kFollower;
  // Whose: a member's id, a copy's id; 0 of the tail.
  uint64_t holder = 0;
  // The oldest entry that is needed; beyond the last one when that is none.
  Index from;

  friend bool operator==(const Pin&, const Pin&) = default;
};

// What somebody needs now, and how much of it is kept at most.
struct Pins {
  TailToKeep tail;
  // Of segments from a copy's entry on: more is no cheaper to send than another copy.
  uint64_t copy_bytes_max = uint64_t{1} << 30;
  // None of kind kTail, which follows from `tail`.
  std::vector<Pin> pins;
};

// The segments of a log, oldest first, what each holds, and its last entry.
struct LogExtent {
  std::span<const SegmentSummary> segments;
  std::span<const uint64_t> used_bytes;
  Index last;
};

// A pin, and what it spans of the log that is there.
struct PinView {
  Pin pin;
  // False: it asks for more than it may have, or for what is gone, and has given way. A follower
  // then gets a snapshot.
  bool is_kept = false;
  // From its entry to the end, as far as the log goes back: entries, and whole segments with what
  // they hold. Of a follower this is its lag.
  uint64_t entries = 0;
  uint64_t bytes = 0;
  uint64_t segments = 0;
};

struct Retention {
  // Nothing from here on may be removed; kKeepNothing when nobody needs anything.
  Index keep_from = kKeepNothing;
  // The tail first, if there is one; then the others in the order they came in.
  std::vector<PinView> pins;
};

Retention Resolve(const Pins& pins, const LogExtent& log);

// The first entry of the tail that `tail` allows: no more than so many entries, and no segment of
// which the tail would hold more than so many bytes. kKeepNothing when that is nothing.
Index TailStart(const LogExtent& log, const TailToKeep& tail);

}  // namespace cairn::wal

#endif  // CAIRN_WAL_PINS_H_
