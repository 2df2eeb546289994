#include "test/sim/temper.h"

#include <algorithm>
#include <array>

namespace cairn::sim {
namespace {

// In 1,000.
uint64_t Permille(base::Random& random, uint64_t most) {
  return random.Below(3) == 0 ? 0 : random.Below(most);
}

bool Chance(base::Random& random, uint64_t percent) { return random.Below(100) < percent; }

void DrawNode(base::Random& random, Temper& temper) {
  raft::CoreOptions& raft = temper.node.raft;
  raft.election_timeout_ticks = 3 + static_cast<uint32_t>(random.Below(8));
  raft.heartbeat_ticks = 1;
  raft.log_stall_ticks = 2 * raft.election_timeout_ticks;
  // So small that windows fill, tails are cut and the log is read back.
  raft.append_bytes_max = 100 + random.Below(500);
  raft.inflight_bytes_max = 500 + random.Below(3000);
  raft.tail_bytes_max = 200 + random.Below(Chance(random, 50) ? 1000 : 10'000);
  raft.uncommitted_bytes_max = 20'000;
}

void DrawDisks(base::Random& random, Temper& temper) {
  temper.sync = 100 + static_cast<Microseconds>(random.Below(10 * kMillisecond));
  temper.apply = 50 + static_cast<Microseconds>(random.Below(5 * kMillisecond));
  temper.segment_bytes = Chance(random, 70) ? 4096 : 16'384;
  if (Chance(random, 60)) {
    temper.tail = {.entries_max = random.Below(50), .bytes_max = 4096 * random.Below(6)};
  }
  temper.makes_spares = Chance(random, 70);
  temper.flush_interval = 100 * kMillisecond + static_cast<Microseconds>(random.Below(3 * kSecond));
}

}  // namespace

Temper DrawTemper(base::Random& random) {
  Temper temper;
  constexpr std::array<size_t, 10> kSizes = {1, 2, 3, 3, 3, 3, 4, 5, 5, 5};
  temper.members = kSizes.at(random.Below(kSizes.size()));
  temper.members_max = std::min<size_t>(7, temper.members + 2);
  DrawNode(random, temper);
  const uint64_t clocks = random.Below(10);
  temper.clocks = clocks < 6 ? Clocks::kExact : clocks < 9 ? Clocks::kDrifting : Clocks::kWild;
  temper.delay = 100 + static_cast<Microseconds>(
                           random.Below(Chance(random, 70) ? 5 * kMillisecond : 60 * kMillisecond));
  temper.lost_permille = Permille(random, 60);
  temper.repeated_permille = Permille(random, 40);
  temper.late_permille = Permille(random, 40);
  DrawDisks(random, temper);
  temper.operation_interval =
      5 * kMillisecond + static_cast<Microseconds>(random.Below(80 * kMillisecond));
  temper.fault_interval = 200 * kMillisecond + static_cast<Microseconds>(random.Below(2 * kSecond));
  temper.faults = static_cast<uint32_t>(random.Next() | random.Next());
  temper.fault_length = 200 * kMillisecond + static_cast<Microseconds>(random.Below(4 * kSecond));
  temper.changes_members = Chance(random, 50);
  temper.promotes_learners = Chance(random, 50);
  temper.transfers = Chance(random, 50);
  temper.awaits_expiry = Chance(random, 20);
  temper.watches = random.Below(4);
  temper.leases_max = Chance(random, 60) ? 1 + random.Below(6) : 0;
  if (Chance(random, 15)) {
    temper.leases_at_once = 33 + random.Below(40);
    temper.leases_max = 2 * temper.leases_at_once;
  }
  temper.checkpoint_interval_ms = 300 + static_cast<int64_t>(random.Below(2000));
  return temper;
}

}  // namespace cairn::sim
