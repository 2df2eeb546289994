#include "server/proposal_tracker.h"

#include "base/check.h"

namespace cairn::server {

bool ProposalTracker::Add(Id id, size_t payload_bytes, Time deadline, Node::ProposeDone& done) {
  base::MutexLock lock(mutex_);
  if (stopped_ || waited_bytes_ + payload_bytes > waited_bytes_max_) return false;
  const bool is_new = waiters_.try_emplace(id, Waiter{std::move(done), payload_bytes}).second;
  CAIRN_CHECK(is_new);
  waited_bytes_ += payload_bytes;
  deadlines_.emplace_back(deadline, id);
  return true;
}

void ProposalTracker::Take(Id id, std::vector<Node::ProposeDone>& taken) {
  const auto found = waiters_.find(id);
  if (found == waiters_.end()) return;
  waited_bytes_ -= found->second.payload_bytes;
  taken.push_back(std::move(found->second.done));
  waiters_.erase(found);
}

void ProposalTracker::Complete(std::vector<std::pair<Id, Node::Outcome>> outcomes) {
  // One entry per outcome, null for a waiter that is gone.
  std::vector<Node::ProposeDone> taken;
  taken.reserve(outcomes.size());
  {
    base::MutexLock lock(mutex_);
    for (const auto& [id, outcome] : outcomes) {
      const size_t before = taken.size();
      Take(id, taken);
      if (taken.size() == before) taken.emplace_back(nullptr);
    }
  }
  for (size_t i = 0; i < outcomes.size(); ++i) {
    if (taken[i] != nullptr) std::move(taken[i])(std::move(outcomes[i].second));
  }
}

void ProposalTracker::Fail(Id id, const absl::Status& error) {
  std::vector<Node::ProposeDone> taken;
  {
    base::MutexLock lock(mutex_);
    Take(id, taken);
  }
  for (Node::ProposeDone& done : taken) std::move(done)({.status = error});
}

void ProposalTracker::Expire(Time now, absl::FunctionRef<absl::Status(Time deadline)> error_of) {
  std::vector<Node::ProposeDone> taken;
  std::vector<Time> deadlines;  // Of `taken`.
  {
    base::MutexLock lock(mutex_);
    while (!deadlines_.empty()) {
      const auto& [deadline, id] = deadlines_.front();
      if (waiters_.contains(id)) {
        if (deadline > now) break;
        Take(id, taken);
        deadlines.push_back(deadline);
      }
      deadlines_.pop_front();
    }
  }
  for (size_t i = 0; i < taken.size(); ++i) {
    std::move(taken[i])({.status = error_of(deadlines[i])});
  }
}

void ProposalTracker::Stop(const absl::Status& error) {
  std::vector<Node::ProposeDone> taken;
  {
    base::MutexLock lock(mutex_);
    stopped_ = true;
    for (auto& [id, waiter] : waiters_) taken.push_back(std::move(waiter.done));
    waiters_.clear();
    deadlines_.clear();
    waited_bytes_ = 0;
  }
  for (Node::ProposeDone& done : taken) std::move(done)({.status = error});
}

bool ProposalTracker::has_waiters() const {
  base::MutexLock lock(mutex_);
  return !waiters_.empty();
}

}  // namespace cairn::server
