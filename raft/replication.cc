// Replication: proposals, appends and their answers, commit (thesis 3.5, 3.6, 10.2).
#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"
#include "raft/core_impl.h"
#include "raft/log_slice.h"
#include "raft/quorum.h"

namespace cairn::raft {
namespace {

bool IsConfiguration(const Proposal& proposal) {
  return proposal.kind == EntryKind::kConfiguration;
}

size_t ProposalBytes(const std::vector<Proposal>& proposals) {
  size_t bytes = 0;
  for (const Proposal& proposal : proposals) {
    bytes += sizeof(Entry) + (proposal.data == nullptr ? 0 : proposal.data->size());
  }
  return bytes;
}

}  // namespace

// --- The leader's side ---

void Core::Impl::TickLeader(Leader& leader) {
  const uint64_t confirmed_tick =
      leader.rounds.confirmed_round() == 0 ? leader.since_tick : leader.rounds.confirmed_tick();
  if (tick_ - confirmed_tick > options_.election_timeout_ticks) {
    // Check-quorum (6.2): cut off from a quorum, it only keeps clients waiting.
    Trace(TraceKind::kQuorumLost);
    BecomeFollower(term_, MemberId(0));
    return;
  }
  if (LeaveIfLogStalled()) return;
  ExpireTransfer(leader);
  if (++heartbeat_elapsed_ticks_ < options_.heartbeat_ticks) return;
  heartbeat_elapsed_ticks_ = 0;
  StartRound(leader);
  ContinueTransfer(leader);
}

std::optional<ProposeOutcome> Core::Impl::RefusalOf(const Leader& leader,
                                                    const std::vector<Proposal>& proposals) const {
  if (leader.transfer_target != MemberId(0)) return ProposeOutcome::kTransferUnderWay;
  // One larger than the bound may pass, alone.
  if (leader.uncommitted_bytes > 0 &&
      leader.uncommitted_bytes + ProposalBytes(proposals) > options_.uncommitted_bytes_max) {
    return ProposeOutcome::kTooManyUncommitted;
  }
  const auto changes = std::count_if(proposals.begin(), proposals.end(), IsConfiguration);
  if (changes > 1 || (changes == 1 && configuration_pending_ > log_.applied())) {
    return ProposeOutcome::kConfigurationPending;
  }
  return std::nullopt;
}

ProposeResult Core::Impl::Propose(std::vector<Proposal> proposals, Forwarding forwarding) {
  CAIRN_CHECK(!proposals.empty());
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) {
    const MemberId known = this->leader();
    if (known == MemberId(0)) return {.outcome = ProposeOutcome::kNoLeader};
    if (forwarding == Forwarding::kForbidden) return {.outcome = ProposeOutcome::kNotForwarded};
    Send(known, ForwardedProposals{std::move(proposals)});
    return {.outcome = ProposeOutcome::kForwarded};
  }
  if (const auto refusal = RefusalOf(*leader, proposals)) return {.outcome = *refusal};
  const Index first = log_.last().index + 1;
  AppendProposals(*leader, std::move(proposals));
  return {.outcome = ProposeOutcome::kAccepted, .first_index = first, .term = term_};
}

void Core::Impl::On(const Message&, ForwardedProposals& forwarded) {
  // Not passed on a second time: two members that take each other for the leader would play ball.
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr || forwarded.proposals.empty()) return;
  if (RefusalOf(*leader, forwarded.proposals).has_value()) return;
  AppendProposals(*leader, std::move(forwarded.proposals));
}

void Core::Impl::AppendProposals(Leader& leader, std::vector<Proposal> proposals) {
  leader.uncommitted_bytes += ProposalBytes(proposals);
  for (Proposal& proposal : proposals) {
    log_.Append(proposal.kind, std::move(proposal.data), term_);
    if (IsConfiguration(proposal)) configuration_pending_ = log_.last().index;
  }
  has_appends_to_send_ = has_appends_to_send_ || leader.peers.size() > 1;
}

