// Life, terms and Ready of the core; and the public face over core_impl.h.
#include "raft/core.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "raft/core_impl.h"
#include "raft/quorum.h"

namespace cairn::raft {
namespace {

// No cluster is so many elections ahead of a member, so such a message is wrong. Were it believed,
// one message could use up all terms there are; with this it takes four million.
constexpr uint64_t kTermsAheadMax = uint64_t{1} << 40;

// Takes the entries along.
Log RestoreLog(RestoredState& restored) {
  const EntryId before = restored.entries.empty() ? restored.last : restored.before_entries;
  return Log(before, restored.applied.index, restored.last, restored.hard_state.commit,
             std::move(restored.entries));
}

}  // namespace

Core::Impl::Impl(const CoreOptions& options, RestoredState restored)
    : options_(options),
      random_(options.random_seed),
      term_(restored.hard_state.term),
      vote_(restored.hard_state.vote),
      log_(RestoreLog(restored)),
      configuration_(std::move(restored.configuration)),
      must_apply_(log_.commit()),
      // Entries beyond the commit index may hold a change.
      configuration_pending_(log_.last().index),
      handed_out_term_(term_),
      handed_out_vote_(vote_),
      durable_term_(term_),
      durable_vote_(vote_) {
  CAIRN_CHECK(options.id != MemberId(0));
  CAIRN_CHECK_GE(options.heartbeat_ticks, 1u);
  CAIRN_CHECK_GE(options.election_timeout_ticks, 2 * options.heartbeat_ticks);
  CAIRN_CHECK_LE(log_.last().term, term_);
  CAIRN_CHECK_LE(restored.before_first.index, restored.applied.index);
  // Told once, so that an observer needs no special case for the start.
  last_soft_state_.term = term_ + 1;
  ResetElectionTimer();
  TrimTail();
  CampaignAloneAfterReplay();
}

MemberId Core::Impl::leader() const {
  if (is_leader()) return options_.id;
  const auto* follower = std::get_if<Follower>(&role_);
  return follower == nullptr ? MemberId(0) : follower->leader;
}

void Core::Impl::Tick() {
  ++tick_;
  if (auto* leader = std::get_if<Leader>(&role_)) {
    TickLeader(*leader);
  } else {
    TickElection();
  }
}

// A message of an old term can only come from a member that does not know the new one. Telling it
// so ends its leadership or campaign; granted pre-votes alone carry lower terms by design.
bool Core::Impl::IsMessageFromThePast(const Message& message) {
  if (message.term >= term_) return false;
  const MessageBody& body = message.body;
  if (const auto* request = std::get_if<VoteRequest>(&body)) {
    Send(message.from, VoteReply{.is_pre_vote = request->is_pre_vote,
                                 .campaign_term = request->campaign_term,
                                 .is_granted = false,
                                 .committed = log_.committed()});
  } else if (std::holds_alternative<AppendRequest>(body) ||
             std::holds_alternative<Heartbeat>(body)) {
    // Without this, a member whose term ran ahead while it was cut off would refuse the leader for
    // ever, and pre-vote would keep it from being elected.
    Send(message.from, StaleTerm{});
  } else if (const auto* reply = std::get_if<VoteReply>(&body)) {
    return !(reply->is_pre_vote && reply->is_granted);
  }
  return true;
}

void Core::Impl::Step(Message message) {
  if (message.to != options_.id || message.from == options_.id) return;
  if (message.term > term_ + kTermsAheadMax || message.term.value() > kTermOrIndexMax) return;
  if (const auto* request = std::get_if<VoteRequest>(&message.body)) {
    // Before the term is looked at: a campaign that is ignored must not raise it (9.6, 4.2.3).
    if (IgnoresCampaign(*request, message.from)) return;
  }
  if (IsMessageFromThePast(message)) return;
  if (message.term > term_) BecomeFollower(message.term, MemberId(0));
  std::visit([&](auto& body) { On(message, body); }, message.body);
  CheckCheapInvariants();
}

void Core::Impl::BecomeFollower(Term term, MemberId leader) {
  CAIRN_CHECK_GE(term, term_);
  if (term > term_) {
    term_ = term;
    vote_ = MemberId(0);
  }
  const MemberId old_leader = this->leader();
  const bool was_follower = std::holds_alternative<Follower>(role_);
  if (!was_follower || old_leader != leader) RefuseReads();
  if (!was_follower || (old_leader != leader && leader != MemberId(0))) {
    Trace(TraceKind::kBecameFollower, leader);
  }
  role_ = Follower{leader};
  if (!was_follower) ResetElectionTimer();
}

bool Core::Impl::IsHardStateDurable() const {
  return durable_term_ == term_ && durable_vote_ == vote_;
}

// Picks the outbox: what promises something that the disk does not hold yet has to wait for it.
// That is any message of a term whose (term, vote) is not durable, and an acknowledgement of
// entries that are not. (A granted vote is of the first kind.)
void Core::Impl::Send(MemberId to, MessageBody body) {
  const auto* accepted = std::get_if<AppendAccepted>(&body);
  const bool is_promise =
      !IsHardStateDurable() || (accepted != nullptr && accepted->match > log_.durable());
  auto& outbox = is_promise ? next_.messages_after_append : next_.messages_now;
  outbox.push_back({.from = options_.id, .to = to, .term = term_, .body = std::move(body)});
}

void Core::Impl::Trace(TraceKind kind, MemberId member, Index index, uint64_t detail) {
  next_.trace.push_back({kind, term_, member, index, detail});
}

void Core::Impl::LogDurable(uint64_t number) {
  CAIRN_CHECK_LE(number, ready_number_);
  log_.WriteFinished(number);
  if (number > last_log_durable_) {
    // Never above the last write, or the two would not meet again.
    last_log_durable_ = std::min(number, last_log_write_);
    log_progress_tick_ = tick_;
  }
  while (!hard_state_writes_.empty() && hard_state_writes_.front().number <= number) {
    durable_term_ = hard_state_writes_.front().term;
    durable_vote_ = hard_state_writes_.front().vote;
    hard_state_writes_.pop_front();
  }
  if (auto* leader = std::get_if<Leader>(&role_)) {
    // The leader's own acknowledgement, like any other's, counts when its disk has it (10.2.1).
    const auto self = leader->peers.find(options_.id);
    if (self != leader->peers.end() && self->second.Acknowledge(log_.durable())) {
      AdvanceCommit(*leader);
    }
  }
  TrimTail();
  CheckCheapInvariants();
}

void Core::Impl::Applied(Index index) {
  log_.Applied(index);
  TrimTail();
  CampaignAloneAfterReplay();
}

void Core::Impl::TrimTail() {
  // Alone, nobody but the applier reads the tail.
  const bool is_alone = IsSoleVoter(configuration_, options_.id) && configuration_.learners.empty();
  log_.Trim(is_alone ? log_.applied() : Index(0), options_.tail_bytes_max);
}

void Core::Impl::ConfigurationApplied(Configuration configuration, Index index) {
  CAIRN_CHECK_LE(index, log_.applying());
  configuration_ = std::move(configuration);
  Trace(TraceKind::kConfiguration, MemberId(0), index);
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) {
    const bool is_campaigning = !std::holds_alternative<Follower>(role_);
    if (is_campaigning && !IsVoter(configuration_, options_.id)) {
      BecomeFollower(term_, MemberId(0));
    }
    // A leader that was voted out steps down when it has applied this; what is sent to it is lost.
    // If it leads for a while yet, its next message says so.
    if (this->leader() != MemberId(0) && !IsVoter(configuration_, this->leader())) {
      BecomeFollower(term_, MemberId(0));
    }
    return;
  }
  std::erase_if(leader->peers,
                [&](const auto& peer) { return !IsMember(configuration_, peer.first); });
  ForEachMember(configuration_, [&](MemberId id) {
    const auto [peer, is_new] =
        leader->peers.try_emplace(id, log_.last().index + 1, options_.inflight_bytes_max);
    if (is_new) peer->second.last_heard_tick = tick_;
  });
  // A smaller quorum may have agreed already, and the others should hear of it in any case.
  AdvanceCommit(*leader);
  ConfirmRounds(*leader);
  has_appends_to_send_ = true;
  if (!IsVoter(configuration_, options_.id)) {
    SendAppends(*leader);
    BecomeFollower(term_, MemberId(0));
  } else if (leader->transfer_target != MemberId(0) &&
             !IsVoter(configuration_, leader->transfer_target)) {
    Trace(TraceKind::kTransferAborted, leader->transfer_target);
    leader->transfer_target = MemberId(0);
  }
}

