// The state and the rules of the core. Private to raft/: users include core.h.
//
// One class over six files, one concern each: core.cc (life, terms, Ready), election.cc,
// transfer.cc, replication.cc, reads.cc, snapshot.cc. Sending appends and starting read rounds is
// put off until TakeReady, so that all inputs given between two Readies share their messages.
#ifndef CAIRN_RAFT_CORE_IMPL_H_
#define CAIRN_RAFT_CORE_IMPL_H_

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "base/random.h"
#include "raft/core.h"
#include "raft/log.h"
#include "raft/messages.h"
#include "raft/progress.h"
#include "raft/read_index.h"
#include "raft/ready.h"
#include "raft/types.h"

namespace cairn::raft {

struct Follower {
  MemberId leader;  // 0: unknown.
};

using Votes = std::map<MemberId, bool>;

struct PreCandidate {
  Votes votes;
};

struct Candidate {
  Votes votes;
};

struct Leader {
  std::map<MemberId, Progress> peers;  // Every member, this one too.
  ReadRounds rounds;
  Index first_index;  // The entry that opens the term; reads wait until it is committed.
  uint64_t since_tick = 0;
  size_t uncommitted_bytes = 0;
  MemberId transfer_target;  // 0: none.
  uint64_t transfer_tick = 0;
};

using Role = std::variant<Follower, PreCandidate, Candidate, Leader>;

enum class CampaignKind : uint64_t { kPreVote = 1, kVote = 2, kTransfer = 3 };

class Core::Impl {
 public:
  Impl(const CoreOptions& options, RestoredState restored);

  // core.cc
  void Tick();
  void Step(Message message);
  void LogDurable(uint64_t number);
  void Applied(Index index);
  void ConfigurationApplied(Configuration configuration, Index index);
  bool HasReady() const;
  Ready TakeReady();
  CoreStatus Status() const;
  bool IsLeadershipConfirmed() const;
  uint64_t confirmed_tick() const;
  uint64_t tick() const { return tick_; }
  bool HasCommittedInTerm() const;

  // transfer.cc
  bool TransferLeadership(MemberId target);
  MemberId BestSuccessor() const;

  // replication.cc
  ProposeResult Propose(std::vector<Proposal> proposals, Forwarding forwarding);
  void EntriesRead(LogReadAnswer answer);
  void ReportUnreachable(MemberId peer);

  // reads.cc
  void ReadIndex(uint64_t context);

  // snapshot.cc
  void SnapshotStatus(MemberId peer, Index index, bool is_installed);
  bool BeginInstall(EntryId snapshot);
  void FinishInstall(EntryId snapshot, Configuration configuration);
  void AbandonInstall();

  const Log& log() const { return log_; }
  const Configuration& configuration() const { return configuration_; }
  MemberId id() const { return options_.id; }
  Term term() const { return term_; }
  MemberId leader() const;
  RoleKind role() const { return static_cast<RoleKind>(role_.index()); }
  bool is_leader() const { return std::holds_alternative<Leader>(role_); }
  bool is_transferring() const {
    const auto* leader = std::get_if<Leader>(&role_);
    return leader != nullptr && leader->transfer_target != MemberId(0);
  }

  // The cheap part of invariants.h, after every input.
  void CheckCheapInvariants() const;

 private:
  // --- core.cc ---
  void Send(MemberId to, MessageBody body);
  void Trace(TraceKind kind, MemberId member = MemberId(0), Index index = Index(0),
             uint64_t detail = 0);
  bool IsMessageFromThePast(const Message& message);
  void BecomeFollower(Term term, MemberId leader);
  bool IsHardStateDurable() const;
  void TrimTail();

