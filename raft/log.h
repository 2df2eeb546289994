// The member's log as the core sees it: its end in memory, and how far it is written, durable,
// committed and applied.
//
// Owned by the core. Never reads or writes a disk: what is older than the tail is asked for in
// Ready, and what is new is handed out once to be written. By index, always:
//
//   before_tail <= commit <= last          the tail holds every uncommitted entry
//   before_tail <= durable <= handed_out <= last   ... and every one not yet durable
//   applied <= applying <= min(commit, durable)    apply only what the local disk keeps
#ifndef CAIRN_RAFT_LOG_H_
#define CAIRN_RAFT_LOG_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "raft/log_slice.h"
#include "raft/types.h"

namespace cairn::raft {

// What an entry costs in memory, so that empty ones are bounded too.
size_t EntryBytes(const Entry& entry);

class Log {
 public:
  // `tail` is consecutive, starts behind `before_tail` and ends in `last`; or it is empty, and
  // before_tail equals `last`. Everything in it is durable.
  Log(EntryId before_tail, Index applied, EntryId last, Index commit, std::vector<Entry> tail);

  EntryId last() const { return last_; }
  Index commit() const { return commit_; }
  Index applying() const { return applying_; }
  Index applied() const { return applied_; }
  Index durable() const { return durable_; }
  Index before_tail() const { return before_tail_; }
  size_t tail_bytes() const { return tail_bytes_; }

  // The term of the entry at `index`, when it is in memory or right before the tail.
  std::optional<Term> TermAt(Index index) const;

  // Whether a candidate with `candidate_last` may be elected by this log (thesis 3.6.1).
  bool IsUpToDate(EntryId candidate_last) const;

  // A leader's own entry. REQUIRES: its term is not below last().term.
  void Append(EntryKind kind, Payload data, Term term);

  // Whether this log holds slice.previous (log matching, thesis 3.5). What is committed matches by
  // the safety of Raft, whether or not its term is still known here.
  bool Matches(EntryId previous) const;
  // Takes over the entries it does not hold, dropping its own from the first conflict on. Returns
  // the first index that was dropped, if any. REQUIRES: valid, Matches(slice.previous).
  std::optional<Index> Merge(const LogSlice& slice);

  // The last entry at or below `index` whose term is at most `term`, for fast back-off. Looks only
  // above `foot` (at least before_tail): when nothing there will do, answers min(index, foot) with
  // term 0, "unknown".
  EntryId LastAtMost(Term term, Index index, Index foot) const;

  // Raises the commit index to `index`, at most last().
  void CommitTo(Index index);
  // The id of the last committed entry: in memory or right before it, so always known.
  EntryId committed() const;

  // --- Writing ---
  bool HasUnwritten() const { return handed_out_ < last_.index; }
  // The entries not handed out yet; they count as handed out from here on.
  std::vector<Entry> TakeUnwritten();
  Index handed_out() const { return handed_out_; }
  // Ready `number` is on its way to the disk with everything handed out so far.
  void WriteStarted(uint64_t number);
  // All writes up to Ready `number` are durable. What was superseded meanwhile does not count.
  void WriteFinished(uint64_t number);

  // --- Applying ---
  // The end of what may be applied now.
  Index apply_limit() const;
  // Hands out (applying, apply_limit).
  void StartApplying(Index limit);
  void Applied(Index index);

  // Entries of [first, limit) in memory: at least one, about `max_bytes` of payload. Empty when
  // `first` is not in memory.
  std::vector<Entry> Slice(Index first, Index limit, size_t max_bytes) const;
  // Bytes (EntryBytes) of [first, limit). REQUIRES: all in memory.
  size_t BytesOf(Index first, Index limit) const;

  // Forgets entries at the front that are durable and committed: all through `unneeded`, and as
  // many more as it takes to get below `bytes_max`.
  void Trim(Index unneeded, size_t bytes_max);

  // A snapshot replaced everything (durable, committed and applied through it).
  void Reset(EntryId snapshot);

 private:
  struct Write {
    uint64_t number;
    Index last;
  };

  const Entry& At(Index index) const { return tail_[index - before_tail_ - 1]; }
  void DropFrom(Index first);
  void Push(Entry entry);

  Index before_tail_;
  Term before_tail_term_;
  EntryId last_;
  Index commit_;
  Index applying_;
  Index applied_;
  Index handed_out_;
  Index durable_;
  std::deque<Entry> tail_;  // (before_tail_, last_.index]
  size_t tail_bytes_ = 0;
  std::deque<Write> writes_;  // Under way; ascending by number, `last` lowered by superseding.
};

}  // namespace cairn::raft

#endif  // CAIRN_RAFT_LOG_H_
