// Elections: timers, pre-vote, votes (thesis 3.4, 4.2.3, 9.6).
#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"
#include "raft/core_impl.h"
#include "raft/quorum.h"

namespace cairn::raft {

namespace {

// Timeouts are spread so that two members rarely campaign at once (3.4). The thesis spreads them
// over one more timeout; half of that is some hundred milliseconds less without a leader, and still
// many times what it takes to win, so that splits stay rare. No spread is too small for that.
constexpr uint32_t kElectionSpreadTicksMin = 3;

}  // namespace

void Core::Impl::ResetElectionTimer() {
  election_elapsed_ticks_ = 0;
  const uint32_t spread_ticks =
      std::max(kElectionSpreadTicksMin, options_.election_timeout_ticks / 2);
  election_deadline_ticks_ =
      options_.election_timeout_ticks + static_cast<uint32_t>(random_.Below(spread_ticks));
}

void Core::Impl::TickElection() {
  ++election_elapsed_ticks_;
  if (election_elapsed_ticks_ < election_deadline_ticks_) return;
  ResetElectionTimer();
  if (IsVoter(configuration_, options_.id) && !is_installing_ && !IsLogStalled()) {
    if (MayCampaign()) {
      Campaign(CampaignKind::kPreVote);
      return;
    }
    Trace(TraceKind::kCampaignBlocked, MemberId(0), must_apply_first());
  }
  // Cannot campaign, but need not pretend that the leader is still there.
  if (leader() != MemberId(0)) BecomeFollower(term_, MemberId(0));
}

// Committed entries may change who votes: the configuration in force counts only when they are
// applied. That is everything found committed at start, and since then every change.
Index Core::Impl::must_apply_first() const {
  const bool is_change_committed = configuration_pending_ <= log_.commit();
  return is_change_committed ? std::max(must_apply_, configuration_pending_) : must_apply_;
}

bool Core::Impl::MayCampaign() const {
  return log_.applied() >= must_apply_first() && term_.value() < kTermOrIndexMax;
}

void Core::Impl::CampaignAloneAfterReplay() {
  if (!is_replaying_ || log_.applied() < must_apply_) return;
  is_replaying_ = false;
  const bool is_idle =
      std::holds_alternative<Follower>(role_) && !is_installing_ && term_.value() < kTermOrIndexMax;
  if (is_idle && IsSoleVoter(configuration_, options_.id)) Campaign(CampaignKind::kPreVote);
}

void Core::Impl::Campaign(CampaignKind kind) {
  CAIRN_CHECK(!is_leader());
  CAIRN_CHECK_LT(term_.value(), kTermOrIndexMax);
  const bool is_pre_vote = kind == CampaignKind::kPreVote;
  RefuseReads();
  ResetElectionTimer();
  const Votes own_vote = {{options_.id, true}};
  if (is_pre_vote) {
    role_ = PreCandidate{own_vote};
  } else {
    ++term_;
    vote_ = options_.id;
    role_ = Candidate{own_vote};
  }
  Trace(TraceKind::kCampaign, MemberId(0), Index(0), static_cast<uint64_t>(kind));
  const VoteRequest request{.is_pre_vote = is_pre_vote,
                            .campaign_term = is_pre_vote ? term_ + 1 : term_,
                            .last = log_.last(),
                            .is_transfer = kind == CampaignKind::kTransfer,
                            .committed = log_.committed()};
  ForEachVoter(configuration_, [&](MemberId id) {
    if (id != options_.id) Send(id, request);
  });
  CountVotes();
}

void Core::Impl::CountVotes() {
  const auto* pre_candidate = std::get_if<PreCandidate>(&role_);
  const auto* candidate = std::get_if<Candidate>(&role_);
  CAIRN_CHECK(pre_candidate != nullptr || candidate != nullptr);
  const Votes& votes = pre_candidate != nullptr ? pre_candidate->votes : candidate->votes;
  const VoteResult result = QuorumVote(configuration_, [&](MemberId id) -> std::optional<bool> {
    const auto vote = votes.find(id);
    if (vote == votes.end()) return std::nullopt;
    return vote->second;
  });
  switch (result) {
    case VoteResult::kPending:
      return;
    case VoteResult::kLost:
      BecomeFollower(term_, MemberId(0));
      return;
    case VoteResult::kWon:
      if (pre_candidate != nullptr) {
        Campaign(CampaignKind::kVote);
      } else {
        BecomeLeader();
      }
      return;
  }
}

void Core::Impl::BecomeLeader() {
  Leader leader;
  leader.since_tick = tick_;
  leader.first_index = log_.last().index + 1;
  // Whatever the predecessors left beyond the commit index may be a change (4.1).
  configuration_pending_ = log_.last().index;
  leader.uncommitted_bytes = log_.BytesOf(log_.commit() + 1, log_.last().index + 1);
  ForEachMember(configuration_, [&](MemberId id) {
    Progress& peer =
        leader.peers.try_emplace(id, log_.last().index + 1, options_.inflight_bytes_max)
            .first->second;
    peer.last_heard_tick = tick_;
  });
  Progress& self = leader.peers.at(options_.id);
  self.Acknowledge(log_.durable());
  role_ = std::move(leader);
  heartbeat_elapsed_ticks_ = 0;
  Trace(TraceKind::kBecameLeader, MemberId(0), log_.last().index + 1);
  // An entry of its own term, without which nothing of its predecessors' may be committed (3.6.2)
  // and no read served (6.4).
  AppendProposals(std::get<Leader>(role_), {{.kind = EntryKind::kEmpty, .data = nullptr}});
  StartRound(std::get<Leader>(role_));
}

bool Core::Impl::HearsFromLeader() const {
  if (is_leader()) return true;  // Check-quorum bounds for how long.
  return leader() != MemberId(0) && election_elapsed_ticks_ < options_.election_timeout_ticks;
}

// While the leader is heard from, nobody may unseat it but on its own wish: a removed or isolated
// member cannot disturb, and the leader's confirmation means something (4.2.3, 6.4.1).
bool Core::Impl::IgnoresCampaign(const VoteRequest& request, MemberId from) {
  if (request.campaign_term <= term_ || request.is_transfer || !HearsFromLeader()) return false;
  Trace(TraceKind::kVoteIgnored, from);
  return true;
}

void Core::Impl::On(const Message& message, const VoteRequest& request) {
  if (!request.is_pre_vote && request.campaign_term != message.term) return;
  const bool is_free = vote_ == message.from || (vote_ == MemberId(0) && leader() == MemberId(0)) ||
                       (request.is_pre_vote && request.campaign_term > term_);
  const bool is_granted = is_free && log_.IsUpToDate(request.last);
  if (is_granted && !request.is_pre_vote) {
    vote_ = message.from;
    election_elapsed_ticks_ = 0;
  }
  Trace(is_granted ? TraceKind::kVoteGranted : TraceKind::kVoteRefused, message.from, Index(0),
        request.is_pre_vote ? 1 : 2);
  Send(message.from, VoteReply{.is_pre_vote = request.is_pre_vote,
                               .campaign_term = request.campaign_term,
                               .is_granted = is_granted,
                               .committed = log_.committed()});
  LearnCommitted(request.committed);
}

// "This entry is committed" is true for ever, whoever says so; and who holds the very entry holds
// everything before it (log matching, 3.5).
void Core::Impl::LearnCommitted(EntryId committed) {
  if (is_leader() || is_installing_) return;
  if (log_.TermAt(committed.index) == committed.term) log_.CommitTo(committed.index);
}

void Core::Impl::On(const Message& message, const VoteReply& reply) {
  LearnCommitted(reply.committed);
  auto* pre_candidate = std::get_if<PreCandidate>(&role_);
  auto* candidate = std::get_if<Candidate>(&role_);
  if (pre_candidate != nullptr && reply.is_pre_vote && reply.campaign_term == term_ + 1) {
    pre_candidate->votes.try_emplace(message.from, reply.is_granted);
    CountVotes();
  } else if (candidate != nullptr && !reply.is_pre_vote && reply.campaign_term == term_) {
    candidate->votes.try_emplace(message.from, reply.is_granted);
    CountVotes();
  }
}

}  // namespace cairn::raft
