// How one seed's run behaves: sizes, rates, which faults there are. Drawn once, from the seed.
//
// Runs differ much from each other on purpose: the mean of all would find less than the extremes.
#ifndef CAIRN_TEST_SIM_TEMPER_H_
#define CAIRN_TEST_SIM_TEMPER_H_

#include <cstddef>
#include <cstdint>

#include "base/random.h"
#include "server/node_core.h"
#include "test/sim/scheduler.h"
#include "wal/types.h"

namespace cairn::sim {

// --max-learners of every member.
inline constexpr uint32_t kLearnersMax = 2;

enum class Clocks : uint8_t {
  kExact,     // All clocks run alike.
  kDrifting,  // Up to 5% fast or slow, and changing.
  kWild,      // Half, whole or double speed: no promise about time is left to check.
};

struct Temper {
  // The cluster that begins, and how many members there may be at once.
  size_t members = 3;
  size_t members_max = 5;
  server::NodeCoreOptions node;
  Clocks clocks = Clocks::kExact;

  // Network: how long a message takes, and in 1,000 how many are lost, repeated, late.
  Microseconds delay = kMillisecond;
  uint64_t lost_permille = 0;
  uint64_t repeated_permille = 0;
  uint64_t late_permille = 0;

  // Disks.
  Microseconds sync = kMillisecond;
  Microseconds apply = kMillisecond;
  uint64_t segment_bytes = 8192;
  wal::TailToKeep tail;
  bool makes_spares = true;
  Microseconds flush_interval = kSecond;

  // Between two things that clients do, and between two faults.
  Microseconds operation_interval = 20 * kMillisecond;
  Microseconds fault_interval = kSecond;
  // A bit for each kind of fault that this run has (Faults::kKinds).
  uint32_t faults = 0;
  // How long faults last, at most.
  Microseconds fault_length = kSecond;

  bool changes_members = false;
  bool promotes_learners = false;
  bool transfers = false;
  // Whether expiry is waited for when the faults have ended: it takes long.
  bool awaits_expiry = false;
  size_t watches = 0;
  size_t leases_max = 0;
  // Granted together, so that they end together: more than one entry ends.
  size_t leases_at_once = 1;
  int64_t checkpoint_interval_ms = 1000;

  // What keeps the time of leases: a tick.
  static constexpr Microseconds kTick = 100 * kMillisecond;
  Microseconds election_timeout() const { return kTick * node.raft.election_timeout_ticks; }
};

Temper DrawTemper(base::Random& random);

}  // namespace cairn::sim

#endif  // CAIRN_TEST_SIM_TEMPER_H_
