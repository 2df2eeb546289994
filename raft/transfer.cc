// Leaving the leadership on purpose: transfer (thesis 3.10), and what a leader
// does whose disk has stopped answering.
#include <algorithm>
#include <utility>

#include "raft/core_impl.h"
#include "raft/quorum.h"

namespace cairn::raft {

bool Core::Impl::TransferLeadership(MemberId target) {
  auto* leader = std::get_if<Leader>(&role_);
  // A voter of the old half alone would have to leave again when the joint
  // phase ends.
  const auto& voters = configuration_.voters;
  const bool may_lead = std::binary_search(voters.begin(), voters.end(), target);
  if (leader == nullptr || target == options_.id || !may_lead) return false;
  if (leader->transfer_target == target) return true;
  leader->transfer_target = target;
  leader->transfer_tick = tick_;
  Trace(TraceKind::kTransferStarted, target);
  ContinueTransfer(*leader);
  has_appends_to_send_ = true;
  return true;
}

// The target campaigns only with everything, or it could not win (3.10).
// Proposals are refused meanwhile, so it gets there. Called again with each
// heartbeat: the message may be lost.
void Core::Impl::ContinueTransfer(Leader& leader) {
  if (leader.transfer_target == MemberId(0)) return;
  if (leader.peers.at(leader.transfer_target).match() != log_.last().index) return;
  Send(leader.transfer_target, TimeoutNow{});
}

void Core::Impl::ExpireTransfer(Leader& leader) {
  if (leader.transfer_target == MemberId(0)) return;
  if (tick_ - leader.transfer_tick < options_.election_timeout_ticks) return;
  Trace(TraceKind::kTransferAborted, leader.transfer_target);
  leader.transfer_target = MemberId(0);
}

void Core::Impl::On(const Message& message, const TimeoutNow&) {
  const auto* follower = std::get_if<Follower>(&role_);
  if (follower == nullptr || follower->leader != message.from) return;
  if (!IsVoter(configuration_, options_.id) || is_installing_ || IsLogStalled()) return;
  if (!MayCampaign()) return;
  Campaign(CampaignKind::kTransfer);
}

MemberId Core::Impl::BestSuccessor() const {
  const auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) return MemberId(0);
  MemberId best;
  Index best_match;
  for (const MemberId id : configuration_.voters) {
    const auto peer = leader->peers.find(id);
    if (id == options_.id || peer == leader->peers.end()) continue;
    const Progress& progress = peer->second;
    if (tick_ - progress.last_heard_tick >= options_.election_timeout_ticks) continue;
    if (best != MemberId(0) && progress.match() <= best_match) continue;
    best = id;
    best_match = progress.match();
  }
  return best;
}

bool Core::Impl::IsLogStalled() const {
  return last_log_write_ > last_log_durable_ &&
         tick_ - log_progress_tick_ >= options_.log_stall_ticks;
}

// Nothing that this leader appends can be committed with its help, and its
// heartbeats would only keep a healthy member from leading. It cannot wait for
// a transfer either: a peer that is behind catches up from the next leader.
// Without other voters there is nobody to leave to.
bool Core::Impl::LeaveIfLogStalled() {
  if (!IsLogStalled() || IsSoleVoter(configuration_, options_.id)) return false;
  const MemberId successor = BestSuccessor();
  Trace(TraceKind::kLogStalled, successor);
  if (successor != MemberId(0)) Send(successor, TimeoutNow{});
  BecomeFollower(term_, MemberId(0));
  return true;
}

}  // namespace cairn::raft
