// The replicated facts: which leases there are, changed only by applied entries.
//
// Apply thread only (or a simulator). It knows how many keys hang on a lease, not which: those are
// rows of the state, so memory and start-up do not grow with the keys. Changes are collected until
// the batch that makes them is written. Pure: no thread, clock, file or socket.
#ifndef CAIRN_LEASE_LEASE_TABLE_H_
#define CAIRN_LEASE_LEASE_TABLE_H_

#include <absl/container/flat_hash_map.h>

#include <cstddef>
#include <vector>

#include "lease/types.h"

namespace cairn::lease {

class LeaseTable {
 public:
  // Null when there is no such lease. Valid until the next change.
  const LeaseFacts* Find(LeaseId id) const;
  // Whether the very lease that `name` names is there.
  bool Holds(const LeaseName& name) const;
  size_t size() const { return leases_.size(); }

  // At start: a lease as its row has it. False when the id is there already.
  [[nodiscard]] bool Restore(LeaseId id, const LeaseFacts& facts);

  // False, without effect, when the id is in use. `id` is not 0, `ttl_s` above 0.
  [[nodiscard]] bool Grant(LeaseId id, Index granted, int64_t ttl_s);
  // Has a lease that exists (checked) end as its keys are deleted, piece by piece.
  void BeginEnd(LeaseId id);
  // Ends a lease that exists and has no keys (checked): they are detached before.
  void Remove(LeaseId id);
  // One key more or less on a lease that exists (checked).
  void Attach(LeaseId id);
  void Detach(LeaseId id);
  // Notes what remained of the named lease. False, without effect, when it is not there or ending.
  bool Checkpoint(const LeaseName& name, Milliseconds remaining_ms);
  // Forgets the checkpoint of the named lease. False, without effect, when it is not there.
  bool Clear(const LeaseName& name);

  // Every lease that changed since the last call as it is now, in order of id.
  std::vector<LeaseUpdate> TakeUpdates();
  // Every lease, in order of id.
  std::vector<LeaseUpdate> All() const;

 private:
  LeaseFacts& Existing(LeaseId id);

  absl::flat_hash_map<LeaseId, LeaseFacts> leases_;
  std::vector<LeaseId> changed_;  // May repeat ids.
};

}  // namespace cairn::lease

#endif  // CAIRN_LEASE_LEASE_TABLE_H_
