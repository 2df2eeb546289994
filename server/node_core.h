// The orchestration around the raft core, without threads: inputs in, work items out.
//
// One per member, owned by the node thread (node_runner.h) or by a simulator, which run the very
// same code. It holds what must wait: messages until the log is durable, proposals until there is a
// leader, reads until their index is applied. It has no clock (it is ticked), no I/O, and never
// blocks. Every collection it keeps is bounded: waiting proposals by bytes, reads by number, the
// rest by what the core lets be in flight.
//
// Use: give inputs, as many as are at hand; then TakeWork() once and do all of it, in any order
// except that `log` items go to the log in order, and `apply` items to the applier in order.
#ifndef CAIRN_SERVER_NODE_CORE_H_
#define CAIRN_SERVER_NODE_CORE_H_

#include <absl/functional/function_ref.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "raft/core.h"
#include "raft/messages.h"
#include "raft/ready.h"
#include "raft/types.h"

namespace cairn::server {

// Names a proposal or a read to whoever waits for it: this process' sequence number.
using WaiterId = uint64_t;

struct NodeCoreOptions {
  raft::CoreOptions raft;
  // The upper half of every read context: differs between two starts of one member.
  uint32_t start_nonce = 0;
  // A read round that was not answered for so long is asked again, under a new context (etcd: 500
  // ms).
  uint32_t read_retry_ticks = 5;
  // A proposal that waits for a leader is dropped after so long, when nobody waits for it any more.
  uint32_t proposal_wait_ticks = 70;
  // The same of a change of the configuration, whose clients wait for longer.
  uint32_t change_wait_ticks = 600;
  // Payload of proposals that wait for a leader; beyond it they are refused.
  size_t waiting_bytes_max = size_t{64} << 20;
};

// Why a proposal was certainly not appended.
enum class RefusalReason : uint8_t { kTooManyRequests, kNoLeader };

struct LogWrite {
  uint64_t number = 0;  // Comes back through LogDurable.
  std::optional<raft::HardState> hard_state;
  std::vector<raft::Entry> entries;
  Index commit;
};

struct ApplyRange {
  raft::IndexRange range;
  // The entries from range.first on, as far as memory held them. The rest are in the log.
  std::vector<raft::Entry> entries;
};

struct RefusedProposal {
  WaiterId id = 0;
  RefusalReason reason = RefusalReason::kNoLeader;
};

struct Work {
  std::vector<LogWrite> log;
  std::vector<raft::Message> messages;  // May leave now.
  std::vector<ApplyRange> apply;
  std::vector<WaiterId> reads_ready;
  std::vector<WaiterId> reads_refused;  // The leader was lost, and no other came in time.
  std::vector<RefusedProposal> refused;
  std::vector<raft::LogRead> log_reads;
  std::vector<raft::SnapshotWanted> snapshots;
  std::vector<raft::TraceEvent> trace;

  bool empty() const;
};

class NodeCore {
 public:
  // How much of the committed entries one apply item holds at most, in bytes of payload.
  static constexpr size_t kApplyBytesMax = size_t{8} << 20;
  // Refusals of one member's proposals that one message tells.
  static constexpr size_t kRefusalsPerMessageMax = 10'000;
  // Changes of the configuration that wait their turn: more than people ask for.
  static constexpr size_t kWaitingChangesMax = 1000;

  // Who forwarded a proposal, and at which of its starts. 0: nobody, it is this member's.
  struct Origin {
    MemberId member;
    uint32_t start_nonce = 0;

    friend auto operator<=>(const Origin&, const Origin&) = default;
  };
  struct QueuedProposal {
    // As its origin knows it; 0: nobody waits for it.
    WaiterId id = 0;
    raft::Proposal proposal;
    Origin origin = {};
  };

  NodeCore(const NodeCoreOptions& options, raft::RestoredState restored);

