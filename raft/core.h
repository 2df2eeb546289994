// Consensus as a function from inputs to work (design.md section 4).
//
// One Core is one member's view of one Raft group. It belongs to one thread; it has no clock (the
// shell ticks it), no I/O (work comes out as Ready), no threads, no randomness but its seed, and
// writes no log lines (what it wants to tell a human rides in Ready::trace). The same inputs give
// the same outputs, always.
//
// Use: give inputs, as many as are at hand; then, while HasReady(), TakeReady() and do what
// ready.h says. Inputs never block and never fail because of the disk: completions come back as
// inputs (LogDurable, Applied, EntriesRead, SnapshotStatus), in their own time.
//
// Section numbers in comments are those of Ongaro's thesis.
#ifndef CAIRN_RAFT_CORE_H_
#define CAIRN_RAFT_CORE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "raft/messages.h"
#include "raft/progress.h"
#include "raft/ready.h"
#include "raft/types.h"

namespace cairn::raft {

struct CoreOptions {
  MemberId id;  // Not 0.
  // A follower campaigns after a random time from here to 1.5 times as long, or to 3 ticks more
  // where that is longer (election.cc). At least twice heartbeat_ticks, so that one lost heartbeat
  // elects nobody.
  uint32_t election_timeout_ticks = 10;
  uint32_t heartbeat_ticks = 1;
  uint64_t random_seed = 0;  // Differs between members, or they campaign in step.
  // Payload of one append message. A single larger entry travels alone.
  size_t append_bytes_max = size_t{1} << 20;
  // Unacknowledged payload under way to one peer: the window of the pipeline.
  size_t inflight_bytes_max = size_t{8} << 20;
  // Entries kept in memory. Older ones are read back from the log. What is not yet durable or not
  // yet committed stays in memory whatever its size; uncommitted_bytes_max bounds that.
  size_t tail_bytes_max = size_t{64} << 20;
  // A leader of several voters leaves when its log has completed nothing for so long: twice the
  // election timeout, that a slow sync does not cost what it would cost to elect another.
  uint32_t log_stall_ticks = 20;
  // A leader refuses proposals while more than this is appended and not committed.
  size_t uncommitted_bytes_max = size_t{64} << 20;
};

// What disk and state machine say at start. CHECKed, by index: before_first <= applied <= last and
// commit <= last. A stored commit below `applied` is raised to it. The shell has verified what it
// read and refused what does not fit (design.md section 3, "Restart") before it builds this.
struct RestoredState {
  HardState hard_state;
  Configuration configuration;  // In force at `applied`.
  EntryId applied;              // {0, 0} for an empty state.
  EntryId before_first;         // The entry before the first one the log holds: the marker.
  EntryId last;                 // The last entry of the log, or the marker when it holds none.
  // The end of the log: consecutive, through `last`. Must hold every entry above the commit index
  // (after raising); may hold older ones, which spares reading them again for the replay.
  std::vector<Entry> entries;
  // The entry before the first of `entries`; ignored when there are none. Its term must be true:
  // a restarted member proves by it what it knows to be committed.
  EntryId before_entries;
};

enum class ProposeOutcome : uint8_t {
  kAccepted,              // Appended here: first_index and term are set. Not yet committed!
  kForwarded,             // Sent to the leader; whether it arrives is not known.
  kNoLeader,              // Dropped, as all below: certainly not appended.
  kTransferUnderWay,      // This leader is handing over.
  kTooManyUncommitted,    // uncommitted_bytes_max is reached: the quorum or the disk lags.
  kConfigurationPending,  // A configuration entry may be unapplied; only one at a time (4.1).
  kNotForwarded,          // Not the leader, and forwarding was not allowed.
};

struct ProposeResult {
  ProposeOutcome outcome = ProposeOutcome::kNoLeader;
  Index first_index;  // The proposals have consecutive indexes from here.
  Term term;          // An entry at first_index with another term is not ours.
};

enum class Forwarding : uint8_t { kAllowed, kForbidden };

// What the leader believes of one peer, for status and metrics.
struct PeerStatus {
  MemberId id;
  bool is_learner = false;
  ProgressState state = ProgressState::kProbe;
  Index match;
  Index next;
  size_t inflight_bytes = 0;
  bool is_recently_active = false;
};

// Everything an observer or a checker may look at.
struct CoreStatus {
  MemberId id;
  RoleKind role = RoleKind::kFollower;
  Term term;
  MemberId vote;
  MemberId leader;
  MemberId transfer_target;  // 0: no transfer under way.
  Index commit;
  Index applying;  // Handed out in `committed` ranges through here.
  Index applied;
  Index durable;  // The local log is known durable through here.
  EntryId last;
  Index before_tail;  // The entry before the first one in memory.
  size_t tail_bytes = 0;
  size_t uncommitted_bytes = 0;  // 0 unless leader.
  // The last heartbeat round that a quorum has answered; 0 unless leader (read_index.h).
  uint64_t confirmed_round = 0;
  Configuration configuration;
  std::vector<PeerStatus> peers;  // Empty unless leader; without this member.
};

class Core {
 public:
  // A member that is the only voter campaigns as soon as it has applied the stored commit index,
  // here already when there is nothing to replay.
  Core(const CoreOptions& options, RestoredState restored);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  // --- Inputs ---

