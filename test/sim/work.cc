// What goes on by itself in a simulated cluster: ticks, disks, appliers, watches; and the checks
// after each step.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "test/sim/cluster.h"

namespace cairn::sim {
namespace {

// Entries that one batch of the applier holds at most.
constexpr uint64_t kApplyMax = 12;

Microseconds Jitter(base::Random& random, Microseconds mean) {
  return mean / 2 + static_cast<Microseconds>(random.Below(static_cast<uint64_t>(mean) + 1));
}

}  // namespace

void Cluster::AtMember(const Member& member, Microseconds delay, Work work) {
  scheduler_.After(
      delay, [this, position = member.position(), incarnation = member.incarnation(),
              work = std::move(work)]() mutable { return RunAt(position, incarnation, work); });
}

bool Cluster::RunAt(size_t position, uint64_t incarnation, Work& work) {
  Member* const member = UpAt(position, incarnation);
  if (member == nullptr) return false;
  Slot& slot = slots_[position];
  if (slot.is_paused) {
    slot.deferred.emplace_back(incarnation, std::move(work));
    return false;
  }
  work(*member);
  if (UpAt(position, incarnation) != nullptr) Follow(*member);
  return true;
}

void Cluster::Follow(Member& member) {
  Check(member);
  Slot& slot = slots_[member.position()];
  FollowLog(member, slot);
  if (member.can_apply() && !std::exchange(slot.is_applying, true)) {
    AtMember(member, Jitter(random_, temper_.apply) + slot.slow_apply, [this](Member& self) {
      slots_[self.position()].is_applying = false;
      if (self.can_apply()) Must(self, self.Apply(1 + random_.Below(kApplyMax)));
    });
  }
  if (member.can_read_log() && !std::exchange(slot.is_reading_log, true)) {
    AtMember(member, Jitter(random_, temper_.sync), [this](Member& self) {
      slots_[self.position()].is_reading_log = false;
      if (!self.can_read_log()) return;
      const bool fails = !has_ended_ && Chance(5);
      counts_.Add(fails ? What::kFailedLogRead : What::kLogRead);
      self.AnswerLogRead(fails);
    });
  }
  FollowWatches(member, slot);
}

void Cluster::FollowLog(Member& member, Slot& slot) {
  if (member.can_begin_log() && !slot.is_syncing) {
    if (!Must(member, member.BeginLog())) return;
    slot.is_syncing = true;
    const Microseconds length = Jitter(random_, temper_.sync) + slot.slow_sync;
    if (std::exchange(slot.is_cut_while_writing, false)) {
      AtMember(member, static_cast<Microseconds>(random_.Below(static_cast<uint64_t>(length))),
               [this, flips_bit = slot.flips_bit](Member& self) { Kill(self, true, flips_bit); });
    }
    AtMember(member, length, [this](Member& self) {
      slots_[self.position()].is_syncing = false;
      if (!self.is_syncing()) return;
      Must(self, self.FinishLog());
    });
  }
  if (member.can_collect()) {
    const absl::StatusOr<size_t> removed = member.Collect(PinnedFrom(member.position()));
    if (!Must(member, removed.status())) return;
    if (*removed > 0) Note(member.position(), "removes segments", *removed);
    counts_.Add(What::kSegmentRemoved, *removed);
  }
}

void Cluster::FollowWatches(Member& member, Slot& slot) {
  if (member.wants_watch_turn() && !std::exchange(slot.is_serving_watches, true)) {
    AtMember(member, Jitter(random_, 2 * kMillisecond), [this](Member& self) {
      slots_[self.position()].is_serving_watches = false;
      self.WatchTurn();
    });
  }
  if (member.can_read_history() && !std::exchange(slot.is_reading_history, true)) {
    AtMember(member, Jitter(random_, 3 * kMillisecond), [this](Member& self) {
      slots_[self.position()].is_reading_history = false;
      counts_.Add(What::kWatchHistory);
      if (self.can_read_history()) Must(self, self.ReadHistory());
    });
  }
}

void Cluster::ScheduleTick(const Member& member) {
  const Slot& slot = slots_[member.position()];
  AtMember(member, Temper::kTick * 1000 / slot.speed_permille, [this](Member& self) {
    Slot& own = slots_[self.position()];
    // A thread that was held up does not tick in a burst.
    if (own.lost_ticks_percent > 0 && Chance(own.lost_ticks_percent)) {
      counts_.Add(What::kLostTicks);
    } else {
      self.node().Tick();
      self.Turn(/*has_ticked=*/true);
    }
    self.WatchTurn();
    ScheduleTick(self);
  });
}

void Cluster::ScheduleFlush(const Member& member) {
  AtMember(member, Jitter(random_, temper_.flush_interval), [this](Member& self) {
    counts_.Add(What::kFlush);
    if (Must(self, self.FlushAndMark())) ScheduleFlush(self);
  });
}

void Cluster::ScheduleRemoval(const Member& member) {
  AtMember(member, Jitter(random_, 200 * kMillisecond), [this](Member& self) {
    const absl::StatusOr<bool> removed = self.RemoveSome(1 + static_cast<int>(random_.Below(20)));
    if (!Must(self, removed.status())) return;
    if (*removed) counts_.Add(What::kRemovalStep);
    ScheduleRemoval(self);
  });
}

void Cluster::Check(Member& member) {
  Slot& slot = slots_[member.position()];
  raft::CoreStatus after = member.node().raft().Status();
  const bool goes_on = slot.before_incarnation == member.incarnation();
  for (const std::string& violation :
       {raft::CheckMember(after), goes_on ? raft::CheckStep(slot.before, after) : std::string(),
        checker_.SawMember(after)}) {
    if (!violation.empty()) Violated(member, violation);
  }
  const bool leads_on = goes_on && slot.before.role == raft::RoleKind::kLeader &&
                        after.role == raft::RoleKind::kLeader && slot.before.term == after.term;
  if (leads_on && slot.before.commit < after.commit) CheckCommit(member, after);
  slot.before = std::move(after);
  slot.before_incarnation = member.incarnation();
}

// What a leader takes for committed is of its term, and on the disks of a majority of both halves:
// counted one by one, not with the arithmetic that is under test.
void Cluster::CheckCommit(const Member& member, const raft::CoreStatus& after) {
  const raft::EntryId entry{after.term, after.commit};
  for (const auto* voters : {&after.configuration.voters, &after.configuration.outgoing}) {
    if (voters->empty()) continue;
    const auto holders = std::ranges::count_if(*voters, [&](MemberId id) {
      const auto found = positions_.find(id);
      const Member* const voter =
          found == positions_.end() ? nullptr : slots_[found->second].member.get();
      return voter != nullptr && voter->HoldsDurably(entry);
    });
    if (2 * static_cast<size_t>(holders) > voters->size()) continue;
    Report(fmt::format("leader {} of term {} commits {}, which {} of {} voters hold",
                       member.position(), after.term, after.commit, holders, voters->size()));
  }
}

// --- What members tell ---

void Cluster::SawApplied(Member& member, std::span<const raft::Entry> entries,
                         const server::Applier::Result& result) {
  counts_.Add(What::kApplied, entries.size());
  for (const raft::Entry& entry : entries) {
    const std::string violation = checker_.SawApplied(member.id(), entry);
    if (!violation.empty()) Report(violation);
  }
  const Index index = entries.back().index;
  const Revision revision = member.store().published().revision;
  Note(member.position(), "applies", index.value(), static_cast<uint64_t>(revision.value()));
  const Revision first = revision_at_.try_emplace(index, revision).first->second;
  if (first != revision) {
    Violated(member,
             fmt::format("revision {} after entry {}, another is at {}", revision, index, first));
  }
  for (const server::Member& known : member.membership().members) {
    if (planned_.erase(known.id) > 0) AddJoiner(known.id);
  }
  if (result.configuration.has_value() && !result.configuration->first.outgoing.empty()) {
    counts_.Add(What::kJointChange);
  }
  clients_.SawApplied(member, entries, result);
  if (result.self_removed) Leave(member);
}

void Cluster::SawChanges(Member& member, std::span<const mvcc::Change> changes) {
  const std::string violation = history_.Saw(changes);
  if (!violation.empty()) Violated(member, violation);
}

void Cluster::SawReadReady(Member& member, server::WaiterId id) {
  clients_.SawReadReady(member, id);
}

void Cluster::SawGivenUp(Member& /*member*/, server::WaiterId id) { clients_.SawGivenUp(id); }

void Cluster::SawTrace(Member& member, const raft::TraceEvent& event) {
  if (event.kind == raft::TraceKind::kBecameLeader) counts_.Add(What::kElection);
  if (event.kind == raft::TraceKind::kTransferStarted) counts_.Add(What::kTransfer);
  if (event.kind == raft::TraceKind::kLogStalled) counts_.Add(What::kLogStalled);
  Note(member.position(), raft::Describe(event));
}

void Cluster::SawMessage(Member& member, watch::StreamId stream, const watch::Message& message) {
  clients_.SawMessage(member, stream, message);
}

void Cluster::Violated(Member& member, std::string what) {
  Report(fmt::format("member {}: {}", member.position(), what));
}

}  // namespace cairn::sim