  // --- Inputs (see raft::Core for those it passes on) ---
  void Tick();
  // What other members forward is held back or passed on like proposals of this one, so that a
  // leader that hands over loses none.
  void Step(raft::Message message);
  // Appends, or holds back until there is a leader that takes proposals, or refuses
  // (Work::refused).
  void Propose(std::vector<QueuedProposal> proposals);
  // Appends one entry if this member leads and may; never held back, never forwarded.
  raft::ProposeResult ProposeAsLeader(raft::Payload data,
                                      raft::EntryKind kind = raft::EntryKind::kCommand);
  // Asks for a linearizable read. All reads asked for since the last round was sent share the next
  // one, which starts after them (thesis 6.4: never one already sent).
  void Read(WaiterId id);
  // Forgets all reads but those that `is_wanted`.
  void KeepReads(absl::FunctionRef<bool(WaiterId)> is_wanted);
  // The log is durable through LogWrite `number` and all before it.
  void LogDurable(uint64_t number);
  void Applied(Index index);
  void ConfigurationApplied(raft::Configuration configuration, Index index);
  void EntriesRead(raft::LogReadAnswer answer);
  void SnapshotStatus(MemberId peer, Index index, bool is_installed);
  // Has this member's term be at least `term`, which somebody leads in or led.
  void RaiseTerm(Term term);
  bool BeginInstall(raft::EntryId snapshot);
  void FinishInstall(raft::EntryId snapshot, raft::Configuration configuration);
  void AbandonInstall();
  void ReportUnreachable(MemberId peer);
  // Forwarded proposals and questions for a read index that have certainly not arrived: what they
  // carry waits for a leader again, and is not sent to the same one before the next tick. Proposals
  // keep their time, or they would go to and fro for as long as a link is broken one way.
  void Undelivered(std::vector<raft::Message> messages);
  bool TransferLeadership(MemberId target);

  // --- Output ---
  Work TakeWork();

  // --- Looking in ---
  const raft::Core& raft() const { return core_; }
  // This member leads and has applied an entry of its term: it knows all that was committed before.
  bool IsLeaderReady() const;
  // This member alone decides: it leads, is the only voter, and an entry of its term is applied.
  // Nothing can then have been committed that it does not know.
  bool IsSoleVoterReady() const;
  // A read that is asked for now has its round at once. Otherwise it waits until the one under way
  // is confirmed or given up, and may be told of when that has happened.
  bool TakesReads() const;
  // Something is held up until more is applied: tell Applied at once. Otherwise it may be told with
  // the next input, which spares the node thread a wake-up per batch.
  bool WaitsForApplied() const;

 private:
  struct ReadRound {
    std::vector<WaiterId> reads;
    uint64_t asked_at_tick = 0;
    // Who was asked, in which term; 0: nobody.
    MemberId leader;
    Term term;
    // There was one when some of the reads came.
    bool had_leader = false;
  };
  // Reads of a round that has no leader any more, or had none.
  struct LeaderlessReads {
    std::vector<WaiterId> reads;
    uint64_t expires_at_tick = 0;
  };

  // Appends or forwards all of `proposals`, or holds them back, or refuses them. Each has its time.
  void Submit(std::vector<QueuedProposal> proposals);
  void HoldBack(std::vector<QueuedProposal> proposals);
  // It was certainly not appended. Its own member is told of too many requests, wherever that is:
  // clients are to hear of it from everybody alike. Any other reason it finds out by itself.
  void Refuse(const QueuedProposal& queued, RefusalReason reason);
  void SendRefusals(Work& work);
  void RetryWaiting();
  // Changes of the configuration go one by one, each when the one before is applied and no joint
  // phase is in force.
  void TakeChanges(std::vector<QueuedProposal>& proposals);
  void SubmitChanges();
  bool WantsReadRound() const;
  void StartReadRound();
  void RetryReads();
  // Its reads are those of the next round.
  void AbandonRound(uint64_t context);
  void RefusedRound(uint64_t context);
  // Asks the leader, if there is one again, on behalf of leaderless reads.
  void RestartReads();
  void TakeReady(Work& work);
  void FinishReads(Work& work);

  const NodeCoreOptions options_;
  raft::Core core_;
  uint64_t tick_ = 0;
  // While this member leads: an index at or above that of the entry which opened its term. Else 0.
  Index leads_since_;

  // Proposals that found no leader; whose time is over first stands first.
  std::deque<QueuedProposal> waiting_;
  size_t waiting_bytes_ = 0;
  // The tick in which the leader was found not to be reachable.
  std::optional<uint64_t> unreachable_tick_;
  std::deque<QueuedProposal> changes_;  // Of the configuration, in their order.
  std::vector<RefusedProposal> refused_;
  // Of other members, for each by its numbers.
  std::map<Origin, std::vector<uint64_t>> refusals_;

  // Reads of the next round, rounds under way by context, and confirmed reads by index.
  std::vector<WaiterId> new_reads_;
  bool new_reads_had_leader_ = false;
  uint32_t next_round_ = 1;
  std::map<uint64_t, ReadRound> rounds_;
  std::deque<LeaderlessReads> leaderless_reads_;
  std::multimap<Index, std::vector<WaiterId>> confirmed_;
  std::vector<WaiterId> reads_refused_;

  // Messages that promise what Ready `first` must first make durable.
  std::deque<std::pair<uint64_t, std::vector<raft::Message>>> held_messages_;
  std::vector<raft::Message> released_messages_;
  uint64_t last_written_ = 0;  // The highest LogWrite number handed out.
  uint64_t durable_ = 0;       // The highest one known durable.
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_NODE_CORE_H_
