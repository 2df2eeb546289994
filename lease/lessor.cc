#include "lease/lessor.h"

#include <algorithm>
#include <utility>

namespace cairn::lease {
namespace {

// Items of ended leases that are not worth tidying up.
constexpr size_t kStaleItemsMin = 1024;

}  // namespace

Lessor::Lease* Lessor::FindNamed(const LeaseName& name) {
  const auto found = leases_.find(name.id);
  if (found == leases_.end() || found->second.facts.granted != name.granted) return nullptr;
  return &found->second;
}

void Lessor::Start(LeaseId id, Lease& lease, Milliseconds now_ms, Milliseconds length_ms) {
  lease.deadline_ms = now_ms + length_ms;
  lease.quiet_since_ms = now_ms;
  due_.Add({id, lease.facts.granted}, lease.deadline_ms);
  QueueCheckpoint(id, lease);
}

// A lease that cannot outlive an interval without a renewal needs no checkpoint.
void Lessor::QueueCheckpoint(LeaseId id, const Lease& lease) {
  const Milliseconds interval_ms = options_.checkpoint_interval_ms;
  if (interval_ms <= 0 || lease.facts.ttl_s * kMillisecondsPerSecond <= interval_ms) return;
  checkpoints_.Add({id, lease.facts.granted}, lease.quiet_since_ms + interval_ms);
}

void Lessor::Update(Index applied, std::span<const LeaseUpdate> updates, Milliseconds now_ms) {
  applied_ = applied;
  for (const LeaseUpdate& update : updates) {
    if (!update.facts.has_value()) {
      leases_.erase(update.id);
      continue;
    }
    const auto [found, is_new] = leases_.try_emplace(update.id);
    Lease& lease = found->second;
    const bool is_same = !is_new && lease.facts.granted == update.facts->granted;
    if (!is_same) lease = Lease();
    lease.facts = *update.facts;
    if (!is_primary_) continue;
    if (!is_same) {
      Start(update.id, lease, now_ms, lease.facts.ttl_s * kMillisecondsPerSecond);
    } else if (lease.facts.is_ending()) {
      // The next entry takes the next of its keys.
      lease.is_revoking = false;
      lease.deadline_ms = now_ms;
      due_.Add({update.id, lease.facts.granted}, now_ms);
    } else if (!CountsAsCheckpointed(lease)) {
      lease.is_clear_wanted = false;
    }
  }
  TidyQueues();
}

std::vector<LeaseId> Lessor::SortedIds() const {
  std::vector<LeaseId> ids;
  ids.reserve(leases_.size());
  for (const auto& [id, lease] : leases_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  return ids;
}

void Lessor::TidyQueues() {
  if (queued_items() <= 4 * leases_.size() + kStaleItemsMin) return;
  due_.Clear();
  checkpoints_.Clear();
  for (const LeaseId id : SortedIds()) {
    const Lease& lease = leases_.find(id)->second;
    if (!lease.is_revoking) due_.Add({id, lease.facts.granted}, lease.deadline_ms);
    QueueCheckpoint(id, lease);
  }
}

void Lessor::Promote(Milliseconds now_ms) {
  Demote();
  is_primary_ = true;
  for (const LeaseId id : SortedIds()) {
    Lease& lease = leases_.find(id)->second;
    const Milliseconds whole_ms = lease.facts.ttl_s * kMillisecondsPerSecond;
    Start(id, lease, now_ms,
          lease.facts.checkpoint_ms.value_or(whole_ms) + options_.election_timeout_ms);
  }
}

void Lessor::Demote() {
  is_primary_ = false;
  confirmed_until_ms_ = 0;
  due_.Clear();
  checkpoints_.Clear();
  clears_.clear();
  for (auto& [id, lease] : leases_) {
    lease.checkpoint_entry = kNoEntry;
    lease.is_revoking = false;
    lease.is_clear_wanted = false;
  }
}

Renewal Lessor::Renew(LeaseId id, Milliseconds now_ms) {
  if (!IsConfirmed(now_ms)) return {RenewResult::kNotPrimary, 0};
  const auto found = leases_.find(id);
  if (found == leases_.end() || found->second.facts.is_ending()) {
    return {RenewResult::kNoSuchLease, 0};
  }
  Lease& lease = found->second;
  if (lease.is_revoking) return {RenewResult::kRevoking, 0};
  // Never earlier than before: a promotion may have given it more than its time to live.
  lease.deadline_ms =
      std::max(lease.deadline_ms, now_ms + lease.facts.ttl_s * kMillisecondsPerSecond);
  lease.quiet_since_ms = now_ms;
  if (!CountsAsCheckpointed(lease)) return {RenewResult::kRenewed, lease.facts.ttl_s};
  if (!std::exchange(lease.is_clear_wanted, true)) clears_.push_back({id, lease.facts.granted});
  return {RenewResult::kClearing, 0};
}

std::vector<LeaseName> Lessor::TakeDue(Milliseconds now_ms, int64_t keys_max) {
  std::vector<LeaseName> taken;
  if (!IsConfirmed(now_ms)) return taken;
  int64_t keys = 0;
  for (int items = 0; items < kItemsPerCallMax; ++items) {
    const std::optional<LeaseName> name = due_.PopDue(now_ms);
    if (!name.has_value()) break;
    Lease* const lease = FindNamed(*name);
    // It has ended, or began to before it was due and was taken by another item.
    if (lease == nullptr || lease->is_revoking) continue;
    if (lease->deadline_ms > now_ms) {
      due_.Add(*name, lease->deadline_ms);
      continue;
    }
    const int64_t weight = std::max<int64_t>(1, lease->facts.key_count);
    if (!taken.empty() && keys + weight > keys_max) {
      due_.PutBack(*name);
      break;
    }
    keys += weight;
    lease->is_revoking = true;
    taken.push_back(*name);
    if (keys >= keys_max) break;
  }
  return taken;
}

void Lessor::RefusedDue(std::span<const LeaseName> leases, Milliseconds now_ms) {
  for (const LeaseName& name : leases) {
    Lease* const lease = FindNamed(name);
    if (lease == nullptr || !std::exchange(lease->is_revoking, false)) continue;
    due_.Add(name, now_ms);
  }
}

std::vector<CheckpointItem> Lessor::TakeCheckpoints(Milliseconds now_ms, size_t leases_max) {
  std::vector<CheckpointItem> taken;
  if (!IsConfirmed(now_ms)) return taken;
  for (int items = 0; items < kItemsPerCallMax && taken.size() < leases_max; ++items) {
    const std::optional<LeaseName> name = checkpoints_.PopDue(now_ms);
    if (!name.has_value()) break;
    Lease* const lease = FindNamed(*name);
    if (lease == nullptr) continue;  // It has ended.
    if (lease->quiet_since_ms + options_.checkpoint_interval_ms <= now_ms) {
      lease->quiet_since_ms = now_ms;
      // A lease that is about to end is not worth an entry. One that has an entry under way waits
      // for it: of two, only the later one may decide.
      if (lease->deadline_ms > now_ms && !lease->is_clear_wanted &&
          lease->checkpoint_entry <= applied_) {
        lease->checkpoint_entry = kNotAppended;
        taken.push_back({*name, lease->deadline_ms - now_ms});
      }
    }
    QueueCheckpoint(name->id, *lease);
  }
  return taken;
}

void Lessor::ProposedCheckpoints(std::span<const CheckpointItem> items, Index index) {
  for (const CheckpointItem& item : items) {
    if (Lease* const lease = FindNamed(item.name)) lease->checkpoint_entry = index;
  }
}

// They are taken again after another interval, which lengthens a loss of the leader by as much.
void Lessor::RefusedCheckpoints(std::span<const CheckpointItem> items) {
  for (const CheckpointItem& item : items) {
    if (Lease* const lease = FindNamed(item.name)) lease->checkpoint_entry = kNoEntry;
  }
}

std::vector<LeaseName> Lessor::TakeClears(Milliseconds now_ms, size_t leases_max) {
  if (!IsConfirmed(now_ms)) return {};
  const auto end = clears_.begin() + static_cast<ptrdiff_t>(std::min(leases_max, clears_.size()));
  std::vector<LeaseName> taken(clears_.begin(), end);
  clears_.erase(clears_.begin(), end);
  return taken;
}

void Lessor::RefusedClears(std::span<const LeaseName> leases) {
  clears_.insert(clears_.begin(), leases.begin(), leases.end());
}

bool Lessor::HasWork(Milliseconds now_ms) const {
  if (!IsConfirmed(now_ms)) return false;
  const auto is_due = [&](const ExpiryQueue& queue) {
    const std::optional<Milliseconds> next_ms = queue.next_ms();
    return next_ms.has_value() && *next_ms <= now_ms;
  };
  return !clears_.empty() || is_due(due_) || is_due(checkpoints_);
}

LeaseView Lessor::ViewOf(LeaseId id, const Lease& lease, Milliseconds now_ms) const {
  LeaseView view{.id = id,
                 .facts = lease.facts,
                 .remaining_ms = {},
                 .is_revoking = {},
                 .is_checkpointed = CountsAsCheckpointed(lease)};
  if (!is_primary_) return view;
  view.remaining_ms = lease.deadline_ms - now_ms;
  view.is_revoking = lease.is_revoking;
  return view;
}

std::optional<LeaseView> Lessor::Find(LeaseId id, Milliseconds now_ms) const {
  const auto found = leases_.find(id);
  if (found == leases_.end()) return std::nullopt;
  return ViewOf(id, found->second, now_ms);
}

std::vector<LeaseView> Lessor::All(Milliseconds now_ms) const {
  std::vector<LeaseView> all;
  all.reserve(leases_.size());
  for (const auto& [id, lease] : leases_) all.push_back(ViewOf(id, lease, now_ms));
  return all;
}

}  // namespace cairn::lease