bool Core::Impl::HasReady() const {
  const bool has_committed = !is_installing_ && log_.apply_limit() > log_.applying() + 1;
  const SoftState soft_state{role(), term_, leader()};
  return has_appends_to_send_ || has_reads_to_flush_ || log_.HasUnwritten() || has_committed ||
         term_ != handed_out_term_ || vote_ != handed_out_vote_ || soft_state != last_soft_state_ ||
         !next_.messages_now.empty() || !next_.messages_after_append.empty() ||
         !next_.read_states.empty() || !next_.refused_reads.empty() || !next_.log_reads.empty() ||
         !next_.snapshots.empty() || !next_.trace.empty();
}

Ready Core::Impl::TakeReady() {
  CAIRN_CHECK(HasReady());
  if (auto* leader = std::get_if<Leader>(&role_)) {
    if (has_reads_to_flush_) FlushReads(*leader);
    if (has_appends_to_send_) SendAppends(*leader);
  }
  has_reads_to_flush_ = false;
  has_appends_to_send_ = false;

  Ready ready = std::exchange(next_, Ready{});
  ready.number = ++ready_number_;
  ready.entries = log_.TakeUnwritten();
  ready.commit = log_.commit();
  if (term_ != handed_out_term_ || vote_ != handed_out_vote_) {
    ready.hard_state = HardState{.term = term_, .vote = vote_, .commit = ready.commit};
    handed_out_term_ = term_;
    handed_out_vote_ = vote_;
    hard_state_writes_.push_back({ready.number, term_, vote_});
  }
  if (ready.needs_log()) {
    log_.WriteStarted(ready.number);
    if (last_log_write_ == last_log_durable_) log_progress_tick_ = tick_;
    last_log_write_ = ready.number;
  }
  ready.committed = {log_.applying() + 1, log_.applying() + 1};
  if (!is_installing_) {
    ready.committed.limit = std::max(ready.committed.limit, log_.apply_limit());
    log_.StartApplying(ready.committed.limit);
  }
  const SoftState soft_state{role(), term_, leader()};
  if (soft_state != last_soft_state_) {
    ready.soft_state = soft_state;
    last_soft_state_ = soft_state;
  }
  CheckCheapInvariants();
  return ready;
}

