// What a leader believes of one peer (thesis 3.5 and 10.2.1: nextIndex, matchIndex, pipelining).
//
// Owned by the leader's role, one per voter and learner, this member included (whose match is what
// its own disk has confirmed). Decides nothing about messages; it only keeps itself consistent:
//   match < next;  state kReplicate has a window, the other states send one append at a time.
#ifndef CAIRN_RAFT_PROGRESS_H_
#define CAIRN_RAFT_PROGRESS_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/ids.h"
#include "raft/inflights.h"
#include "raft/types.h"

namespace cairn::raft {

enum class ProgressState : uint8_t {
  kProbe,      // Where the logs meet is not known: one append, then wait for an answer.
  kReplicate,  // They meet at `match`: appends are sent ahead of the answers.
  kSnapshot,   // The peer needs what the log no longer holds.
};

std::string_view ProgressStateName(ProgressState state);

class Progress {
 public:
  // A new leader guesses that every peer has everything (3.5): next = its own last index + 1.
  Progress(Index next, size_t inflight_bytes_max) : next_(next), inflights_(inflight_bytes_max) {}

  ProgressState state() const { return state_; }
  Index match() const { return match_; }
  Index next() const { return next_; }
  const Inflights& inflights() const { return inflights_; }

  void BecomeProbe();
  void BecomeReplicate();
  // The peer needs a snapshot that reaches at least `pending`.
  void BecomeSnapshot(Index pending);
  Index pending_snapshot() const { return pending_snapshot_; }
  // A snapshot through `installed` is in place there (0: it failed): probe behind it.
  void SnapshotEnded(Index installed);

  // The peer durably holds everything through `index`. Returns whether that is news.
  bool Acknowledge(Index index);

  // An append with `bytes` of payload through `last` was sent (`last` = next - 1 when empty).
  void Sent(Index last, size_t bytes);

  // The peer rejected an append after `rejected`; `retry_after` is the entry that may be common.
  // Returns false, changing nothing, when the rejection is stale: an answer to something sent
  // before what is known now.
  bool Reject(Index rejected, Index retry_after);

  // Whether nothing may be sent before something is heard.
  bool IsPaused() const;
  // What to send next cannot be had now: the same again after a sign of life. While probing, the
  // place where the search has got to stays.
  void Postpone();
  // A sign of life: one more append may go out.
  void Resume() { is_waiting_ = false; }

  // The round of the last heartbeat that this peer answered (see read_index.h).
  uint64_t acknowledged_round = 0;
  // The commit index that the peer was last told.
  Index commit_sent;
  // Entries for this peer are being read from the log.
  bool is_reading_log = false;
  // Tick of the last message from this peer.
  uint64_t last_heard_tick = 0;
  // Tick at which a heartbeat's answer last made the leader look for lost appends.
  uint64_t last_checked_tick = 0;

 private:
  ProgressState state_ = ProgressState::kProbe;
  Index match_;
  Index next_;
  Index pending_snapshot_;
  bool is_waiting_ = false;  // An append went out and nothing was heard since (not kReplicate).
  Inflights inflights_;
};

}  // namespace cairn::raft

#endif  // CAIRN_RAFT_PROGRESS_H_
