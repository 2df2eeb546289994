// What a leader does for leases between two turns of the node thread: takes the lead, confirms it,
// and proposes what is due.
//
// Node thread only. At most one entry of each kind is under way: the next waits until it is
// applied, so that a hundred thousand leases that end at once reach the log at the pace of the
// applier, and whoever writes meanwhile waits for one such entry at most. Entries are never
// forwarded and carry the term (design.md section 3).
//
// Consensus counts in ticks; a process that stands still for a minute has missed them all, and
// would take itself for confirmed while others have long ended its leases. So each tick is noted
// with its time, and a confirmation lasts an election timeout from the time when its heartbeat was
// sent.
#ifndef CAIRN_SERVER_LEASE_DRIVER_H_
#define CAIRN_SERVER_LEASE_DRIVER_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "api/internal.pb.h"
#include "base/ids.h"
#include "server/command.h"
#include "server/lease_manager.h"
#include "server/node_core.h"

namespace cairn::server {

class LeaseDriver {
 public:
  // Keys that one entry deletes: half a millisecond of the applier, which is what a put behind it
  // waits. One larger lease goes alone, because a lease ends in one revision, or in few.
  static constexpr int64_t kKeysPerEntryMin = 32;
  // More, where it takes long to commit an entry, and a put waits for that anyway: so many for each
  // millisecond that the last one took. It keeps 100,000 leases from ending at the pace of a slow
  // disk.
  static constexpr int64_t kKeysPerMillisecond = 20;
  static constexpr int64_t kKeysPerEntryMax = 500;
  // Leases that one entry checkpoints or clears: a row each.
  static constexpr size_t kLeasesPerEntryMax = 1000;

  // `core` and `leases` must outlive this object. `election_timeout_ticks` is the core's; leases
  // know the same time in milliseconds.
  LeaseDriver(LeaseManager& leases, NodeCore& core, MemberId self, uint64_t start_nonce,
              uint32_t election_timeout_ticks);

  // To be called after each turn's inputs, at most one tick among them, and before its TakeWork, so
  // that no heartbeat leaves before the time that is noted for its tick.
  void Run(bool is_tick);
  // An entry is under way: Run again as soon as it is applied.
  bool waits_for_applied() const { return core_.raft().applied() < under_way_; }
  // There is more to do at once, without any input.
  bool has_more() const { return has_more_; }

 private:
  void NoteTick();
  void FollowLead();
  // Until when nobody else can lead; in the past if that is not known.
  lease::Milliseconds ConfirmedUntil() const;
  void ProposeWork();
  void ProposeClears();
  void ProposeDue();
  void ProposeCheckpoints();
  // The index of the entry; none if it was certainly not appended.
  std::optional<Index> Propose(CommandKind kind, cairn::internal::LeaseBatch batch);

  LeaseManager& leases_;
  NodeCore& core_;
  const MemberId self_;
  const uint64_t start_nonce_;
  const uint32_t election_timeout_ticks_;
  // When the last election_timeout_ticks_ ticks of the core came: no confirmation is older. The
  // first of them is its tick number `first_tick_`.
  std::deque<lease::Milliseconds> tick_times_ms_;
  uint64_t first_tick_ = 0;
  // The term in which this member is primary; 0: it is not.
  Term primary_term_;
  Index under_way_;                      // The last entry of ours.
  lease::Milliseconds proposed_ms_ = 0;  // When it was proposed.
  int64_t keys_per_entry_ = kKeysPerEntryMin;
  bool is_alone_ = false;
  bool is_handing_over_ = false;
  bool has_more_ = false;
  bool is_refused_ = false;  // Something, in this run.
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_LEASE_DRIVER_H_