bool Core::Impl::IsLeadershipConfirmed() const {
  const auto* leader = std::get_if<Leader>(&role_);
  return leader != nullptr && leader->transfer_target == MemberId(0) &&
         leader->rounds.confirmed_round() > 0 &&
         tick_ - leader->rounds.confirmed_tick() < options_.election_timeout_ticks;
}

uint64_t Core::Impl::confirmed_tick() const {
  CAIRN_CHECK(IsLeadershipConfirmed());
  return std::get<Leader>(role_).rounds.confirmed_tick();
}

bool Core::Impl::HasCommittedInTerm() const {
  const auto* leader = std::get_if<Leader>(&role_);
  return leader != nullptr && log_.commit() >= leader->first_index;
}

CoreStatus Core::Impl::Status() const {
  CoreStatus status{.id = options_.id,
                    .role = role(),
                    .term = term_,
                    .vote = vote_,
                    .leader = leader(),
                    .commit = log_.commit(),
                    .applying = log_.applying(),
                    .applied = log_.applied(),
                    .durable = log_.durable(),
                    .last = log_.last(),
                    .before_tail = log_.before_tail(),
                    .tail_bytes = log_.tail_bytes(),
                    .configuration = configuration_};
  const auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) return status;
  status.transfer_target = leader->transfer_target;
  status.uncommitted_bytes = leader->uncommitted_bytes;
  status.confirmed_round = leader->rounds.confirmed_round();
  for (const auto& [id, peer] : leader->peers) {
    if (id == options_.id) continue;
    status.peers.push_back(
        {.id = id,
         .is_learner = !IsVoter(configuration_, id),
         .state = peer.state(),
         .match = peer.match(),
         .next = peer.next(),
         .inflight_bytes = peer.inflights().bytes(),
         .is_recently_active = tick_ - peer.last_heard_tick < options_.election_timeout_ticks});
  }
  return status;
}

