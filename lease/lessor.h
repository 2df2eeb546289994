// Who may hold what until when: the timing of leases, as the leader keeps it.
//
// Knows the facts of every lease (told after each applied batch, never before) and, while this
// member leads, when each is due. It renews leases, says which are to be revoked, checkpointed or
// cleared by an entry, and which keepalives must wait for one. It changes no fact: only entries do.
//
// The rules (design.md section 3). A lease never ends early: only a confirmed leader that has
// applied the first entry of its term renews or expires, and it starts every lease anew from its
// checkpoint, else from its whole time to live, plus an election timeout. From the proposal that
// ends it to its application (or to the loss of the lead) a lease is *revoking* and is not renewed.
// Only a lease that was not renewed for a whole checkpoint interval is checkpointed; from that
// proposal until a clearing entry is applied it *counts as checkpointed*, and its renewals wait for
// that entry, since the next leader would otherwise cut them short. All other renewals cost no
// entry. So losing a leader lengthens a lease by at most min(time to live, interval) plus an
// election timeout (plus the time without a leader).
//
// One thread at a time; the caller brings the time. Cost: a renewal is one look-up, however many
// leases there are; what is taken is proportional to what is due, never to all leases. Memory per
// lease is constant, also under churn. Pure: no thread, clock, file or socket.
#ifndef CAIRN_LEASE_LESSOR_H_
#define CAIRN_LEASE_LESSOR_H_

#include <absl/container/flat_hash_map.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "lease/expiry_queue.h"
#include "lease/types.h"

namespace cairn::lease {

struct LessorOptions {
  Milliseconds election_timeout_ms = 1000;
  // 0: leases are never checkpointed.
  Milliseconds checkpoint_interval_ms = 300'000;
};

enum class RenewResult : uint8_t {
  kRenewed,
  kNoSuchLease,
  kNotPrimary,  // Not leading, or not confirmed at this moment: ask again when that changes.
  kRevoking,    // Wait until the lease has changed.
  kClearing,    // Renewed, but the answer must wait until the lease has changed; then ask again.
};

struct Renewal {
  RenewResult result = RenewResult::kNoSuchLease;
  int64_t ttl_s = 0;  // The whole time to live, with kRenewed.
};

// One lease as an observer sees it.
struct LeaseView {
  LeaseId id;
  LeaseFacts facts;
  // Negative when it is overdue; none unless this member leads.
  std::optional<Milliseconds> remaining_ms;
  bool is_revoking = false;
  // What remains of it is noted by an entry, applied or proposed.
  bool is_checkpointed = false;
};

struct CheckpointItem {
  LeaseName name;
  Milliseconds remaining_ms = 0;

  friend bool operator==(const CheckpointItem&, const CheckpointItem&) = default;
};

class Lessor {
 public:
  // Until the end of time: the confirmation of a leader that nobody else can depose.
  static constexpr Milliseconds kForEver = std::numeric_limits<Milliseconds>::max();
  // Items of a queue that one call looks at, so that renewed leases that come up together are
  // spread over several calls: at most a few milliseconds.
  static constexpr int kItemsPerCallMax = 10'000;

  explicit Lessor(const LessorOptions& options) : options_(options) {}

  // --- Inputs ---

  // The facts of leases after the batch that ended with the entry at `applied`.
  void Update(Index applied, std::span<const LeaseUpdate> updates, Milliseconds now_ms);
  // This member leads and has applied the first entry of its term: every lease starts anew. Takes
  // time proportional to all leases, sorted: what is due at once is taken in one order always.
  void Promote(Milliseconds now_ms);
  // This member does not lead any more. What was proposed counts as lost.
  void Demote();
  // Nobody else can lead before `until_ms`.
  void Confirm(Milliseconds until_ms) { confirmed_until_ms_ = until_ms; }

  Renewal Renew(LeaseId id, Milliseconds now_ms);

