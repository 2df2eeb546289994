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

#include "base/histogram.h"
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

// When what is written becomes durable. The numbers stand on disk: never change one.
enum class SyncMode : uint8_t {
  kAlways = 0,    // Before it is acknowledged.
  kNever = 1,     // For tests: when something else asks for it (term, marker, rotation, a flush).
  kInterval = 2,  // As kNever, and so many milliseconds after it was written.
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
  // "From here on the log is synced so": LogThread obeys it, a start reads it. Any but kAlways says
  // that what was acknowledged later may be missing.
  std::optional<SyncMode> sync_mode;
  // The commit index known now. What exceeds the last entry is not recorded.
  Index commit;
};

// The default size of a segment: a removal frees this much, and the disk holds up to four segments
// more than what is needed.
inline constexpr uint64_t kSegmentBytes = uint64_t{64} << 20;
// A start and the tools read a segment whole.
inline constexpr uint64_t kSegmentBytesMax = uint64_t{512} << 20;
// No segment is larger (what the flag allows, or one batch of its own), so a file that is was not
// written by a log, and is not read.
inline constexpr uint64_t kSegmentFileBytesMax = 2 * kSegmentBytesMax;
// A header and an opening batch must fit and leave room; small ones are for tests.
inline constexpr uint64_t kSegmentBytesMin = 4096;

// Zeros are written to a spare in pieces of this size, each synced: about a millisecond of the
// disk.
inline constexpr uint64_t kSparePieceBytes = uint64_t{256} << 10;

// No more than this is ever written between two syncs (one batch of LogThread, with its overhead),
// unless a batch has a segment of its own. So no more than this behind the end can differ from zero
// on the disk while the page cache says otherwise.
inline constexpr uint64_t kUnsyncedBytesMax = uint64_t{9} << 20;

struct Options {
  // A multiple of kSectorBytes, at least kSegmentBytesMin. Existing segments keep their size.
  uint64_t segment_bytes = kSegmentBytes;
};

// What is kept of covered entries for followers that are a little behind: what lies within both
// bounds, in whole segments. Beyond it a follower gets a snapshot.
struct TailToKeep {
  uint64_t entries_max = 0;
  uint64_t bytes_max = 0;
};
// For whom there is nobody to send to.
inline constexpr TailToKeep kNoTail{};
// The default: as many entries as etcd keeps, which bridge a restart of a follower; and two
// segments, because sending more than that from the log is no cheaper than a snapshot.
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
  // As written last. Any but kAlways: whoever wrote it did not stop in order, and a power cut may
  // have taken entries that were acknowledged.
  SyncMode sync_mode = SyncMode::kAlways;

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
  // How long reading and checking the log took, its bytes.
  uint64_t open_us = 0;
  uint64_t read_bytes = 0;
};

// What the log holds now, and what was done to it since it was opened. Figures of one moment each.
struct LogFigures {
  uint64_t segments = 0;
  // In their batches, padding included; in their files, the spare included.
  uint64_t used_bytes = 0;
  uint64_t disk_bytes = 0;
  raft::EntryId before_first;
  raft::EntryId last;
  // The last marker that is synced.
  Index marker;

  uint64_t removed_segments = 0;
  uint64_t appended_entries = 0;
  // Of batches, padding included; `synced_bytes` of those that are known synced.
  uint64_t appended_bytes = 0;
  uint64_t synced_bytes = 0;
  // Bytes of a batch; microseconds of a sync that a writer waited for.
  base::HistogramView batch_bytes;
  base::HistogramView sync_us;
};

// What the log's thread has done since it started.
struct LogThreadFigures {
  // Appends that were given to it, and the batches that they were written in.
  uint64_t submissions = 0;
  uint64_t batches = 0;
  uint64_t spares = 0;
  SyncMode mode = SyncMode::kAlways;
};

}  // namespace cairn::wal

#endif  // CAIRN_WAL_TYPES_H_
