// What is written into the log and what comes out of it at a start: plain values.
//
// Shared by the log, its thread and the server. Nothing here knows bytes or files.
#ifndef CAIRN_WAL_TYPES_H_
#define CAIRN_WAL_TYPES_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "raft/types.h"

namespace cairn::wal {

// Whose log it is. Stands in every segment header; another member's log is refused.
struct Identity {
  ClusterId cluster;
  MemberId member;

  friend bool operator==(const Identity&, const Identity&) = default;
};

// "The state machine is durable through this entry": what is below may be removed.
struct Marker {
  raft::EntryId id;

  friend bool operator==(const Marker&, const Marker&) = default;
};

// "The state was replaced by a snapshot that ends with this entry": drops every earlier entry and
// permits the gap before the next one.
struct SnapshotInstalled {
  raft::EntryId id;
  std::string configuration;  // Opaque; also becomes the last configuration.

  friend bool operator==(const SnapshotInstalled&, const SnapshotInstalled&) = default;
};

// What one Ready asks of the log. Within one Append the order is: snapshot_installed, entries, then
// the rest; Appends take effect in the order in which they are written.
struct Append {
  // Term and vote; its `commit` counts like the field below.
  std::optional<raft::HardState> hard_state;
  // Contiguous. The first index is at most last + 1; an entry at index i supersedes every entry
  // with index >= i that was written before.
  std::vector<raft::Entry> entries;
  // A copy of the configuration that took effect, for tools and for the check at start. Opaque.
  std::optional<std::string> configuration;
  std::optional<Marker> marker;
  std::optional<SnapshotInstalled> snapshot_installed;
  // The commit index known now. What exceeds the last entry is not recorded.
  Index commit;
};

// When Wal::Sync reaches the disk. The number 2 is reserved for `interval`.
enum class SyncMode : uint8_t {
  kAlways = 0,
  kNever = 1,  // For tests and benchmarks: Sync returns at once.
};

// The default size of a segment: a removal frees this much, and the disk holds up to four segments
// more than what is needed.
inline constexpr uint64_t kSegmentBytes = uint64_t{64} << 20;
// A header and an opening batch must fit and leave room; small ones are for tests.
inline constexpr uint64_t kSegmentBytesMin = 4096;

// Zeros are written to a spare in pieces of this size, each synced: about a millisecond of the
// disk.
inline constexpr size_t kSparePieceBytes = size_t{256} << 10;

struct Options {
  // A multiple of kSectorBytes, at least kSegmentBytesMin. Existing segments keep their size.
  uint64_t segment_bytes = kSegmentBytes;
  SyncMode sync = SyncMode::kAlways;
};

// What is kept of covered entries for followers that are a little behind: what lies within both
// bounds, in whole segments. Beyond it a follower gets a snapshot.
struct TailToKeep {
  uint64_t entries_max = 0;
  uint64_t bytes_max = 0;
};
// For whom there is nobody to send to.
inline constexpr TailToKeep kNoTail{};
// As many entries as etcd keeps, which bridge a restart of a follower; and two segments, because
// sending more than that from the log is no cheaper than a snapshot.
inline constexpr TailToKeep kFollowerTail{.entries_max = 5000, .bytes_max = uint64_t{128} << 20};

// "From here on entries are kept": no entry.
inline constexpr Index kKeepNothing{std::numeric_limits<uint64_t>::max()};

// What the log held when it was opened.
struct Recovered {
  Identity identity;
  // Term and vote as last written; the highest commit index that any batch carried.
  raft::HardState hard_state;
  // The entry before the first one that can be read, index 0 in a log that was never cut.
  raft::EntryId before_first;
  // The last entry; equal to before_first when there is none.
  raft::EntryId last;
  std::optional<Marker> marker;
  // The latest one that is still in the log.
  std::optional<SnapshotInstalled> snapshot_installed;
  std::optional<std::string> configuration;

  // For the start-up line.
  size_t segments = 0;
  std::string first_segment;  // File names without the directory.
  std::string last_segment;
  // Bytes of a torn, never acknowledged tail that were cut (up to the last non-zero one), and the
  // file that keeps them.
  bool torn_tail_cut = false;
  uint64_t torn_bytes = 0;
  std::string torn_segment;
  uint64_t torn_offset = 0;
  std::string broken_file;
};

}  // namespace cairn::wal

#endif  // CAIRN_WAL_TYPES_H_
