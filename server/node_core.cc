#include "server/node_core.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>
#include <variant>

#include "base/check.h"

namespace cairn::server {

namespace {

// How long a read whose leader was lost waits for the next one: one that fell is replaced within
// two, unless votes are split.
constexpr uint32_t kReadElectionTimeouts = 2;
// Rounds of this member that may be under way. Reads that come meanwhile share the next one, so
// that under load a round serves many: its messages cost more than all else that a read needs.
constexpr ptrdiff_t kReadRoundsMax = 1;
// One that is not answered for so long was probably lost, and holds up nobody else.
constexpr uint64_t kReadRoundTicks = 2;
constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

// For the core, which hands it to the leader: another member's number is nobody's here.
raft::Proposal ProposalOf(const NodeCore::QueuedProposal& queued) {
  raft::Proposal proposal = queued.proposal;
  proposal.id = queued.origin.member == MemberId(0) ? queued.id : 0;
  return proposal;
}

// Says at which start of this member the proposals that leave it have their numbers.
void StampForwarded(std::vector<raft::Message>& messages, uint32_t start_nonce) {
  for (raft::Message& message : messages) {
    auto* const forwarded = std::get_if<raft::ForwardedProposals>(&message.body);
    if (forwarded != nullptr) forwarded->start_nonce = start_nonce;
  }
}

}  // namespace

bool Work::empty() const {
  return log.empty() && messages.empty() && apply.empty() && reads_ready.empty() &&
         reads_refused.empty() && refused.empty() && log_reads.empty() && snapshots.empty() &&
         trace.empty();
}

NodeCore::NodeCore(const NodeCoreOptions& options, raft::RestoredState restored)
    : options_(options), core_(options.raft, std::move(restored)) {}

void NodeCore::Tick() {
  ++tick_;
  core_.Tick();
  while (!waiting_.empty() && waiting_.front().proposal.expires_at_tick <= tick_) {
    Refuse(waiting_.front(), RefusalReason::kNoLeader);
    waiting_bytes_ -= waiting_.front().proposal.data->size();
    waiting_.pop_front();
  }
  std::erase_if(changes_, [&](const QueuedProposal& change) {
    if (change.proposal.expires_at_tick > tick_) return false;
    Refuse(change, RefusalReason::kNoLeader);
    return true;
  });
  std::erase_if(leaderless_reads_, [&](LeaderlessReads& lost) {
    if (lost.expires_at_tick > tick_) return false;
    std::move(lost.reads.begin(), lost.reads.end(), std::back_inserter(reads_refused_));
    return true;
  });
  RetryReads();
}

void NodeCore::Step(raft::Message message) {
  if (const auto* refused = std::get_if<raft::RefusedProposals>(&message.body)) {
    if (refused->start_nonce != options_.start_nonce) return;
    for (const uint64_t id : refused->ids) {
      refused_.push_back({id, RefusalReason::kTooManyRequests});
    }
    return;
  }
  auto* const forwarded = std::get_if<raft::ForwardedProposals>(&message.body);
  if (forwarded == nullptr) return core_.Step(std::move(message));
  // Two members that take each other for the leader would play ball.
  if (core_.leader() == message.from) return;
  const Origin origin{message.from, forwarded->start_nonce};
  std::vector<QueuedProposal> proposals;
  proposals.reserve(forwarded->proposals.size());
  for (raft::Proposal& proposal : forwarded->proposals) {
    if (proposal.data == nullptr) continue;
    const uint64_t id = proposal.id;
    proposals.push_back({id, std::move(proposal), origin});
  }
  if (!proposals.empty()) Propose(std::move(proposals));
}

void NodeCore::TakeChanges(std::vector<QueuedProposal>& proposals) {
  std::erase_if(proposals, [&](QueuedProposal& queued) {
    if (queued.proposal.kind != raft::EntryKind::kConfiguration) return false;
    if (changes_.size() < kWaitingChangesMax) {
      changes_.push_back(std::move(queued));
    } else {
      Refuse(queued, RefusalReason::kTooManyRequests);
    }
    return true;
  });
}

void NodeCore::SubmitChanges() {
  if (unreachable_tick_ == tick_) return;
  while (!changes_.empty() && core_.configuration().outgoing.empty()) {
    const raft::ProposeOutcome outcome = core_.Propose({ProposalOf(changes_.front())}).outcome;
    const bool is_on_its_way =
        outcome == raft::ProposeOutcome::kAccepted || outcome == raft::ProposeOutcome::kForwarded;
    if (!is_on_its_way) return;
    changes_.pop_front();
  }
}

void NodeCore::Propose(std::vector<QueuedProposal> proposals) {
  for (QueuedProposal& queued : proposals) {
    const bool is_change = queued.proposal.kind == raft::EntryKind::kConfiguration;
    queued.proposal.expires_at_tick =
        tick_ + (is_change ? options_.change_wait_ticks : options_.proposal_wait_ticks);
  }
  TakeChanges(proposals);
  if (!proposals.empty()) Submit(std::move(proposals));
}

void NodeCore::Submit(std::vector<QueuedProposal> proposals) {
  std::vector<raft::Proposal> batch;
  batch.reserve(proposals.size());
  for (const QueuedProposal& queued : proposals) batch.push_back(ProposalOf(queued));
  const raft::ProposeResult result = core_.Propose(std::move(batch));
  switch (result.outcome) {
    case raft::ProposeOutcome::kAccepted:
    case raft::ProposeOutcome::kForwarded:
      return;
    case raft::ProposeOutcome::kNoLeader:
    case raft::ProposeOutcome::kNotForwarded:
    case raft::ProposeOutcome::kTransferUnderWay:
      return HoldBack(std::move(proposals));
    case raft::ProposeOutcome::kTooManyUncommitted:
    case raft::ProposeOutcome::kConfigurationPending:
      for (const QueuedProposal& queued : proposals) {
        Refuse(queued, RefusalReason::kTooManyRequests);
      }
      return;
  }
}

raft::ProposeResult NodeCore::ProposeAsLeader(raft::Payload data, raft::EntryKind kind) {
  std::vector<raft::Proposal> proposals;
  proposals.push_back({kind, std::move(data)});
  return core_.Propose(std::move(proposals), raft::Forwarding::kForbidden);
}

void NodeCore::Refuse(const QueuedProposal& queued, RefusalReason reason) {
  if (queued.origin.member == MemberId(0)) {
    refused_.push_back({queued.id, reason});
  } else if (reason == RefusalReason::kTooManyRequests && queued.id != 0) {
    refusals_[queued.origin].push_back(queued.id);
  }
}

void NodeCore::SendRefusals(Work& work) {
  // Whoever has committed in its term has it on its disk, and may name it.
  const bool may_send = core_.HasCommittedInTerm();
  for (const auto& [origin, ids] : std::exchange(refusals_, {})) {
    for (size_t first = 0; may_send && first < ids.size(); first += kRefusalsPerMessageMax) {
      const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(first);
      const size_t count = std::min(ids.size() - first, kRefusalsPerMessageMax);
      work.messages.push_back(
          {.from = core_.id(),
           .to = origin.member,
           .term = core_.term(),
           .body = raft::RefusedProposals{origin.start_nonce,
                                          {begin, begin + static_cast<std::ptrdiff_t>(count)}}});
    }
  }
}

void NodeCore::HoldBack(std::vector<QueuedProposal> proposals) {
  const auto is_over_first = [](const QueuedProposal& a, const QueuedProposal& b) {
    return a.proposal.expires_at_tick < b.proposal.expires_at_tick;
  };
  const auto before = static_cast<std::ptrdiff_t>(waiting_.size());
  for (QueuedProposal& queued : proposals) {
    const size_t bytes = queued.proposal.data->size();
    if (waiting_bytes_ + bytes > options_.waiting_bytes_max) {
      Refuse(queued, RefusalReason::kTooManyRequests);
      continue;
    }
    waiting_bytes_ += bytes;
    waiting_.push_back(std::move(queued));
  }
  // What comes back is older than what came meanwhile.
  if (std::is_sorted(waiting_.begin() + std::max<std::ptrdiff_t>(0, before - 1), waiting_.end(),
                     is_over_first)) {
    return;
  }
  std::stable_sort(waiting_.begin() + before, waiting_.end(), is_over_first);
  std::inplace_merge(waiting_.begin(), waiting_.begin() + before, waiting_.end(), is_over_first);
}

void NodeCore::RetryWaiting() {
  if (waiting_.empty() || core_.leader() == MemberId(0) || core_.is_transferring()) return;
  if (unreachable_tick_ == tick_) return;
  std::vector<QueuedProposal> proposals(std::make_move_iterator(waiting_.begin()),
                                        std::make_move_iterator(waiting_.end()));
  waiting_.clear();
  waiting_bytes_ = 0;
  Submit(std::move(proposals));
}

void NodeCore::Read(WaiterId id) {
  new_reads_.push_back(id);
  new_reads_had_leader_ = new_reads_had_leader_ || core_.leader() != MemberId(0);
}

void NodeCore::KeepReads(absl::FunctionRef<bool(WaiterId)> is_wanted) {
  const auto sift = [&](std::vector<WaiterId>& reads) {
    std::erase_if(reads, [&](WaiterId id) { return !is_wanted(id); });
  };
  sift(new_reads_);
  sift(reads_refused_);
  for (auto& [context, round] : rounds_) sift(round.reads);
  for (LeaderlessReads& lost : leaderless_reads_) sift(lost.reads);
  for (auto& [index, reads] : confirmed_) sift(reads);
  std::erase_if(leaderless_reads_, [](const LeaderlessReads& lost) { return lost.reads.empty(); });
}

bool NodeCore::TakesReads() const {
  if (unreachable_tick_ == tick_) return false;
  const auto is_under_way = [&](const auto& round) {
    return tick_ - round.second.asked_at_tick < kReadRoundTicks;
  };
  return std::count_if(rounds_.begin(), rounds_.end(), is_under_way) < kReadRoundsMax;
}

bool NodeCore::WantsReadRound() const { return !new_reads_.empty() && TakesReads(); }

void NodeCore::StartReadRound() {
  if (!WantsReadRound()) return;
  const uint64_t context = (uint64_t{options_.start_nonce} << 32) | next_round_++;
  const bool had_leader = std::exchange(new_reads_had_leader_, false);
  rounds_[context] = {std::exchange(new_reads_, {}), tick_, core_.leader(), core_.term(),
                      had_leader || core_.leader() != MemberId(0)};
  core_.ReadIndex(context);
}

void NodeCore::RetryReads() {
  std::vector<uint64_t> unanswered;
  for (const auto& [context, round] : rounds_) {
    if (tick_ - round.asked_at_tick >= options_.read_retry_ticks) unanswered.push_back(context);
  }
  for (const uint64_t context : unanswered) {
    if (core_.leader() == MemberId(0)) {
      RefusedRound(context);
    } else {
      AbandonRound(context);
    }
  }
}

// A late answer to an abandoned context finds nobody, so it cannot be taken for the new round's.
void NodeCore::AbandonRound(uint64_t context) {
  const auto round = rounds_.find(context);
  if (round == rounds_.end()) return;
  new_reads_.insert(new_reads_.end(), round->second.reads.begin(), round->second.reads.end());
  new_reads_had_leader_ = new_reads_had_leader_ || round->second.had_leader;
  rounds_.erase(round);
}

// A leader that hands over loses no read, like no proposal: it is asked again of the next one.
// Where none comes, who had one is told after a while, so that its client turns to another member;
// who had none waits for one for as long as its client does, as with etcd.
void NodeCore::RefusedRound(uint64_t context) {
  const auto round = rounds_.find(context);
  if (round == rounds_.end()) return;
  std::vector<WaiterId> reads = std::move(round->second.reads);
  const MemberId asked = round->second.leader;
  const bool is_leader_there =
      asked != MemberId(0) && asked == core_.leader() && round->second.term == core_.term();
  const bool had_leader = round->second.had_leader;
  rounds_.erase(round);
  if (is_leader_there) {  // It takes no more.
    std::move(reads.begin(), reads.end(), std::back_inserter(reads_refused_));
    return;
  }
  const uint64_t wait_ticks =
      uint64_t{kReadElectionTimeouts} * options_.raft.election_timeout_ticks;
  leaderless_reads_.push_back({std::move(reads), had_leader ? tick_ + wait_ticks : kNever});
}

void NodeCore::RestartReads() {
  if (leaderless_reads_.empty() || core_.leader() == MemberId(0)) return;
  for (LeaderlessReads& lost : std::exchange(leaderless_reads_, {})) {
    std::move(lost.reads.begin(), lost.reads.end(), std::back_inserter(new_reads_));
  }
  new_reads_had_leader_ = true;
}

void NodeCore::LogDurable(uint64_t number) {
  CAIRN_CHECK_LE(number, last_written_);
  if (number <= durable_) return;
  durable_ = number;
  core_.LogDurable(number);
  while (!held_messages_.empty() && held_messages_.front().first <= number) {
    std::move(held_messages_.front().second.begin(), held_messages_.front().second.end(),
              std::back_inserter(released_messages_));
    held_messages_.pop_front();
  }
}

void NodeCore::Applied(Index index) { core_.Applied(index); }

void NodeCore::ConfigurationApplied(raft::Configuration configuration, Index index) {
  core_.ConfigurationApplied(std::move(configuration), index);
}

void NodeCore::EntriesRead(raft::LogReadAnswer answer) { core_.EntriesRead(std::move(answer)); }

void NodeCore::SnapshotStatus(MemberId peer, Index index, bool is_installed) {
  core_.SnapshotStatus(peer, index, is_installed);
}

void NodeCore::ReportUnreachable(MemberId peer) { core_.ReportUnreachable(peer); }

void NodeCore::Undelivered(std::vector<raft::Message> messages) {
  std::vector<QueuedProposal> proposals;
  for (raft::Message& message : messages) {
    if (message.to == core_.leader()) unreachable_tick_ = tick_;
    if (const auto* question = std::get_if<raft::ReadIndexRequest>(&message.body)) {
      AbandonRound(question->context);
      continue;
    }
    auto& forwarded = std::get<raft::ForwardedProposals>(message.body);
    for (raft::Proposal& proposal : forwarded.proposals) {
      const uint64_t id = proposal.id;
      proposals.push_back({id, std::move(proposal)});
    }
  }
  std::erase_if(proposals, [&](const QueuedProposal& queued) {
    if (queued.proposal.expires_at_tick > tick_) return false;
    Refuse(queued, RefusalReason::kNoLeader);
    return true;
  });
  // With the others they would all be refused together: a leader takes one change at a time.
  TakeChanges(proposals);
  HoldBack(std::move(proposals));
}

bool NodeCore::TransferLeadership(MemberId target) { return core_.TransferLeadership(target); }

void NodeCore::RaiseTerm(Term term) {
  if (core_.term() >= term) return;
  core_.Step({.from = MemberId(0), .to = core_.id(), .term = term, .body = raft::StaleTerm{}});
}

bool NodeCore::BeginInstall(raft::EntryId snapshot) { return core_.BeginInstall(snapshot); }

void NodeCore::FinishInstall(raft::EntryId snapshot, raft::Configuration configuration) {
  core_.FinishInstall(snapshot, std::move(configuration));
}

void NodeCore::AbandonInstall() { core_.AbandonInstall(); }

Work NodeCore::TakeWork() {
  Work work;
  // Taking one Ready can make the next: what needs no write is durable at once, a confirmed round
  // makes way for the next one, and a leader that has just become known takes the proposals that
  // waited for it.
  do {
    StartReadRound();
    while (core_.HasReady()) TakeReady(work);
    RetryWaiting();
    RestartReads();
    SubmitChanges();
  } while (core_.HasReady() || WantsReadRound());
  FinishReads(work);
  std::move(released_messages_.begin(), released_messages_.end(),
            std::back_inserter(work.messages));
  released_messages_.clear();
  StampForwarded(work.messages, options_.start_nonce);
  SendRefusals(work);
  work.refused = std::exchange(refused_, {});
  std::move(reads_refused_.begin(), reads_refused_.end(), std::back_inserter(work.reads_refused));
  reads_refused_.clear();
  return work;
}

void NodeCore::TakeReady(Work& work) {
  raft::Ready ready = core_.TakeReady();
  std::move(ready.messages_now.begin(), ready.messages_now.end(),
            std::back_inserter(work.messages));
  std::move(ready.log_reads.begin(), ready.log_reads.end(), std::back_inserter(work.log_reads));
  std::move(ready.snapshots.begin(), ready.snapshots.end(), std::back_inserter(work.snapshots));
  std::move(ready.trace.begin(), ready.trace.end(), std::back_inserter(work.trace));

  if (ready.soft_state.has_value()) {
    leads_since_ =
        ready.soft_state->role == raft::RoleKind::kLeader ? core_.last().index : Index(0);
  }
  if (!ready.committed.empty()) {
    ApplyRange apply{ready.committed,
                     core_.Entries(ready.committed.first, ready.committed.limit, kApplyBytesMax)};
    work.apply.push_back(std::move(apply));
  }
  for (const raft::ReadState& read : ready.read_states) {
    const auto round = rounds_.find(read.context);
    if (round == rounds_.end()) continue;
    confirmed_.emplace(read.index, std::move(round->second.reads));
    rounds_.erase(round);
  }
  for (const uint64_t context : ready.refused_reads) RefusedRound(context);

  if (!ready.needs_log()) return;
  const bool has_write = ready.hard_state.has_value() || !ready.entries.empty();
  const bool is_all_durable = durable_ == last_written_;
  last_written_ = ready.number;
  if (!ready.messages_after_append.empty()) {
    held_messages_.emplace_back(ready.number, std::move(ready.messages_after_append));
  }
  if (has_write || !is_all_durable) {
    work.log.push_back({ready.number, ready.hard_state, std::move(ready.entries), ready.commit});
  } else {
    LogDurable(ready.number);
  }
}

void NodeCore::FinishReads(Work& work) {
  while (!confirmed_.empty() && confirmed_.begin()->first <= core_.applied()) {
    std::vector<WaiterId>& reads = confirmed_.begin()->second;
    std::move(reads.begin(), reads.end(), std::back_inserter(work.reads_ready));
    confirmed_.erase(confirmed_.begin());
  }
}

bool NodeCore::WaitsForApplied() const {
  return !confirmed_.empty() || !changes_.empty() || core_.applied() < leads_since_ ||
         !core_.is_leader();
}

bool NodeCore::IsLeaderReady() const {
  return leads_since_ != Index(0) && core_.applied() >= leads_since_ && core_.is_leader();
}

bool NodeCore::IsSoleVoterReady() const {
  const raft::Configuration& configuration = core_.configuration();
  return IsLeaderReady() && configuration.outgoing.empty() && configuration.voters.size() == 1 &&
         configuration.voters[0] == core_.id();
}

}  // namespace cairn::server