  // --- What is to be proposed ---
  // Each takes leases and marks them as proposed; Refused... takes the mark away when they were
  // certainly not appended. Nothing is taken unless this member leads, confirmed.

  // Leases that are due or ending, until they have `keys_max` keys together (a lease without keys
  // counts as one); one larger lease comes alone.
  std::vector<LeaseName> TakeDue(Milliseconds now_ms, int64_t keys_max);
  void RefusedDue(std::span<const LeaseName> leases, Milliseconds now_ms);
  // At most `leases_max` leases to be checkpointed.
  std::vector<CheckpointItem> TakeCheckpoints(Milliseconds now_ms, size_t leases_max);
  // The checkpoints taken last are in the entry at `index`. They count from TakeCheckpoints on.
  void ProposedCheckpoints(std::span<const CheckpointItem> items, Index index);
  void RefusedCheckpoints(std::span<const CheckpointItem> items);
  // At most `leases_max` leases whose renewals wait for their checkpoint to be cleared.
  std::vector<LeaseName> TakeClears(Milliseconds now_ms, size_t leases_max);
  void RefusedClears(std::span<const LeaseName> leases);
  // Whether a Take would find something now.
  bool HasWork(Milliseconds now_ms) const;

  // --- Looking in ---
  bool is_primary() const { return is_primary_; }
  // This member leads, and nobody else can at this moment.
  bool IsConfirmed(Milliseconds now_ms) const {
    return is_primary_ && now_ms < confirmed_until_ms_;
  }
  size_t size() const { return leases_.size(); }
  // Items in both queues: bounded by a small multiple of the leases.
  size_t queued_items() const { return due_.size() + checkpoints_.size(); }
  std::optional<LeaseView> Find(LeaseId id, Milliseconds now_ms) const;
  // All leases, in any order. Takes time proportional to all leases.
  std::vector<LeaseView> All(Milliseconds now_ms) const;

 private:
  // No entry: index 0 is before the log. The largest stands for "taken, not yet appended".
  static constexpr Index kNoEntry{0};
  static constexpr Index kNotAppended{std::numeric_limits<uint64_t>::max()};

  struct Lease {
    LeaseFacts facts;
    // The rest is meaningful on the primary only.
    Milliseconds deadline_ms = 0;
    // The last grant, renewal, promotion or checkpoint.
    Milliseconds quiet_since_ms = 0;
    // The entry with a checkpoint that may not be applied yet.
    Index checkpoint_entry = kNoEntry;
    bool is_revoking = false;
    bool is_clear_wanted = false;  // Asked for or proposed, not applied.
  };

  bool CountsAsCheckpointed(const Lease& lease) const {
    return lease.facts.checkpoint_ms.has_value() || lease.checkpoint_entry > applied_;
  }
  Lease* FindNamed(const LeaseName& name);
  // A new term of the lease, from `length_ms` before its end.
  void Start(LeaseId id, Lease& lease, Milliseconds now_ms, Milliseconds length_ms);
  void QueueCheckpoint(LeaseId id, const Lease& lease);
  std::vector<LeaseId> SortedIds() const;
  // Drops the items of leases that have ended, when those are most.
  void TidyQueues();
  LeaseView ViewOf(LeaseId id, const Lease& lease, Milliseconds now_ms) const;

  const LessorOptions options_;
  absl::flat_hash_map<LeaseId, Lease> leases_;
  Index applied_;
  bool is_primary_ = false;
  Milliseconds confirmed_until_ms_ = 0;
  // On the primary each lease that is not revoking has an item in `due_`, and those long enough to
  // be checkpointed one in `checkpoints_`.
  ExpiryQueue due_;
  ExpiryQueue checkpoints_;
  // The one that was asked for first stands first.
  std::deque<LeaseName> clears_;
};

}  // namespace cairn::lease

#endif  // CAIRN_LEASE_LESSOR_H_
