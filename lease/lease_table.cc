#include "lease/lease_table.h"

#include <algorithm>

#include "base/check.h"

namespace cairn::lease {

const LeaseFacts* LeaseTable::Find(LeaseId id) const {
  const auto found = leases_.find(id);
  return found == leases_.end() ? nullptr : &found->second;
}

bool LeaseTable::Holds(const LeaseName& name) const {
  const LeaseFacts* facts = Find(name.id);
  return facts != nullptr && facts->granted == name.granted;
}

bool LeaseTable::Restore(LeaseId id, const LeaseFacts& facts) {
  return leases_.emplace(id, facts).second;
}

bool LeaseTable::Grant(LeaseId id, Index granted, int64_t ttl_s) {
  CAIRN_CHECK(id != LeaseId(0) && ttl_s > 0);
  LeaseFacts facts;
  facts.granted = granted;
  facts.ttl_s = ttl_s;
  if (!leases_.emplace(id, facts).second) return false;
  changed_.push_back(id);
  return true;
}

LeaseFacts& LeaseTable::Existing(LeaseId id) {
  const auto found = leases_.find(id);
  CAIRN_CHECK(found != leases_.end(), "a lease that is not there");
  return found->second;
}

void LeaseTable::BeginEnd(LeaseId id) {
  LeaseFacts& facts = Existing(id);
  facts.ttl_s = 0;
  facts.checkpoint_ms.reset();
  changed_.push_back(id);
}

void LeaseTable::Remove(LeaseId id) {
  CAIRN_CHECK_EQ(Existing(id).key_count, 0);
  leases_.erase(id);
  changed_.push_back(id);
}

void LeaseTable::Attach(LeaseId id) {
  ++Existing(id).key_count;
  changed_.push_back(id);
}

void LeaseTable::Detach(LeaseId id) {
  LeaseFacts& facts = Existing(id);
  CAIRN_CHECK_GT(facts.key_count, 0);
  --facts.key_count;
  changed_.push_back(id);
}

bool LeaseTable::Checkpoint(const LeaseName& name, Milliseconds remaining_ms) {
  if (!Holds(name) || Find(name.id)->is_ending()) return false;
  Existing(name.id).checkpoint_ms = std::max<Milliseconds>(0, remaining_ms);
  changed_.push_back(name.id);
  return true;
}

bool LeaseTable::Clear(const LeaseName& name) {
  if (!Holds(name)) return false;
  Existing(name.id).checkpoint_ms.reset();
  changed_.push_back(name.id);
  return true;
}

std::vector<LeaseUpdate> LeaseTable::TakeUpdates() {
  std::sort(changed_.begin(), changed_.end());
  changed_.erase(std::unique(changed_.begin(), changed_.end()), changed_.end());
  std::vector<LeaseUpdate> updates;
  updates.reserve(changed_.size());
  for (const LeaseId id : changed_) {
    LeaseUpdate update{.id = id, .facts = {}};
    if (const LeaseFacts* facts = Find(id)) update.facts = *facts;
    updates.push_back(std::move(update));
  }
  changed_.clear();
  return updates;
}

std::vector<LeaseUpdate> LeaseTable::All() const {
  std::vector<LeaseUpdate> all;
  all.reserve(leases_.size());
  for (const auto& [id, facts] : leases_) all.push_back({id, facts});
  std::sort(all.begin(), all.end(),
            [](const LeaseUpdate& a, const LeaseUpdate& b) { return a.id < b.id; });
  return all;
}

}  // namespace cairn::lease