// Commits what a quorum holds, if it is of this term; what came before is committed with it
// (3.6.2).
void Core::Impl::AdvanceCommit(Leader& leader) {
  const Index agreed(QuorumValue(configuration_, [&](MemberId id) {
    const auto peer = leader.peers.find(id);
    return peer == leader.peers.end() ? 0 : peer->second.match().value();
  }));
  if (agreed <= log_.commit() || agreed > log_.last().index) return;
  if (log_.TermAt(agreed) != term_) return;
  leader.uncommitted_bytes -= log_.BytesOf(log_.commit() + 1, agreed + 1);
  log_.CommitTo(agreed);
  has_appends_to_send_ = has_appends_to_send_ || leader.peers.size() > 1;
  has_reads_to_flush_ = has_reads_to_flush_ || leader.rounds.has_waiting();
}

void Core::Impl::SendAppends(Leader& leader) {
  for (auto& [id, peer] : leader.peers) {
    if (id != options_.id) SendAppendsTo(id, peer);
  }
}

void Core::Impl::SendAppendsTo(MemberId id, Progress& peer) {
  while (!peer.IsPaused() && !peer.is_reading_log) {
    const Index next = peer.next();
    const bool is_probe = peer.state() == ProgressState::kProbe;
    const bool has_entries = next <= log_.last().index;
    if (!has_entries && !is_probe && peer.commit_sent >= log_.commit()) return;
    const std::optional<Term> previous_term = log_.TermAt(next - 1);
    if (!previous_term.has_value()) {
      AskLogFor(id, peer);
      return;
    }
    SendAppendOf(id, peer, {.term = *previous_term, .index = next - 1},
                 log_.Slice(next, log_.last().index + 1, options_.append_bytes_max));
    if (!has_entries) return;
  }
}

void Core::Impl::SendAppendOf(MemberId id, Progress& peer, EntryId previous,
                              std::vector<Entry> entries) {
  const Index last = entries.empty() ? previous.index : entries.back().index;
  size_t bytes = 0;
  for (const Entry& entry : entries) bytes += EntryBytes(entry);
  Send(id,
       AppendRequest{.previous = previous, .commit = log_.commit(), .entries = std::move(entries)});
  peer.Sent(last, bytes);
  peer.commit_sent = log_.commit();
}

void Core::Impl::AskLogFor(MemberId id, Progress& peer) {
  if (peer.next() > log_.durable()) {
    // Nothing to read yet. As after a failed read: again with the next sign of life.
    peer.Postpone();
    return;
  }
  peer.is_reading_log = true;
  next_.log_reads.push_back({.peer = id,
                             .term = term_,
                             .from = peer.next(),
                             .limit = log_.durable() + 1,
                             .max_bytes = options_.append_bytes_max});
}

void Core::Impl::EntriesRead(LogReadAnswer answer) {
  auto* leader = std::get_if<Leader>(&role_);
  // A leader never supersedes its own entries, so within its term any answer is still true.
  if (leader == nullptr || answer.term != term_) return;
  const auto found = leader->peers.find(answer.peer);
  if (found == leader->peers.end() || !found->second.is_reading_log) return;
  Progress& peer = found->second;
  peer.is_reading_log = false;
  has_appends_to_send_ = true;
  // The peer moved on, or back, meanwhile: SendAppends looks anew.
  if (peer.next() != answer.from || peer.IsPaused()) return;
  if (answer.is_removed) {
    Trace(TraceKind::kPeerNeedsSnapshot, answer.peer, answer.from);
    peer.BecomeSnapshot(answer.from);
    next_.snapshots.push_back({.peer = answer.peer, .term = term_, .index = answer.from});
    return;
  }
  const EntryId previous{.term = answer.term_before, .index = answer.from - 1};
  const LogSlice slice{.previous = previous, .entries = answer.entries};
  if (answer.entries.empty() || !slice.IsValid(term_) || slice.last().index > log_.last().index) {
    // A failed read is tried again with the next sign of life.
    peer.Postpone();
    return;
  }
  SendAppendOf(answer.peer, peer, previous, std::move(answer.entries));
}

Progress* Core::Impl::PeerOf(const Message& message) {
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) return nullptr;
  const auto peer = leader->peers.find(message.from);
  if (peer == leader->peers.end()) return nullptr;
  peer->second.last_heard_tick = tick_;
  return &peer->second;
}

