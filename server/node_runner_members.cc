// What the runner does about members and the cluster: changes proposed and waited for, hand-overs,
// looks at consensus, calls of the others.
#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "api/errors.h"
#include "base/status.h"
#include "raft/quorum.h"
#include "server/membership_change.h"
#include "server/node_runner.h"
#include "server/peer/lease_calls.h"

namespace cairn::server {

using std::chrono::steady_clock;

void NodeRunner::ProposeChange(const MembershipChange& change, ProposeDone done) {
  const WaiterId id = next_sequence_.fetch_add(1, std::memory_order_relaxed);
  MembershipChange own = change;
  own.proposer = {member_id(), options_.start_nonce, id};
  auto data = std::make_shared<const std::string>(EncodeChange(own));
  if (data->size() > options_.request_bytes_max) {
    std::move(done)({.status = api::ToStatus(api::Error::kRequestTooLarge)});
    return;
  }
  if (!change_tracker_.Add(id, data->size(), steady_clock::now() + kChangeTimeout, done)) {
    std::move(done)({.status = WhyNotTracked()});
    return;
  }
  const auto adds = [](const ChangeStep& step) {
    return step.kind == ChangeKind::kAddVoter || step.kind == ChangeKind::kAddLearner;
  };
  if (std::any_of(own.steps.begin(), own.steps.end(), adds)) SyncAlwaysFromNow();
  base::MutexLock lock(mutex_);
  inputs_.proposals.push_back({id, {raft::EntryKind::kConfiguration, std::move(data)}});
  WakeNode();
}

void NodeRunner::TransferLeadership(MemberId target, BarrierDone done) {
  api::Error refusal = api::Error::kTooManyRequests;
  {
    base::MutexLock lock(mutex_);
    if (node_stops_) {
      refusal = api::Error::kServerStopped;
    } else if (inputs_.transfers.size() < kWaitingTransfersMax) {
      inputs_.transfers.emplace_back(target, std::move(done));
      WakeNode();
      return;
    }
  }
  std::move(done)(api::ToStatus(refusal));
}

void NodeRunner::StartTransfer(MemberId target, BarrierDone done) {
  const raft::Core& raft = core_.raft();
  if (!raft.is_leader()) return std::move(done)(api::ToStatus(api::Error::kNotLeader));
  if (target == MemberId(0)) target = raft.BestSuccessor();
  if (target == raft.id()) return std::move(done)(absl::OkStatus());
  if (target == MemberId(0) || !core_.TransferLeadership(target)) {
    return std::move(done)(api::ToStatus(api::Error::kBadLeaderTransferee));
  }
  if (transfers_.size() >= kWaitingTransfersMax) {
    return std::move(done)(api::ToStatus(api::Error::kTooManyRequests));
  }
  transfers_.push_back({target, steady_clock::now() + options_.proposal_timeout, std::move(done)});
}

void NodeRunner::FinishTransfers() {
  if (transfers_.empty()) return;
  const raft::Core& raft = core_.raft();
  // Under way, or won by nobody yet.
  const bool is_open = raft.is_transferring() || raft.leader() == MemberId(0);
  if (is_open && steady_clock::now() < transfers_.front().deadline) return;
  for (Transfer& transfer : std::exchange(transfers_, {})) {
    std::move(transfer.done)(raft.leader() == transfer.target
                                 ? absl::OkStatus()
                                 : api::ToStatus(api::Error::kTimeoutLeaderTransfer));
  }
}

void NodeRunner::LookAtRaft(LookDone done) {
  api::Error refusal = api::Error::kTooManyRequests;
  {
    base::MutexLock lock(mutex_);
    if (node_stops_) {
      refusal = api::Error::kServerStopped;
    } else if (inputs_.looks.size() < kWaitingLooksMax) {
      inputs_.looks.push_back(std::move(done));
      WakeNode();
      return;
    }
  }
  std::move(done)(api::ToStatus(refusal));
}

void NodeRunner::CallPeer(MemberId to, std::string_view method, std::string request,
                          CallDone done) {
  uint64_t number = 0;
  absl::Status refusal;
  {
    base::MutexLock lock(calls_mutex_);
    if (calls_stopped_) {
      refusal = api::ToStatus(api::Error::kServerStopped);
    } else if (options_.peers == nullptr) {
      refusal = base::MakeStatus(absl::StatusCode::kUnavailable, "there are no other members");
    } else {
      number = next_call_++;
      calls_.emplace(number, std::exchange(done, nullptr));
    }
  }
  if (!refusal.ok()) return std::move(done)(std::move(refusal));
  options_.peers->Call(
      to, method, std::move(request), options_.proposal_timeout,
      [door = calls_door_, number](absl::StatusOr<std::string> response) {
        door->Visit([&](NodeRunner& runner) { runner.FinishCall(number, std::move(response)); });
      });
}

void NodeRunner::FinishCall(uint64_t number, absl::StatusOr<std::string> response) {
  CallDone done;
  {
    base::MutexLock lock(calls_mutex_);
    const auto found = calls_.find(number);
    if (found == calls_.end()) return;
    done = std::move(found->second);
    calls_.erase(found);
  }
  std::move(done)(std::move(response));
}

void NodeRunner::StopCalls() {
  calls_door_->Close();
  absl::flat_hash_map<uint64_t, CallDone> calls;
  {
    base::MutexLock lock(calls_mutex_);
    calls_stopped_ = true;
    calls.swap(calls_);
  }
  for (auto& [number, done] : calls) {
    std::move(done)(api::ToStatus(api::Error::kServerStopped));
  }
}

void NodeRunner::FindLeaseOnLeader(LeaseId id, FindLeaseDone done) {
  const MemberId leader = status().leader;
  if (leader == MemberId(0)) return std::move(done)(api::ToStatus(api::Error::kNoLeader));
  if (leader == member_id()) return std::move(done)(api::ToStatus(api::Error::kLeaderChanged));
  auto shared = std::make_shared<FindLeaseDone>(std::move(done));
  FindLeaseOn(*this, leader, id, [shared](absl::StatusOr<std::optional<int64_t>> remaining_ms) {
    if (remaining_ms.ok()) return std::move(*shared)(*remaining_ms);
    std::move (*shared)(api::ToStatus(absl::IsDeadlineExceeded(remaining_ms.status())
                                          ? api::Error::kTimeout
                                          : api::Error::kLeaderChanged));
  });
}

std::shared_ptr<const ClusterState> NodeRunner::cluster_state() const {
  base::MutexLock lock(status_mutex_);
  return cluster_;
}

std::optional<int64_t> NodeRunner::ConnectedMs(MemberId id) const {
  return options_.peers == nullptr ? std::nullopt : options_.peers->ConnectedMs(id);
}

bool NodeRunner::WasConnected(steady_clock::duration since) const {
  const raft::Core& raft = core_.raft();
  const auto was_connected = [&](MemberId id) {
    if (id == raft.id()) return true;
    const std::optional<int64_t> connected_ms = ConnectedMs(id);
    return connected_ms.has_value() && std::chrono::milliseconds(*connected_ms) >= since;
  };
  if (!raft.is_leader()) return was_connected(raft.leader());
  return raft::QuorumValue(raft.configuration(),
                           [&](MemberId id) { return uint64_t{was_connected(id)}; }) > 0;
}

bool NodeRunner::IsRemoved(MemberId id) const {
  base::MutexLock lock(status_mutex_);
  return removed_->contains(id);
}

void NodeRunner::ToldOfRemoval() {
  base::MutexLock lock(status_mutex_);
  removal_at_ = std::min(removal_at_, steady_clock::now());
}

void NodeRunner::TellOfRemoval() {
  {
    base::MutexLock lock(status_mutex_);
    if (removal_told_ || steady_clock::now() < removal_at_) return;
  }
  removal_told_ = true;
  if (options_.on_removed) options_.on_removed();
}

}  // namespace cairn::server