void Core::Impl::CheckCheapInvariants() const {
  CAIRN_CHECK_LE(log_.before_tail(), log_.commit());
  CAIRN_CHECK_LE(log_.commit(), log_.last().index);
  CAIRN_CHECK_LE(log_.before_tail(), log_.durable());
  CAIRN_CHECK_LE(log_.durable(), log_.handed_out());
  CAIRN_CHECK_LE(log_.handed_out(), log_.last().index);
  CAIRN_CHECK_LE(log_.applied(), log_.applying());
  CAIRN_CHECK_LT(log_.applying(), log_.apply_limit());
  CAIRN_CHECK_LE(log_.last().term, term_);
  if (is_leader()) CAIRN_CHECK_EQ(vote_, options_.id);
}

Core::Core(const CoreOptions& options, RestoredState restored)
    : impl_(std::make_unique<Impl>(options, std::move(restored))) {}
Core::~Core() = default;

void Core::Tick() { impl_->Tick(); }
void Core::Step(Message message) { impl_->Step(std::move(message)); }
ProposeResult Core::Propose(std::vector<Proposal> proposals, Forwarding forwarding) {
  return impl_->Propose(std::move(proposals), forwarding);
}
void Core::ReadIndex(uint64_t context) { impl_->ReadIndex(context); }
void Core::LogDurable(uint64_t number) { impl_->LogDurable(number); }
void Core::Applied(Index index) { impl_->Applied(index); }
void Core::ConfigurationApplied(Configuration configuration, Index index) {
  impl_->ConfigurationApplied(std::move(configuration), index);
}
void Core::EntriesRead(LogReadAnswer answer) { impl_->EntriesRead(std::move(answer)); }
void Core::ReportUnreachable(MemberId peer) { impl_->ReportUnreachable(peer); }
void Core::SnapshotStatus(MemberId peer, Index index, bool is_installed) {
  impl_->SnapshotStatus(peer, index, is_installed);
}
bool Core::TransferLeadership(MemberId target) { return impl_->TransferLeadership(target); }
MemberId Core::BestSuccessor() const { return impl_->BestSuccessor(); }
bool Core::BeginInstall(EntryId snapshot) { return impl_->BeginInstall(snapshot); }
void Core::FinishInstall(EntryId snapshot, Configuration configuration) {
  impl_->FinishInstall(snapshot, std::move(configuration));
}
void Core::AbandonInstall() { impl_->AbandonInstall(); }

bool Core::HasReady() const { return impl_->HasReady(); }
Ready Core::TakeReady() { return impl_->TakeReady(); }

std::vector<Entry> Core::Entries(Index first, Index limit, size_t max_bytes) const {
  return impl_->log().Slice(first, limit, max_bytes);
}
CoreStatus Core::Status() const { return impl_->Status(); }
MemberId Core::id() const { return impl_->id(); }
Term Core::term() const { return impl_->term(); }
bool Core::is_leader() const { return impl_->is_leader(); }
bool Core::is_transferring() const { return impl_->is_transferring(); }
MemberId Core::leader() const { return impl_->leader(); }
Index Core::commit() const { return impl_->log().commit(); }
Index Core::applied() const { return impl_->log().applied(); }
Index Core::durable() const { return impl_->log().durable(); }
EntryId Core::last() const { return impl_->log().last(); }
const Configuration& Core::configuration() const { return impl_->configuration(); }
bool Core::IsLeadershipConfirmed() const { return impl_->IsLeadershipConfirmed(); }
uint64_t Core::confirmed_tick() const { return impl_->confirmed_tick(); }
uint64_t Core::tick() const { return impl_->tick(); }
bool Core::HasCommittedInTerm() const { return impl_->HasCommittedInTerm(); }

}  // namespace cairn::raft