void Core::Impl::On(const Message& message, const AppendAccepted& reply) {
  Progress* peer = PeerOf(message);
  if (peer == nullptr || reply.match > log_.last().index) return;
  const ProgressState state = peer->state();
  const bool is_news = peer->Acknowledge(reply.match);
  const bool is_probe_answered = state == ProgressState::kProbe && reply.match + 1 >= peer->next();
  const bool is_caught_up =
      state == ProgressState::kSnapshot && peer->match() >= peer->pending_snapshot();
  if ((is_news && state == ProgressState::kProbe) || is_probe_answered || is_caught_up) {
    peer->BecomeReplicate();
    Trace(TraceKind::kPeerReplicating, message.from, peer->match());
  }
  // Also without news: the window may have opened.
  has_appends_to_send_ = true;
  Leader& leader = std::get<Leader>(role_);
  if (!is_news) return;
  AdvanceCommit(leader);
  if (leader.transfer_target == message.from) ContinueTransfer(leader);
}

void Core::Impl::On(const Message& message, const AppendRejected& reply) {
  Progress* peer = PeerOf(message);
  if (peer == nullptr) return;
  // The peer's hint says where its log can agree with `previous`; the leader's own terms may say
  // that it must be earlier still. Either side skips a whole term in one step.
  EntryId hint = reply.hint;
  if (hint.term != Term(0)) hint = log_.LastAtMost(hint.term, hint.index, log_.before_tail());
  if (!peer->Reject(reply.previous.index, hint.index)) return;
  Trace(TraceKind::kPeerProbing, message.from, peer->next());
  has_appends_to_send_ = true;
}

void Core::Impl::On(const Message&, const StaleTerm&) {
  // Its term has done its work already.
}

void Core::Impl::ReportUnreachable(MemberId id) {
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) return;
  const auto peer = leader->peers.find(id);
  if (peer == leader->peers.end() || id == options_.id) return;
  // What was sent ahead is probably lost: find out with one append instead of a window of them.
  if (peer->second.state() != ProgressState::kReplicate) return;
  peer->second.BecomeProbe();
  Trace(TraceKind::kPeerProbing, id, peer->second.next());
  has_appends_to_send_ = true;
}

// --- The follower's side ---

void Core::Impl::FollowLeader(const Message& message) {
  CAIRN_CHECK(!is_leader(), "two leaders in one term");
  const auto* follower = std::get_if<Follower>(&role_);
  if (follower == nullptr || follower->leader != message.from) {
    CAIRN_CHECK(leader() == MemberId(0), "two leaders in one term");
    BecomeFollower(term_, message.from);
  }
  election_elapsed_ticks_ = 0;
}

void Core::Impl::On(const Message& message, AppendRequest& request) {
  const LogSlice slice{.previous = request.previous, .entries = request.entries};
  if (!slice.IsValid(message.term)) return;
  FollowLeader(message);
  // Between the check of a snapshot and its record the log must not move (design.md section 3).
  if (is_installing_) return;
  if (!log_.Matches(request.previous)) {
    Trace(TraceKind::kAppendRejected, message.from, request.previous.index);
    Send(message.from,
         AppendRejected{.previous = request.previous,
                        .hint = log_.LastAtMost(request.previous.term, request.previous.index,
                                                log_.commit())});
    return;
  }
  if (slice.last().index <= log_.commit()) {
    // An old one, repeated or overtaken. All of it is committed here, so there is more to tell.
    Send(message.from, AppendAccepted{.match = log_.commit()});
    return;
  }
  if (const auto dropped = log_.Merge(slice)) {
    Trace(TraceKind::kLogTruncated, message.from, *dropped);
  }
  bool brings_change = false;
  for (const Entry& entry : request.entries) {
    if (entry.kind != EntryKind::kConfiguration) continue;
    configuration_pending_ = std::max(configuration_pending_, entry.index);
    brings_change = true;
  }
  // Only what this message has shown to be the leader's may be taken for committed.
  log_.CommitTo(std::min(request.commit, slice.last().index));
  // The leader had applied all earlier changes, so they are committed here by now. Who campaigned
  // before it has applied them too would be two changes behind, and its quorum meet no other.
  if (brings_change) must_apply_ = std::max(must_apply_, log_.commit());
  TrimTail();
  Send(message.from, AppendAccepted{.match = slice.last().index});
}

}  // namespace cairn::raft