  // --- election.cc ---
  void TickElection();
  void ResetElectionTimer();
  // Whether the applied state is recent enough to know who may vote, and there is a term left.
  bool MayCampaign() const;
  Index must_apply_first() const;
  void Campaign(CampaignKind kind);
  void CampaignAloneAfterReplay();
  void BecomeLeader();
  bool HearsFromLeader() const;
  bool IgnoresCampaign(const VoteRequest& request, MemberId from);
  void On(const Message& message, const VoteRequest& request);
  void On(const Message& message, const VoteReply& reply);
  void CountVotes();
  void LearnCommitted(EntryId committed);

  // --- transfer.cc ---
  void ContinueTransfer(Leader& leader);
  void ExpireTransfer(Leader& leader);
  void On(const Message& message, const TimeoutNow& request);
  bool IsLogStalled() const;
  // Whether the leadership has ended.
  bool LeaveIfLogStalled();

  // --- replication.cc ---
  void TickLeader(Leader& leader);
  void FollowLeader(const Message& message);
  void On(const Message& message, AppendRequest& request);
  void On(const Message& message, const AppendAccepted& reply);
  void On(const Message& message, const AppendRejected& reply);
  void On(const Message& message, const StaleTerm& notice);
  void On(const Message& message, ForwardedProposals& forwarded);
  void On(const Message&, const RefusedProposals&) {}
  // This leader's progress for the sender, or null; notes the sign of life.
  Progress* PeerOf(const Message& message);
  void AppendProposals(Leader& leader, std::vector<Proposal> proposals);
  std::optional<ProposeOutcome> RefusalOf(const Leader& leader,
                                          const std::vector<Proposal>& proposals) const;
  void AdvanceCommit(Leader& leader);
  void SendAppends(Leader& leader);
  void SendAppendsTo(MemberId id, Progress& peer);
  void SendAppendOf(MemberId id, Progress& peer, EntryId previous, std::vector<Entry> entries);
  void AskLogFor(MemberId id, Progress& peer);

  // --- reads.cc ---
  void StartRound(Leader& leader);
  void ConfirmRounds(Leader& leader);
  void FlushReads(Leader& leader);
  bool IsQuorumWith(MemberId id) const;
  void RefuseReads();
  void On(const Message& message, const Heartbeat& heartbeat);
  void On(const Message& message, const HeartbeatReply& reply);
  void On(const Message& message, const ReadIndexRequest& request);
  void On(const Message& message, const ReadIndexReply& reply);
  void LookForLostAppends(MemberId id, Progress& peer);

  const CoreOptions options_;
  base::Random random_;
  Term term_;
  MemberId vote_;
  Role role_;
  Log log_;
  Configuration configuration_;

  uint64_t tick_ = 0;
  uint32_t election_elapsed_ticks_ = 0;
  uint32_t election_deadline_ticks_ = 0;
  uint32_t heartbeat_elapsed_ticks_ = 0;

  // Nobody campaigns before it has applied this: the commit index found at start, and that with
  // which the last change of the configuration came.
  Index must_apply_;
  bool is_replaying_ = true;
  // The last entry that may be a configuration change; no new one before it is applied.
  Index configuration_pending_;
  bool is_installing_ = false;
  // Contexts sent to the leader and not answered.
  std::deque<uint64_t> forwarded_reads_;

  // Something changed that may let appends leave.
  bool has_appends_to_send_ = false;
  bool has_reads_to_flush_ = false;

  // What has been handed out, and what of it is durable.
  uint64_t ready_number_ = 0;
  // The last Ready for the log, the last known durable, and when that last went forward: a write
  // completed, or the first one started.
  uint64_t last_log_write_ = 0;
  uint64_t last_log_durable_ = 0;
  uint64_t log_progress_tick_ = 0;
  struct HardStateWrite {
    uint64_t number;
    Term term;
    MemberId vote;
  };
  std::deque<HardStateWrite> hard_state_writes_;
  Term handed_out_term_;
  MemberId handed_out_vote_;
  Term durable_term_;
  MemberId durable_vote_;
  SoftState last_soft_state_;
  Ready next_;  // Collects what is not derived at TakeReady.
};

}  // namespace cairn::raft

#endif  // CAIRN_RAFT_CORE_IMPL_H_
