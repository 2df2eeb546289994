// What the runner does about members: changes proposed and waited for, looks at consensus.
#include <algorithm>
#include <utility>

#include "api/errors.h"
#include "base/status.h"
#include "server/membership_change.h"
#include "server/node_runner.h"

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
  base::MutexLock lock(mutex_);
  inputs_.proposals.push_back({id, {raft::EntryKind::kConfiguration, std::move(data)}});
  WakeNode();
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

std::optional<int64_t> NodeRunner::ConnectedMs(MemberId id) const {
  return options_.peers == nullptr ? std::nullopt : options_.peers->ConnectedMs(id);
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
