// Heartbeats and what they confirm: reads, and the leadership itself (thesis 6.4).
#include <algorithm>
#include <utility>

#include "raft/core_impl.h"
#include "raft/quorum.h"

namespace cairn::raft {
namespace {

// Requests of this member that the leader has not answered. The shell batches its clients into
// few contexts, and gives up on them by itself: the oldest go first.
constexpr size_t kForwardedReadsMax = 4096;

}  // namespace

void Core::Impl::StartRound(Leader& leader) {
  const uint64_t round = leader.rounds.Start(tick_, log_.commit(), HasCommittedInTerm());
  for (auto& [id, peer] : leader.peers) {
    if (id == options_.id) {
      peer.acknowledged_round = round;
      peer.last_heard_tick = tick_;
      continue;
    }
    // Not more than it is known to hold: a heartbeat does not check the log.
    Send(id, Heartbeat{.commit = std::min(peer.match(), log_.commit()), .round = round});
  }
  // A sole voter is its own quorum.
  ConfirmRounds(leader);
}

void Core::Impl::ConfirmRounds(Leader& leader) {
  const uint64_t round = QuorumValue(configuration_, [&](MemberId id) {
    const auto peer = leader.peers.find(id);
    return peer == leader.peers.end() ? 0 : peer->second.acknowledged_round;
  });
  if (round > leader.rounds.last_round()) return;  // A configuration without voters.
  for (const ConfirmedRead& read : leader.rounds.Confirm(round)) {
    if (read.request.from == options_.id) {
      next_.read_states.push_back({read.request.context, read.index});
    } else {
      Send(read.request.from, ReadIndexReply{.context = read.request.context, .index = read.index});
    }
  }
  has_reads_to_flush_ = has_reads_to_flush_ || leader.rounds.has_waiting();
}

void Core::Impl::FlushReads(Leader& leader) {
  if (HasCommittedInTerm() && leader.rounds.WantsRound()) StartRound(leader);
}

void Core::Impl::ReadIndex(uint64_t context) {
  if (auto* leader = std::get_if<Leader>(&role_)) {
    if (leader->rounds.Add({options_.id, context})) {
      has_reads_to_flush_ = has_reads_to_flush_ || HasCommittedInTerm();
    } else {
      next_.refused_reads.push_back(context);
    }
    return;
  }
  const MemberId known = leader();
  if (known == MemberId(0)) {
    next_.refused_reads.push_back(context);
    return;
  }
  if (forwarded_reads_.size() >= kForwardedReadsMax) {
    next_.refused_reads.push_back(forwarded_reads_.front());
    forwarded_reads_.pop_front();
  }
  forwarded_reads_.push_back(context);
  Send(known, ReadIndexRequest{context});
}

// Leadership ended here, or the leader that was asked is no longer followed.
void Core::Impl::RefuseReads() {
  next_.refused_reads.insert(next_.refused_reads.end(), forwarded_reads_.begin(),
                             forwarded_reads_.end());
  forwarded_reads_.clear();
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) return;
  // Those of other members are refused there, when they see the leader change.
  for (const ReadRequest& request : leader->rounds.TakeAll()) {
    if (request.from == options_.id) next_.refused_reads.push_back(request.context);
  }
}

void Core::Impl::On(const Message& message, const Heartbeat& heartbeat) {
  FollowLeader(message);
  if (!is_installing_) log_.CommitTo(heartbeat.commit);
  Send(message.from, HeartbeatReply{heartbeat.round});
}

void Core::Impl::On(const Message& message, const HeartbeatReply& reply) {
  Progress* peer = PeerOf(message);
  Leader* leader = std::get_if<Leader>(&role_);
  if (peer == nullptr || reply.round > leader->rounds.last_round()) return;
  LookForLostAppends(message.from, *peer);
  if (reply.round <= peer->acknowledged_round) return;
  peer->acknowledged_round = reply.round;
  ConfirmRounds(*leader);
}

// The peer lives. If it owes answers, the appends may be lost: send the probe again, or an empty
// append behind the last one, which it must reject if anything before is missing. Once a heartbeat
// interval is enough, however many rounds reads cause.
void Core::Impl::LookForLostAppends(MemberId id, Progress& peer) {
  if (tick_ - peer.last_checked_tick < options_.heartbeat_ticks) return;
  peer.last_checked_tick = tick_;
  peer.Resume();
  has_appends_to_send_ = true;
  if (peer.state() != ProgressState::kReplicate || peer.match() + 1 >= peer.next()) return;
  const Index sent = peer.next() - 1;
  if (const auto term = log_.TermAt(sent)) {
    SendAppendOf(id, peer, {.term = *term, .index = sent}, {});
  } else {
    peer.BecomeProbe();
  }
}

// Whether this member and `id` are a quorum.
bool Core::Impl::IsQuorumWith(MemberId id) const {
  return QuorumValue(configuration_, [&](MemberId voter) -> uint64_t {
           return voter == options_.id || voter == id ? 1 : 0;
         }) > 0;
}

// A request is an answer as well: when its sender asked, after the read began, it was in this term,
// and this leader still is. Where the two are a quorum, no later leader was elected before that,
// for one of them would have had to vote for it; so no round can tell more, and none is sent.
void Core::Impl::On(const Message& message, const ReadIndexRequest& request) {
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) return;
  if (HasCommittedInTerm() && IsQuorumWith(message.from)) {
    Send(message.from, ReadIndexReply{.context = request.context, .index = log_.commit()});
    return;
  }
  if (!leader->rounds.Add({message.from, request.context})) return;
  has_reads_to_flush_ = has_reads_to_flush_ || HasCommittedInTerm();
}

void Core::Impl::On(const Message&, const ReadIndexReply& reply) {
  // Once only: a repeated answer is dropped, and so is one that was given up.
  const auto found = std::find(forwarded_reads_.begin(), forwarded_reads_.end(), reply.context);
  if (found == forwarded_reads_.end()) return;
  forwarded_reads_.erase(found);
  next_.read_states.push_back({reply.context, reply.index});
}

}  // namespace cairn::raft
