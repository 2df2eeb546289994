// The work that the core asks of its shell, and the order in which it must be done.
//
// Plain values. Core::TakeReady() hands one out; the shell owns it from then on and may work on
// several at once (the core never waits), keeping to this contract:
//
//  1. Log. Readies with needs_log() go to the log in the order of `number`: hard state, then
//     entries. entries.front().index may be at or below an index written before: the new entry
//     supersedes that one and all after it. `commit` goes along with whatever is written and needs
//     no write of its own. When the writes of this Ready and of all before it are durable, the
//     shell says so with Core::LogDurable(number); completions may be folded into the highest
//     number. A Ready that needs the log only for messages_after_append (nothing to write) is
//     durable when all before it are.
//  2. Messages. messages_now may leave at once, before any write. messages_after_append may leave
//     when this Ready is durable, not earlier: they promise what the log must then hold (votes, a
//     new term, accepted entries). Order among messages helps speed but not correctness.
//  3. Apply. `committed` ranges are consecutive and handed out once. They hold only what is durable
//     in the local log. The shell reads the entries (Core::Entries, else the log), applies them in
//     order, at its own pace, and reports Core::Applied. A configuration entry is reported through
//     Core::ConfigurationApplied before the Applied() that covers it.
//  4. Reads. A read state says: once applied >= index, a read at that point is linearizable.
//     A refused read was not confirmed and never will be: ask again.
//  5. log_reads and snapshots are requests; answers come back as Core::EntriesRead and
//     Core::SnapshotStatus, at any time, and each must come back once.
#ifndef CAIRN_RAFT_READY_H_
#define CAIRN_RAFT_READY_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "raft/messages.h"
#include "raft/types.h"

namespace cairn::raft {

enum class RoleKind : uint8_t { kFollower, kPreCandidate, kCandidate, kLeader };

std::string_view RoleName(RoleKind role);

// Half-open: `first` is in, `limit` is not.
struct IndexRange {
  Index first;
  Index limit;

  bool empty() const { return first == limit; }
  friend bool operator==(const IndexRange&, const IndexRange&) = default;
};

// What observers want to know and nobody needs to keep.
struct SoftState {
  RoleKind role = RoleKind::kFollower;
  Term term;
  MemberId leader;  // 0: none known in this term.

  friend bool operator==(const SoftState&, const SoftState&) = default;
};

struct ReadState {
  uint64_t context = 0;
  Index index;
};

// "Read entries from `from` on, at most `max_bytes` of payload but at least one, for `peer`."
// All of the wanted entries are durable in the local log, unless they were removed behind a
// snapshot marker. `limit` is the end of what may be read.
struct LogRead {
  MemberId peer;
  Term term;  // The leadership that asked; comes back unchanged in the answer.
  Index from;
  Index limit;
  size_t max_bytes = 0;
};

// The answer to a LogRead.
struct LogReadAnswer {
  MemberId peer;
  Term term;
  Index from;
  // The log no longer holds `from`, or the entry before it: the peer needs a snapshot.
  bool is_removed = false;
  // The term of the entry at `from` - 1 (0 for index 0). Meaningless when removed.
  Term term_before;
  // Consecutive from `from`. Empty only when removed or when the read failed, which makes the core
  // ask again later.
  std::vector<Entry> entries;
};

// "Send `peer` a snapshot": at least through `index`, the first one it cannot get from the log is
// at or below it. Answered by Core::SnapshotStatus with the index that was sent.
struct SnapshotWanted {
  MemberId peer;
  Term term;
  Index index;
};

// For humans: what the core did and why. Never needed for correctness.
enum class TraceKind : uint8_t {
  kCampaign,           // detail: 1 pre-vote, 2 vote, 3 vote after a transfer.
  kCampaignBlocked,    // Election timeout, but committed entries wait to be applied (index).
  kBecameFollower,     // member: the leader, 0 if unknown.
  kBecameLeader,       // index: the entry that opens the term.
  kVoteGranted,        // member: the candidate. detail: 1 pre-vote, 2 vote.
  kVoteRefused,        // member: the candidate. detail: 1 pre-vote, 2 vote.
  kVoteIgnored,        // member: the candidate; this member hears from a leader.
  kQuorumLost,         // A leader that no quorum answered for an election timeout.
  kAppendRejected,     // member: the leader. index: the entry that is missing here.
  kLogTruncated,       // index: the first entry that was superseded.
  kPeerProbing,        // member; index: the next entry to try.
  kPeerReplicating,    // member; index: the match.
  kPeerNeedsSnapshot,  // member; index: the entry it needs.
  kSnapshotFailed,     // member.
  kConfiguration,      // index: the entry whose application put it in force.
  kTransferStarted,    // member: the target.
  kTransferAborted,    // member: the target.
  kSnapshotInstalled,  // index.
  kLogStalled,         // A leader leaves. member: the successor it has told, 0 if none.
};

struct TraceEvent {
  TraceKind kind;
  Term term;
  MemberId member;
  Index index;
  uint64_t detail = 0;
};

// One line of text, without the member that it happened on.
std::string Describe(const TraceEvent& event);

struct Ready {
  // Rises by one with each Ready of a core, from 1.
  uint64_t number = 0;
  // Set when term or vote changed since the last Ready that had it. Its commit equals `commit`.
  std::optional<HardState> hard_state;
  std::vector<Entry> entries;
  // The commit index as far as this and earlier Readies hand out its entries for the log.
  Index commit;
  std::vector<Message> messages_now;
  std::vector<Message> messages_after_append;
  IndexRange committed;
  std::vector<ReadState> read_states;
  std::vector<uint64_t> refused_reads;  // Contexts.
  std::vector<LogRead> log_reads;
  std::vector<SnapshotWanted> snapshots;
  std::optional<SoftState> soft_state;  // Set when it changed.
  std::vector<TraceEvent> trace;

  // Whether this Ready goes to the log, and LogDurable(number) is expected.
  bool needs_log() const {
    return hard_state.has_value() || !entries.empty() || !messages_after_append.empty();
  }
};

}  // namespace cairn::raft

#endif  // CAIRN_RAFT_READY_H_
