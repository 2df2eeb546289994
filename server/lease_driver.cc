#include "server/lease_driver.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

namespace cairn::server {

namespace {

using cairn::internal::LeaseBatch;

void AddName(const lease::LeaseName& name, LeaseBatch::Lease& to) {
  to.set_id(name.id.value());
  to.set_granted_index(name.granted.value());
}

LeaseBatch BatchOf(const std::vector<lease::LeaseName>& names) {
  LeaseBatch batch;
  batch.mutable_leases()->Reserve(static_cast<int>(names.size()));
  for (const lease::LeaseName& name : names) AddName(name, *batch.add_leases());
  return batch;
}

}  // namespace

LeaseDriver::LeaseDriver(LeaseManager& leases, NodeCore& core, MemberId self, uint64_t start_nonce,
                         uint32_t election_timeout_ticks)
    : leases_(leases),
      core_(core),
      self_(self),
      start_nonce_(start_nonce),
      election_timeout_ticks_(election_timeout_ticks),
      first_tick_(core.raft().tick()) {
  NoteTick();
}

void LeaseDriver::NoteTick() {
  while (first_tick_ + tick_times_ms_.size() <= core_.raft().tick()) {
    tick_times_ms_.push_back(leases_.Now());
  }
  while (tick_times_ms_.size() > election_timeout_ticks_) {
    tick_times_ms_.pop_front();
    ++first_tick_;
  }
}

lease::Milliseconds LeaseDriver::ConfirmedUntil() const {
  if (is_alone_) return lease::Lessor::kForEver;
  const raft::Core& raft = core_.raft();
  if (!raft.IsLeadershipConfirmed() || raft.confirmed_tick() < first_tick_) return 0;
  return tick_times_ms_[raft.confirmed_tick() - first_tick_] + leases_.election_timeout_ms();
}

void LeaseDriver::FollowLead() {
  const raft::Core& raft = core_.raft();
  if (primary_term_ != Term(0) && (!raft.is_leader() || raft.term() != primary_term_)) {
    leases_.Demote();
    primary_term_ = Term(0);
  }
  if (primary_term_ == Term(0) && core_.IsLeaderReady()) {
    leases_.Promote();
    primary_term_ = raft.term();
    under_way_ = Index(0);
  }
}

void LeaseDriver::Run(bool is_tick) {
  NoteTick();
  const Term before = primary_term_;
  FollowLead();
  // A member that is not alone any more may be replaced from now on, not from the next tick on.
  const bool was_alone = std::exchange(is_alone_, core_.IsSoleVoterReady());
  // And from the beginning of a transfer on another may lead.
  const bool was_handing_over = std::exchange(is_handing_over_, core_.raft().is_transferring());
  const bool has_changed =
      before != primary_term_ || was_alone != is_alone_ || was_handing_over != is_handing_over_;
  if (is_tick) leases_.Tick();
  if (primary_term_ == Term(0)) {
    has_more_ = false;
    return;
  }
  const bool is_free = !waits_for_applied();
  const bool is_done = is_free && std::exchange(under_way_, Index(0)) != Index(0);
  if (is_done) {
    keys_per_entry_ = std::clamp(kKeysPerMillisecond * (leases_.Now() - proposed_ms_),
                                 kKeysPerEntryMin, kKeysPerEntryMax);
  }
  if (!is_tick && !has_changed && !has_more_ && !is_done) return;
  has_more_ = false;
  leases_.Confirm(ConfirmedUntil());
  if (is_free && leases_.HasWork()) ProposeWork();
  leases_.AnswerWaiting();
}

void LeaseDriver::ProposeWork() {
  is_refused_ = false;
  ProposeClears();
  ProposeDue();
  ProposeCheckpoints();
  // What the core refuses now it refuses for a while: the next tick tries again.
  has_more_ = !is_refused_ && !waits_for_applied() && leases_.HasWork();
}

std::optional<Index> LeaseDriver::Propose(CommandKind kind, LeaseBatch batch) {
  batch.set_term(core_.raft().term().value());
  // Sequence 0: nobody waits.
  std::string payload = EncodeCommand({.kind = kind, .proposer = self_, .nonce = start_nonce_},
                                      batch.SerializeAsString());
  const raft::ProposeResult result =
      core_.ProposeAsLeader(std::make_shared<const std::string>(std::move(payload)));
  if (result.outcome != raft::ProposeOutcome::kAccepted) {
    is_refused_ = true;
    return std::nullopt;
  }
  under_way_ = std::max(under_way_, result.first_index);
  proposed_ms_ = leases_.Now();
  return result.first_index;
}

void LeaseDriver::ProposeClears() {
  const std::vector<lease::LeaseName> names = leases_.TakeClears(kLeasesPerEntryMax);
  if (names.empty()) return;
  if (!Propose(CommandKind::kLeaseClear, BatchOf(names))) leases_.RefusedClears(names);
}

void LeaseDriver::ProposeDue() {
  const std::vector<lease::LeaseName> names = leases_.TakeDue(keys_per_entry_);
  if (names.empty()) return;
  if (!Propose(CommandKind::kLeaseExpire, BatchOf(names))) leases_.RefusedDue(names);
}

void LeaseDriver::ProposeCheckpoints() {
  const std::vector<lease::CheckpointItem> items = leases_.TakeCheckpoints(kLeasesPerEntryMax);
  if (items.empty()) return;
  LeaseBatch batch;
  for (const lease::CheckpointItem& item : items) {
    LeaseBatch::Lease& lease = *batch.add_leases();
    AddName(item.name, lease);
    lease.set_remaining_ms(item.remaining_ms);
  }
  if (const std::optional<Index> index = Propose(CommandKind::kLeaseCheckpoint, std::move(batch))) {
    leases_.ProposedCheckpoints(items, *index);
  } else {
    leases_.RefusedCheckpoints(items);
  }
}

}  // namespace cairn::server