  // One unit of time has passed. Give it the messages that have arrived first.
  void Tick();

  // A message of a peer, addressed to this member. Any message is safe at any time; malformed ones
  // (gaps in entries, unsorted terms) are dropped.
  void Step(Message message);

  // Appends `proposals` (not empty) as one consecutive run, or forwards or drops them all. Costs
  // O(n) without an allocation per entry.
  ProposeResult Propose(std::vector<Proposal> proposals,
                        Forwarding forwarding = Forwarding::kAllowed);

  // Asks for an index at which a read is linearizable (6.4). Answered in Ready::read_states or
  // Ready::refused_reads, or, when a message to or from the leader was lost, never: the caller
  // keeps a timeout. Contexts must not repeat within the life of a cluster's messages (a start-up
  // nonce in the upper half does it). A sole voter is answered without a round.
  void ReadIndex(uint64_t context);

  // The log is durable through Ready `number` (ready.h, rule 1). Lower or repeated numbers are
  // ignored, so completions may arrive late. Keyed by Ready and not by entry, because an entry can
  // be written, superseded and written again before the first completion arrives.
  void LogDurable(uint64_t number);

  // The state machine has applied through `index` (at or above the last one told, at or below what
  // was handed out).
  void Applied(Index index);

  // The configuration entry at `index` was applied and `configuration` is in force from here on
  // (thesis 4 puts it in force when appended; ours waits, on every member, as etcd's does). A
  // leader that is no voter of it steps down after it has passed the commit index on.
  void ConfigurationApplied(Configuration configuration, Index index);

  // The answer to a Ready::log_reads. Stale ones are ignored.
  void EntriesRead(LogReadAnswer answer);

  // The transport lost the connection to `peer`, or dropped messages for it.
  void ReportUnreachable(MemberId peer);

  // A snapshot for `peer` was installed there (`is_installed`, through `index`) or failed.
  // Failures are retried after a heartbeat interval.
  void SnapshotStatus(MemberId peer, Index index, bool is_installed);

  // Asks a leader to hand over to `target`, a voter. Returns false when this member is not the
  // leader, or `target` is not another voter (in a joint phase: of the new half). Gives up after an
  // election timeout (3.10).
  bool TransferLeadership(MemberId target);

  // A snapshot of the leader has arrived and been verified. Returns false when it is not wanted
  // (the log holds that entry, or has committed past it): drop it and tell the sender it
  // succeeded. When true, appends are refused and nothing is handed out to apply until one of the
  // two below is called.
  bool BeginInstall(EntryId snapshot);
  // The snapshot is in place, and the log has durably recorded it (all earlier entries dropped).
  void FinishInstall(EntryId snapshot, Configuration configuration);
  void AbandonInstall();

  // --- Outputs ---

  bool HasReady() const;
  // REQUIRES: HasReady().
  Ready TakeReady();

  // --- Looking in ---

  // Entries of [first, limit) from memory, at least one and at most about `max_bytes` of payload;
  // payloads are shared, not copied. Empty when `first` must be read from the log instead (or the
  // range is empty). REQUIRES: limit <= last index + 1.
  std::vector<Entry> Entries(Index first, Index limit, size_t max_bytes) const;

  CoreStatus Status() const;
  MemberId id() const;
  Term term() const;
  bool is_leader() const;
  // A leader that is handing over: it takes no proposals until that has happened or failed.
  bool is_transferring() const;
  MemberId leader() const;  // 0: none known.
  // Whom a leader that wants to leave should choose: the voter that answers and holds most, 0 when
  // there is none. Of those that hold the same, always the same one.
  MemberId BestSuccessor() const;
  Index commit() const;
  Index applied() const;
  Index durable() const;
  EntryId last() const;
  const Configuration& configuration() const;

  // Leader, with a quorum that acknowledged a heartbeat sent less than an election timeout ago, and
  // no transfer under way. Then no later leader was elected before that heartbeat was sent: an
  // answer and a vote of one member come in one order. So whatever this member decides while it is
  // confirmed, it decides at most an election timeout after a successor's election, and that much a
  // new leader adds to every lease (given clocks that tick alike). More is not promised: a voter
  // that restarts, or a transfer thought to be over, may elect another at once, which 6.4.1 would
  // have to exclude. For deciding who renews and expires leases, never for reading. It counts in
  // ticks, which a member that stands still does not get: whoever relies on it looks at a clock as
  // well, and asks for the tick.
  bool IsLeadershipConfirmed() const;
  // The tick in which that heartbeat was sent. REQUIRES: IsLeadershipConfirmed().
  uint64_t confirmed_tick() const;
  // Ticks that this core has had.
  uint64_t tick() const;
  // Leader that has committed an entry of its own term.
  bool HasCommittedInTerm() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cairn::raft

#endif  // CAIRN_RAFT_CORE_H_
