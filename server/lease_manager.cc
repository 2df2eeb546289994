#include "server/lease_manager.h"

#include <algorithm>
#include <atomic>
#include <memory>

#include "api/errors.h"

namespace cairn::server {

namespace {

using lease::Milliseconds;
using lease::RenewResult;

Milliseconds SteadyNow() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// For whoever would renew it.
bool HasEnded(const std::optional<lease::LeaseFacts>& facts) {
  return !facts.has_value() || facts->is_ending();
}

LeaseManagerOptions WithClock(LeaseManagerOptions options) {
  if (!options.now_ms) options.now_ms = SteadyNow;
  return options;
}

}  // namespace

LeaseManager::LeaseManager(LeaseManagerOptions options)
    : options_(WithClock(std::move(options))), lessor_(options_.lessor) {}

void LeaseManager::Give(Answers answers) {
  for (auto& [done, answer] : answers) std::move(done)(std::move(answer));
}

void LeaseManager::Applied(Index applied, std::span<const lease::LeaseUpdate> updates) {
  Answers answers;
  // Gone, but perhaps there again in an entry to come that others have answered already.
  std::vector<LeaseId> gone;
  {
    base::MutexLock lock(mutex_);
    lessor_.Update(applied, updates, Now());
    LookAtEndsLocked(answers);
    if (!waiting_.empty()) {
      for (const lease::LeaseUpdate& update : updates) {
        RetryLocked(update.id, answers);
        if (HasEnded(update.facts) && waiting_.contains(update.id)) gone.push_back(update.id);
      }
    }
  }
  Give(std::move(answers));
  if (!gone.empty()) LookBehindBarrier(gone);
}

void LeaseManager::Promote() {
  base::MutexLock lock(mutex_);
  lessor_.Promote(Now());
}

void LeaseManager::Demote() {
  base::MutexLock lock(mutex_);
  lessor_.Demote();
}

void LeaseManager::Follow(MemberId leader) {
  std::vector<LeaseId> unanswered;
  {
    base::MutexLock lock(mutex_);
    if (leader == leader_) return;
    leader_ = leader;
    ++generation_;
    asked_.clear();
    for (const auto& [id, waiters] : waiting_) unanswered.push_back(id);
  }
  for (const LeaseId id : unanswered) AskLeader(id);
}

void LeaseManager::Confirm(Milliseconds until_ms) {
  base::MutexLock lock(mutex_);
  lessor_.Confirm(until_ms);
}

void LeaseManager::AnswerWaiting() {
  Answers answers;
  {
    base::MutexLock lock(mutex_);
    RetryAllLocked(answers);
  }
  Give(std::move(answers));
}

void LeaseManager::Tick() {
  Answers answers;
  std::vector<LeaseId> unanswered;
  bool is_looking = false;
  {
    base::MutexLock lock(mutex_);
    LookAtEndsLocked(answers);
    is_looking = is_looking_;
    const Milliseconds now_ms = Now();
    for (auto it = waiting_.begin(); it != waiting_.end();) {
      std::vector<Waiter> stay;
      for (Waiter& waiter : it->second) {
        if (waiter.expires_ms > now_ms) {
          stay.push_back(std::move(waiter));
        } else {
          answers.emplace_back(std::move(waiter.done), LatenessLocked());
          --waiters_;
        }
      }
      it->second = std::move(stay);
      const auto here = it++;
      if (here->second.empty()) {
        waiting_.erase(here);
      } else {
        unanswered.push_back(here->first);
      }
    }
  }
  Give(std::move(answers));
  for (const LeaseId id : unanswered) AskLeader(id);
  if (!is_looking && !unanswered.empty()) LookBehindBarrier(unanswered);
}

void LeaseManager::AskLeader(LeaseId id) {
  if (!options_.renew_on_leader) return;
  uint64_t last = 0;
  uint64_t generation = 0;
  {
    base::MutexLock lock(mutex_);
    const auto found = waiting_.find(id);
    if (found == waiting_.end() || lessor_.is_primary() || !asked_.insert(id).second) return;
    last = found->second.back().number;
    generation = generation_;
  }
  const bool is_asked = options_.renew_on_leader(
      id, [this, id, last, generation](const absl::StatusOr<int64_t>& ttl_s) {
        LeaderAnswered(id, last, generation, ttl_s);
      });
  if (is_asked) return;
  base::MutexLock lock(mutex_);
  if (generation == generation_) asked_.erase(id);
}

void LeaseManager::LeaderAnswered(LeaseId id, uint64_t last, uint64_t generation,
                                  const absl::StatusOr<int64_t>& ttl_s) {
  Answers answers;
  bool has_more = false;
  {
    base::MutexLock lock(mutex_);
    if (generation != generation_) return;
    asked_.erase(id);
    // Otherwise the next tick asks again.
    if (!ttl_s.ok()) return;
    // Who came after the leader was asked was not asked for.
    has_more = AnswerLocked(id, last, *ttl_s, answers);
  }
  Give(std::move(answers));
  if (has_more) AskLeader(id);
}

bool LeaseManager::AnswerLocked(LeaseId id, uint64_t last, int64_t ttl_s, Answers& answers) {
  const auto found = waiting_.find(id);
  if (found == waiting_.end()) return false;
  std::vector<Waiter>& waiters = found->second;
  size_t count = 0;
  while (count < waiters.size() && waiters[count].number <= last) ++count;
  for (size_t i = 0; i < count; ++i) answers.emplace_back(std::move(waiters[i].done), ttl_s);
  waiters_ -= count;
  waiters.erase(waiters.begin(), waiters.begin() + static_cast<ptrdiff_t>(count));
  if (!waiters.empty()) return true;
  waiting_.erase(found);
  return false;
}

void LeaseManager::LookBehindBarrier(std::span<const LeaseId> ids) {
  if (!options_.read_barrier) return;
  {
    base::MutexLock lock(mutex_);
    // Elsewhere the leader is asked, who has a barrier of its own.
    if (!lessor_.is_primary()) return;
    for (const LeaseId id : ids) {
      if (to_look_for_.size() < kWaitersMax) to_look_for_.insert(id);
    }
    if (is_looking_ || to_look_for_.empty()) return;
    is_looking_ = true;
  }
  RunLooks();
}

// Whoever set is_looking_ runs it. A barrier may be passed before the request for it returns, again
// and again, so this is a loop: whichever of the two is later goes on.
void LeaseManager::RunLooks() {
  enum class Step { kAsked, kLeft, kPassed, kFailed };
  while (true) {
    std::vector<Wanted> wanted = TakeWanted();
    if (wanted.empty()) return;
    auto step = std::make_shared<std::atomic<Step>>(Step::kAsked);
    options_.read_barrier([this, step, wanted = std::move(wanted)](const absl::Status& status) {
      const bool passed = BarrierPassed(wanted, status);
      const Step before = step->exchange(passed ? Step::kPassed : Step::kFailed);
      if (passed && before == Step::kLeft) RunLooks();
    });
    if (step->exchange(Step::kLeft) != Step::kPassed) return;
  }
}

// Nothing is wanted any more: is_looking_ has ended.
std::vector<LeaseManager::Wanted> LeaseManager::TakeWanted() {
  std::vector<Wanted> wanted;
  while (wanted.empty()) {
    std::set<LeaseId> ids;
    {
      base::MutexLock lock(mutex_);
      ids.swap(to_look_for_);
      is_looking_ = !ids.empty();
    }
    if (ids.empty()) break;
    for (auto next = ids.begin(); next != ids.end();) {
      base::MutexLock lock(mutex_);
      const Milliseconds now_ms = Now();
      for (size_t i = 0; i < kLookStep && next != ids.end(); ++i, ++next) {
        const auto found = waiting_.find(*next);
        if (found == waiting_.end() || !lessor_.is_primary()) continue;
        const std::optional<lease::LeaseView> view = lessor_.Find(*next, now_ms);
        if (view.has_value() && !view->facts.is_ending()) continue;
        wanted.push_back({*next, found->second.back().number});
      }
    }
  }
  return wanted;
}

bool LeaseManager::BarrierPassed(std::span<const Wanted> wanted, const absl::Status& status) {
  Answers answers;
  for (size_t done = 0; status.ok() && done < wanted.size(); done += kLookStep) {
    base::MutexLock lock(mutex_);
    for (const Wanted& look : wanted.subspan(done, std::min(kLookStep, wanted.size() - done))) {
      const std::optional<int64_t> ttl_s = RenewLocked(look.id, /*may_deny=*/true);
      if (!ttl_s.has_value()) continue;
      // Who came after the barrier was asked for may ask for a lease that came after it, too. One
      // that is there is renewed for all.
      const uint64_t last = *ttl_s > 0 ? next_waiter_ : look.last;
      if (AnswerLocked(look.id, last, *ttl_s, answers)) to_look_for_.insert(look.id);
    }
  }
  if (!status.ok()) {
    // The next tick looks again.
    base::MutexLock lock(mutex_);
    is_looking_ = false;
  }
  Give(std::move(answers));
  return status.ok();
}

bool LeaseManager::HasWork() const {
  base::MutexLock lock(mutex_);
  return lessor_.HasWork(Now());
}

std::vector<lease::LeaseName> LeaseManager::TakeDue(int64_t keys_max) {
  base::MutexLock lock(mutex_);
  return lessor_.TakeDue(Now(), keys_max);
}

// A renewal that met a lease between its taking and its refusal waits; it is asked for again.
void LeaseManager::RefusedDue(std::span<const lease::LeaseName> leases) {
  Answers answers;
  {
    base::MutexLock lock(mutex_);
    lessor_.RefusedDue(leases, Now());
    for (const lease::LeaseName& name : leases) RetryLocked(name.id, answers);
  }
  Give(std::move(answers));
}

std::vector<lease::CheckpointItem> LeaseManager::TakeCheckpoints(size_t leases_max) {
  base::MutexLock lock(mutex_);
  return lessor_.TakeCheckpoints(Now(), leases_max);
}

void LeaseManager::ProposedCheckpoints(std::span<const lease::CheckpointItem> items, Index index) {
  base::MutexLock lock(mutex_);
  lessor_.ProposedCheckpoints(items, index);
}

void LeaseManager::RefusedCheckpoints(std::span<const lease::CheckpointItem> items) {
  base::MutexLock lock(mutex_);
  lessor_.RefusedCheckpoints(items);
}

std::vector<lease::LeaseName> LeaseManager::TakeClears(size_t leases_max) {
  base::MutexLock lock(mutex_);
  return lessor_.TakeClears(Now(), leases_max);
}

void LeaseManager::RefusedClears(std::span<const lease::LeaseName> leases) {
  base::MutexLock lock(mutex_);
  lessor_.RefusedClears(leases);
}

std::optional<int64_t> LeaseManager::RenewLocked(LeaseId id, bool may_deny) {
  const lease::Renewal renewal = lessor_.Renew(id, Now());
  const bool is_told = renewal.result == RenewResult::kRenewed ||
                       (renewal.result == RenewResult::kNoSuchLease && may_deny);
  return is_told ? std::optional(renewal.ttl_s) : std::nullopt;
}

std::optional<int64_t> LeaseManager::Renew(LeaseId id) {
  base::MutexLock lock(mutex_);
  if (stopped_) return std::nullopt;
  return RenewLocked(id, MayDeny());
}

void LeaseManager::RenewLater(LeaseId id, RenewDone done) {
  std::optional<absl::StatusOr<int64_t>> answer;
  {
    base::MutexLock lock(mutex_);
    if (stopped_) {
      answer = api::ToStatus(api::Error::kServerStopped);
    } else if (const std::optional<int64_t> ttl_s = RenewLocked(id, MayDeny())) {
      answer = *ttl_s;
    } else if (waiters_ == kWaitersMax) {
      answer = api::ToStatus(api::Error::kTooManyRequests);
    } else {
      ++waiters_;
      waiting_[id].push_back(
          {next_waiter_++, std::exchange(done, nullptr), Now() + options_.wait.count()});
    }
  }
  if (answer.has_value()) return std::move(done)(*std::move(answer));
  AskLeader(id);
  LookBehindBarrier({&id, 1});
}

void LeaseManager::RetryLocked(LeaseId id, Answers& answers) {
  const auto found = waiting_.find(id);
  if (found == waiting_.end()) return;
  const std::optional<int64_t> ttl_s = RenewLocked(id, MayDeny());
  if (ttl_s.has_value()) AnswerLocked(id, next_waiter_, *ttl_s, answers);
}

void LeaseManager::RetryAllLocked(Answers& answers) {
  if (waiting_.empty()) return;
  std::vector<LeaseId> ids;
  ids.reserve(waiting_.size());
  for (const auto& [id, waiters] : waiting_) ids.push_back(id);
  for (const LeaseId id : ids) RetryLocked(id, answers);
}

void LeaseManager::AwaitEnd(const lease::LeaseName& name, RenewDone done) {
  std::optional<absl::StatusOr<int64_t>> answer;
  {
    base::MutexLock lock(mutex_);
    const std::optional<int64_t> keys_left = KeysLeftLocked(name);
    if (stopped_) {
      answer = api::ToStatus(api::Error::kServerStopped);
    } else if (!keys_left.has_value()) {
      answer = 0;
    } else if (awaiting_end_.size() == kEndsAwaitedMax) {
      answer = api::ToStatus(api::Error::kTimeout);
    } else {
      awaiting_end_.push_back({name, std::move(done), *keys_left, Now() + options_.wait.count()});
      return;
    }
  }
  std::move(done)(*std::move(answer));
}

std::optional<int64_t> LeaseManager::KeysLeftLocked(const lease::LeaseName& name) const {
  const std::optional<lease::LeaseView> view = lessor_.Find(name.id, Now());
  if (!view.has_value() || view->facts.granted != name.granted) return std::nullopt;
  return view->facts.key_count;
}

void LeaseManager::LookAtEndsLocked(Answers& answers) {
  if (awaiting_end_.empty()) return;
  const Milliseconds now_ms = Now();
  std::vector<EndWaiter> waiters = std::exchange(awaiting_end_, {});
  for (EndWaiter& waiter : waiters) {
    const std::optional<int64_t> keys_left = KeysLeftLocked(waiter.name);
    if (!keys_left.has_value()) {
      answers.emplace_back(std::move(waiter.done), 0);
      continue;
    }
    if (*keys_left != waiter.keys_left) {
      waiter.keys_left = *keys_left;
      waiter.expires_ms = now_ms + options_.wait.count();
    } else if (waiter.expires_ms <= now_ms) {
      answers.emplace_back(std::move(waiter.done), api::ToStatus(api::Error::kTimeout));
      continue;
    }
    awaiting_end_.push_back(std::move(waiter));
  }
}

absl::Status LeaseManager::LatenessLocked() const {
  const bool has_leader = lessor_.is_primary() || leader_ != MemberId(0);
  return api::ToStatus(has_leader ? api::Error::kTimeout : api::Error::kNoLeader);
}

std::optional<lease::LeaseView> LeaseManager::Find(LeaseId id) const {
  base::MutexLock lock(mutex_);
  return lessor_.Find(id, Now());
}

std::vector<lease::LeaseView> LeaseManager::FindAll(std::span<const LeaseId> ids,
                                                    Milliseconds now_ms) const {
  std::vector<lease::LeaseView> views;
  views.reserve(ids.size());
  while (!ids.empty()) {
    const std::span<const LeaseId> step = ids.first(std::min(ids.size(), kLookStep));
    ids = ids.subspan(step.size());
    base::MutexLock lock(mutex_);
    for (const LeaseId id : step) {
      if (std::optional<lease::LeaseView> view = lessor_.Find(id, now_ms)) views.push_back(*view);
    }
  }
  return views;
}

size_t LeaseManager::waiting() const {
  base::MutexLock lock(mutex_);
  return waiters_;
}

size_t LeaseManager::count() const {
  base::MutexLock lock(mutex_);
  return lessor_.size();
}

bool LeaseManager::is_primary() const {
  base::MutexLock lock(mutex_);
  return lessor_.is_primary();
}

bool LeaseManager::is_confirmed() const {
  base::MutexLock lock(mutex_);
  return lessor_.IsConfirmed(Now());
}

void LeaseManager::Stop() {
  Answers answers;
  {
    base::MutexLock lock(mutex_);
    stopped_ = true;
    for (auto& [id, waiters] : waiting_) {
      for (Waiter& waiter : waiters) {
        answers.emplace_back(std::move(waiter.done), api::ToStatus(api::Error::kServerStopped));
      }
    }
    for (EndWaiter& waiter : awaiting_end_) {
      answers.emplace_back(std::move(waiter.done), api::ToStatus(api::Error::kServerStopped));
    }
    awaiting_end_.clear();
    waiting_.clear();
    waiters_ = 0;
  }
  Give(std::move(answers));
}

}  // namespace cairn::server
