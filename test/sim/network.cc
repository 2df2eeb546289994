// What lies between the members of a simulated cluster: messages, calls and snapshots, which come
// late, twice, in another order or not at all.
#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "base/check.h"
#include "base/status.h"
#include "test/sim/cluster.h"

namespace cairn::sim {
namespace {

// How late what is late comes: after elections have been won without it.
constexpr Microseconds kLateMax = 3 * kSecond;
// When a call that nobody answers is given up.
constexpr Microseconds kCallTimeout = kSecond;

}  // namespace

Microseconds Cluster::Delay() {
  return temper_.delay / 2 +
         static_cast<Microseconds>(random_.Below(static_cast<uint64_t>(temper_.delay) + 1));
}

void Cluster::Send(Member& from, raft::Message message) {
  const auto found = positions_.find(message.to);
  if (found == positions_.end()) return;
  Slot& slot = slots_[found->second];
  Member* const to = FindUp(message.to);
  const bool is_lost = !has_ended_ && random_.Below(1000) < temper_.lost_permille;
  if (to == nullptr || is_lost || IsBlocked(from.position(), found->second)) {
    if (is_lost) counts_.Add(What::kLost);
    return Undelivered(from, std::move(message));
  }
  Microseconds delay = Delay() + slot.clogged;
  if (!has_ended_ && random_.Below(1000) < temper_.late_permille) {
    counts_.Add(What::kLate);
    delay += static_cast<Microseconds>(random_.Below(kLateMax));
  }
  // A forwarded proposal travels once: its stream does not repeat it.
  const bool may_repeat =
      !has_ended_ && !std::holds_alternative<raft::ForwardedProposals>(message.body);
  if (may_repeat && random_.Below(1000) < temper_.repeated_permille) {
    counts_.Add(What::kRepeated);
    Carry(to->position(), delay + static_cast<Microseconds>(random_.Below(kSecond)), message);
  }
  Carry(to->position(), delay, std::move(message));
}

// Whoever is up there then gets it: a message of an earlier time must do no harm.
void Cluster::Carry(size_t to, Microseconds delay, raft::Message message) {
  scheduler_.After(delay, [this, to, message = std::move(message)] {
    Member* const member = slots_[to].member.get();
    if (member == nullptr || !member->is_up()) return false;
    Work work = [this, message](Member& self) { Deliver(self, message); };
    return RunAt(to, member->incarnation(), work);
  });
}

void Cluster::Deliver(Member& to, const raft::Message& message) {
  const size_t from = positions_.at(message.from);
  if (!cut_spares_under_way_ && IsBlocked(from, to.position())) return;
  if (to.membership().removed.contains(message.from)) {
    // It is told so when it connects.
    Member* const sender = FindUp(message.from);
    if (sender != nullptr && Chance(20)) Leave(*sender);
    return;
  }
  if (std::holds_alternative<raft::RefusedProposals>(message.body)) {
    counts_.Add(What::kForwardRefused);
  }
  to.node().Step(message);
  to.Turn(/*has_ticked=*/false);
}

// The transport may know that a message has not arrived: of what clients wait for it says so.
void Cluster::Undelivered(Member& from, raft::Message message) {
  if (Chance(50)) return;
  AtMember(from, Delay(), [message = std::move(message)](Member& self) {
    self.node().ReportUnreachable(message.to);
    if (std::holds_alternative<raft::ForwardedProposals>(message.body) ||
        std::holds_alternative<raft::ReadIndexRequest>(message.body)) {
      self.node().Undelivered({message});
    }
    self.Turn(/*has_ticked=*/false);
  });
}

bool Cluster::AskToRenew(Member& from, MemberId leader, LeaseId id, RenewDone done) {
  Member* const to = FindUp(leader);
  const RenewDone answer = [this, position = from.position(), incarnation = from.incarnation(),
                            to_position = to == nullptr ? 0 : to->position(),
                            done](const absl::StatusOr<int64_t>& ttl_s) {
    Member* const asker = UpAt(position, incarnation);
    if (asker == nullptr) return;
    const bool is_lost = IsBlocked(to_position, position) && ttl_s.ok();
    AtMember(*asker, is_lost ? kCallTimeout : Delay(), [done, ttl_s, is_lost](Member& self) {
      done(is_lost ? absl::UnavailableError("timed out") : ttl_s);
      self.Turn(/*has_ticked=*/false);
    });
  };
  counts_.Add(What::kLeaseForwarded);
  if (to == nullptr || IsBlocked(from.position(), to->position()) || Chance(2)) {
    answer(absl::UnavailableError("not connected"));
    return true;
  }
  AtMember(*to, Delay(), [this, id, answer](Member& self) {
    if (!self.leases().is_primary()) return answer(absl::UnavailableError("not the leader"));
    clients_.Renew(self, id, answer);
  });
  return true;
}

// --- Snapshots ---

void Cluster::SendSnapshot(Member& from, const raft::SnapshotWanted& wanted) {
  AtMember(from, Delay() + 10 * kMillisecond,
           [this, wanted](Member& self) { TakeCopy(self, wanted); });
}

void Cluster::TakeCopy(Member& sender, const raft::SnapshotWanted& wanted) {
  const auto fail = [&] {
    counts_.Add(What::kSnapshotFailed);
    sender.node().SnapshotStatus(wanted.peer, wanted.index, /*is_installed=*/false);
    sender.Turn(/*has_ticked=*/false);
  };
  if (sender.store().applied().index < wanted.index || FindUp(wanted.peer) == nullptr) {
    return fail();
  }
  const std::string name = fmt::format("{}{}", server::kCheckpointPrefix, ++copies_made_);
  const std::string path = sender.checkpoint_path(name);
  const absl::StatusOr<mvcc::EntryApplied> copied = sender.store().Checkpoint(path);
  if (!Must(sender, copied.status())) return;
  copies_.Copy(sender.disk().rows(), path, name);
  sender.disk().rows().Remove(path);
  counts_.Add(What::kSnapshotSent);
  Note(sender.position(), "sends a snapshot", copied->index.value(), wanted.peer.value());
  const auto flight = flights_.insert(flights_.end(), {sender.position(), copied->index + 1});
  const Microseconds length =
      Delay() + static_cast<Microseconds>(random_.Below(has_ended_ ? 50 * kMillisecond : kSecond));
  scheduler_.After(length, [this, position = sender.position(), incarnation = sender.incarnation(),
                            peer = wanted.peer, name, term = sender.node().raft().term(),
                            index = wanted.index, flight] {
    Arrive(position, incarnation, peer, name, term, index, flight);
    return true;
  });
}

void Cluster::Arrive(size_t sender, uint64_t incarnation, MemberId peer, const std::string& name,
                     Term term, Index index, std::list<Flight>::iterator flight) {
  Member* const receiver = FindUp(peer);
  const Index next = flight->next;
  flights_.erase(flight);
  Member* const from = UpAt(sender, incarnation);
  const bool arrives =
      receiver != nullptr && from != nullptr && !slots_[receiver->position()].is_paused &&
      !IsBlocked(sender, receiver->position()) &&
      !receiver->membership().removed.contains(from->id()) && (has_ended_ || !Chance(10));
  bool is_installed = false;
  if (arrives) is_installed = InstallAt(*receiver, name, term);
  copies_.Remove(name);
  if (!is_installed) counts_.Add(What::kSnapshotFailed);
  if (from == nullptr) return;
  AtMember(*from, Delay(), [peer, index, next, is_installed](Member& self) {
    self.node().SnapshotStatus(peer, is_installed ? next - 1 : index, is_installed);
    self.Turn(/*has_ticked=*/false);
  });
}

bool Cluster::InstallAt(Member& receiver, const std::string& name, Term term) {
  constexpr uint64_t kNever = uint64_t{1} << 40;
  // Some operation of the disk is the last one before the power goes.
  const bool is_cut = !has_ended_ && Chance(15) && !IsStillNeeded(receiver);
  receiver.disk().rows().Copy(copies_, name, receiver.fresh_path());
  if (is_cut) receiver.disk().fs().PowerOffAfter(random_.Below(12));
  const absl::StatusOr<server::InstallOutcome> outcome = receiver.Install(term);
  if (!outcome.ok()) {
    const bool is_full =
        slots_[receiver.position()].is_disk_full && absl::IsResourceExhausted(outcome.status());
    if (!is_cut && !is_full) Violated(receiver, outcome.status().ToString());
    counts_.Add(What::kInstallCut);
    Note(receiver.position(), "is cut short while it takes a snapshot");
    Kill(receiver, /*is_power_cut=*/true);
    return false;
  }
  receiver.disk().fs().PowerOffAfter(kNever);
  counts_.Add(outcome->is_installed ? What::kSnapshotInstalled : What::kSnapshotNotWanted);
  Note(receiver.position(), outcome->is_installed ? "installs" : "does not want",
       outcome->id.index.value(), outcome->id.term.value());
  Follow(receiver);
  return true;
}

Index Cluster::PinnedFrom(size_t sender) const {
  Index pinned = wal::kKeepNothing;
  for (const Flight& flight : flights_) {
    if (flight.sender == sender) pinned = std::min(pinned, flight.next);
  }
  return pinned;
}

}  // namespace cairn::sim
