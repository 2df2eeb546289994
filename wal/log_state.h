// What the log means: which entries count, where they lie, and the latest of everything else.
//
// The same object is fed by recovery (records read) and by the writer (records written), so the two
// cannot disagree. Pure and unsynchronised; Wal guards it. Memory: one anchor per kAnchorBytes of
// log and per supersession, one run per change of term, one summary per segment.
#ifndef CAIRN_WAL_LOG_STATE_H_
#define CAIRN_WAL_LOG_STATE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "base/ids.h"
#include "raft/types.h"
#include "wal/format.h"
#include "wal/types.h"

namespace cairn::wal {

// A reader that looks for an entry scans at most about this much. 1,024 anchors a segment.
inline constexpr uint64_t kAnchorBytes = uint64_t{64} << 10;

// Where to start reading: the batch at (sequence, offset), past `skip` entry records of it.
struct Anchor {
  Index first;  // Of the entry that lies there.
  uint64_t sequence = 0;
  uint64_t offset = 0;
  uint32_t skip = 0;
};

struct SegmentSummary {
  uint64_t sequence = 0;
  // The entry before the first that this and later segments hold.
  raft::EntryId before_first;
  // The highest index that any record of the segment names, superseded or not.
  Index highest;
};

class LogState {
 public:
  // A log whose oldest segment says that `before` is the entry before its first.
  explicit LogState(raft::EntryId before = {}) : before_first_(before), last_(before) {}

  void BeginSegment(uint64_t sequence);
  // The batch that the next records belong to.
  void BeginBatch(uint64_t offset, Index commit);

  // An empty result when the record fits what came before it, else what is wrong with it.
  std::string Apply(const Record& record);

  // The oldest segment is gone. There are at least two.
  void RemoveOldestSegment();

  // Whether TermAt answers: before_first..last.
  bool Knows(Index index) const { return index >= before_first_.index && index <= last_.index; }
  Term TermAt(Index index) const;

  // The stretch of the log that holds `index` (an entry that counts), and where the next begins.
  struct Stretch {
    Anchor from;
    std::optional<Anchor> next;
  };
  Stretch Locate(Index index) const;

  raft::EntryId before_first() const { return before_first_; }
  raft::EntryId last() const { return last_; }
  const std::deque<SegmentSummary>& segments() const { return segments_; }

  // The latest of each.
  Term term() const { return term_; }
  MemberId vote() const { return vote_; }
  Index commit() const { return commit_; }
  const std::optional<Marker>& marker() const { return marker_; }
  const std::optional<SnapshotInstalled>& snapshot_installed() const { return snapshot_installed_; }
  const std::optional<std::string>& configuration() const { return configuration_; }
  SyncMode sync_mode() const { return sync_mode_; }

  size_t anchors() const { return anchors_.size(); }

 private:
  struct TermRun {
    Index first;
    Term term;
  };

  std::string ApplyEntry(const Record& record);
  void ApplySnapshotInstalled(const Record& record);
  // Forgets entries from `index` on, whose predecessor has `previous_term`.
  void Supersede(Index index, Term previous_term);

  raft::EntryId before_first_;
  raft::EntryId last_;
  // Both sorted by index; anchors also by place in the log, since later entries lie later.
  std::deque<TermRun> runs_;
  std::deque<Anchor> anchors_;
  std::deque<SegmentSummary> segments_;  // Oldest first.

  uint64_t batch_offset_ = 0;
  uint32_t batch_entries_ = 0;

  Term term_;
  MemberId vote_;
  Index commit_;
  std::optional<Marker> marker_;
  std::optional<SnapshotInstalled> snapshot_installed_;
  std::optional<std::string> configuration_;
  SyncMode sync_mode_ = SyncMode::kAlways;
};

}  // namespace cairn::wal

#endif  // CAIRN_WAL_LOG_STATE_H_
