// What goes wrong in a simulated cluster, and for how long.
#include <algorithm>
#include <utility>

#include "test/sim/cluster.h"

namespace cairn::sim {
namespace {

// Kinds of faults; a run has those whose bit its temper sets.
enum Fault : uint64_t {
  kKill,
  kKillLeader,
  kPowerCut,
  kFlippedBit,
  kPowerCutOfAll,
  kIsolate,
  kIsolateLeader,
  kOneWayCut,
  kPairCut,
  kSplit,
  kClog,
  kPause,
  kPauseLeader,
  kLostTicks,
  kClock,
  kSlowDisk,
  kSlowLeaderDisk,
  kFullDisk,
  kSlowApply,
  kFaults,
};

bool IsOfNetwork(uint64_t kind) { return kind >= kIsolate && kind <= kClog; }

bool IsOfLeader(uint64_t kind) {
  return kind == kKillLeader || kind == kIsolateLeader || kind == kPauseLeader ||
         kind == kSlowLeaderDisk;
}

}  // namespace

Microseconds Cluster::FaultLength() {
  return 50 * kMillisecond +
         static_cast<Microseconds>(random_.Below(static_cast<uint64_t>(temper_.fault_length)));
}

void Cluster::ScheduleFault() {
  const auto longest = static_cast<uint64_t>(2 * temper_.fault_interval);
  scheduler_.After(static_cast<Microseconds>(random_.Below(longest)), [this] {
    if (has_ended_) return false;
    Disturb();
    ScheduleFault();
    return true;
  });
}

void Cluster::Disturb() {
  const uint64_t kind = random_.Below(kFaults);
  if ((temper_.faults >> kind & 1) == 0) return;
  Member* victim = IsOfLeader(kind) ? Leader() : RandomUp();
  if (victim == nullptr) return;
  if (IsOfNetwork(kind)) {
    DisturbNetwork(kind, victim->position());
  } else {
    DisturbMember(kind, *victim);
  }
}

void Cluster::Block(size_t from, size_t to) {
  if (from != to) blocked_.insert({from, to});
}

void Cluster::Isolate(size_t position) {
  Note(position, "is cut off");
  counts_.Add(What::kIsolated);
  for (size_t other = 0; other < slots_.size(); ++other) {
    Block(position, other);
    Block(other, position);
  }
}

void Cluster::Split() {
  std::vector<bool> side;
  for (size_t i = 0; i < slots_.size(); ++i) side.push_back(Chance(50));
  Note(0, "is on one side of a split");
  counts_.Add(What::kSplit);
  for (size_t from = 0; from < slots_.size(); ++from) {
    for (size_t to = 0; to < slots_.size(); ++to) {
      if (side[from] != side[to]) Block(from, to);
    }
  }
}

void Cluster::DisturbNetwork(uint64_t kind, size_t victim) {
  const size_t other = random_.Below(slots_.size());
  const std::set<std::pair<size_t, size_t>> before = blocked_;
  switch (kind) {
    case kOneWayCut:
      Note(victim, "is not heard by", other);
      counts_.Add(What::kOneWayCut);
      Block(victim, other);
      break;
    case kPairCut:
      Note(victim, "is cut from", other);
      counts_.Add(What::kPairCut);
      Block(victim, other);
      Block(other, victim);
      break;
    case kSplit:
      Split();
      break;
    case kClog:
      Note(victim, "hears everything late");
      counts_.Add(What::kClogged);
      slots_[victim].clogged = static_cast<Microseconds>(random_.Below(2 * kSecond));
      scheduler_.After(FaultLength(), [this, victim] {
        slots_[victim].clogged = 0;
        return true;
      });
      return;
    default:
      Isolate(victim);
  }
  HealLinks(before, FaultLength());
}

void Cluster::HealLinks(const std::set<std::pair<size_t, size_t>>& before, Microseconds length) {
  std::vector<std::pair<size_t, size_t>> cut;
  std::ranges::set_difference(blocked_, before, std::back_inserter(cut));
  scheduler_.After(length, [this, cut = std::move(cut)] {
    for (const auto& link : cut) blocked_.erase(link);
    return true;
  });
}

void Cluster::DisturbMember(uint64_t kind, Member& victim) {
  const size_t position = victim.position();
  Slot& slot = slots_[position];
  const auto later = [&](auto heal) {
    scheduler_.After(FaultLength(), [heal = std::move(heal)] {
      heal();
      return true;
    });
  };
  switch (kind) {
    case kPowerCutOfAll:
      counts_.Add(What::kPowerCutOfAll);
      for (Slot& each : slots_) {
        if (each.member != nullptr && each.member->is_up()) Kill(*each.member, true);
      }
      return;
    case kPause:
    case kPauseLeader:
      return Pause(victim);
    case kLostTicks:
      Note(position, "loses ticks");
      slot.lost_ticks_percent = 20 + random_.Below(75);
      return later([&slot] { slot.lost_ticks_percent = 0; });
    case kClock:
      if (temper_.clocks == Clocks::kExact) return;
      return SetSpeed(position, temper_.clocks == Clocks::kWild
                                    ? 500 << random_.Below(3)
                                    : 950 + static_cast<int64_t>(random_.Below(101)));
    case kSlowDisk:
    case kSlowLeaderDisk:
      Note(position, "has a slow disk");
      counts_.Add(What::kSlowDisk);
      slot.slow_sync = static_cast<Microseconds>(random_.Below(4 * kSecond));
      return later([&slot] { slot.slow_sync = 0; });
    case kFullDisk:
      FillDisk(position);
      return later([this, position] { EmptyDisk(position); });
    case kSlowApply:
      counts_.Add(What::kSlowApply);
      slot.slow_apply = static_cast<Microseconds>(random_.Below(kSecond));
      return later([&slot] { slot.slow_apply = 0; });
    case kKill:
    case kKillLeader:
      return Kill(victim, /*is_power_cut=*/false);
    default:
      if (Chance(20)) return Kill(victim, /*is_power_cut=*/true);
      slot.is_cut_while_writing = true;
      slot.flips_bit = kind == kFlippedBit;
  }
}

void Cluster::Pause(Member& member) {
  Slot& slot = slots_[member.position()];
  if (std::exchange(slot.is_paused, true)) return;
  counts_.Add(What::kPaused);
  Note(member.position(), "is stopped");
  const Microseconds length = 2 * FaultLength();
  // One that is suspended while the others go on without it is what makes an old leader.
  if (Chance(50)) {
    const std::set<std::pair<size_t, size_t>> before = blocked_;
    Isolate(member.position());
    HealLinks(before, length + static_cast<Microseconds>(random_.Below(kSecond)));
  }
  scheduler_.After(length, [this, position = member.position()] {
    Resume(position);
    return true;
  });
}

void Cluster::Resume(size_t position) {
  Slot& slot = slots_[position];
  if (!std::exchange(slot.is_paused, false)) return;
  Note(position, "goes on", slot.deferred.size());
  for (auto& [incarnation, work] : std::exchange(slot.deferred, {})) {
    scheduler_.After(0,
                     [this, position, incarnation = incarnation, work = std::move(work)]() mutable {
                       return RunAt(position, incarnation, work);
                     });
  }
}

void Cluster::FillDisk(size_t position) {
  Slot& slot = slots_[position];
  if (std::exchange(slot.is_disk_full, true)) return;
  Note(position, "has a full disk");
  counts_.Add(What::kFullDisk);
  wal::FaultFs& fs = slot.member->disk().fs();
  fs.set_capacity_bytes(fs.used_bytes() + random_.Below(2) * temper_.segment_bytes);
}

void Cluster::EmptyDisk(size_t position) {
  Slot& slot = slots_[position];
  if (!std::exchange(slot.is_disk_full, false)) return;
  slot.member->disk().fs().set_capacity_bytes(std::numeric_limits<uint64_t>::max());
}

int64_t Cluster::NowMs(size_t position) const {
  const Slot& slot = slots_[position];
  const Microseconds passed = scheduler_.now() - slot.clock_set_at;
  return slot.clock_ms + passed * slot.speed_permille / 1000 / kMillisecond;
}

void Cluster::SetSpeed(size_t position, int64_t permille) {
  Slot& slot = slots_[position];
  counts_.Add(What::kClockChanged);
  slot.clock_ms = NowMs(position);
  slot.clock_set_at = scheduler_.now();
  slot.speed_permille = permille;
}

void Cluster::HealAll() {
  blocked_.clear();
  for (size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    slot.lost_ticks_percent = 0;
    slot.slow_sync = slot.slow_apply = slot.clogged = 0;
    slot.is_cut_while_writing = false;
    if (slot.member == nullptr) continue;
    if (slot.speed_permille != 1000 && temper_.clocks == Clocks::kWild) SetSpeed(i, 1000);
    EmptyDisk(i);
    Resume(i);
  }
}

}  // namespace cairn::sim
