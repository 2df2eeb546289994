#include "test/sim/settling.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "raft/quorum.h"

namespace cairn::sim {
namespace {

// Enough for a lease of 6 s after many elections that went wrong.
constexpr Microseconds kPatience = 60 * kSecond;
// Events between two looks.
constexpr int kLookEvents = 20;

}  // namespace

Verdict Settling::Run() {
  Cluster& cluster = cluster_;
  cluster.has_ended_ = true;
  cluster.Note(0, "sees the faults end");
  cluster.HealAll();
  const bool restarts = cluster.Chance(25);
  awaits_leases_ = cluster.temper().awaits_expiry && !restarts;
  if (!Settle()) return cluster.finding().starts_with("stuck") ? Verdict::kStuck : Verdict::kWrong;
  if (restarts) {
    for (Cluster::Slot& slot : cluster.slots_) {
      if (slot.member != nullptr && slot.member->is_up()) cluster.Kill(*slot.member, true);
    }
    if (!Settle()) {
      return cluster.finding().starts_with("stuck") ? Verdict::kStuck : Verdict::kWrong;
    }
  }
  Compare();
  return cluster.finding().empty() ? Verdict::kGood : Verdict::kWrong;
}

bool Settling::Settle() {
  const Microseconds end = cluster_.now() + kPatience;
  for (int events = 0; cluster_.now() < end && cluster_.scheduler_.size() > 0; ++events) {
    if (!cluster_.scheduler_.RunNext()) continue;
    if (!cluster_.finding().empty()) return false;
    if (events % kLookEvents != 0) continue;
    StartAll();
    cluster_.clients_.Refresh();
    if (IsSettled()) return true;
  }
  cluster_.finding_ = "stuck: the members do not come to agree" + Describe();
  return false;
}

void Settling::StartAll() {
  for (size_t i = 0; i < cluster_.slots_.size(); ++i) {
    const Cluster::Slot& slot = cluster_.slots_[i];
    const bool is_up = slot.member != nullptr && slot.member->is_up();
    if (!is_up && !slot.is_gone) cluster_.StartLater(i, 10 * kMillisecond);
    // One that nobody talks to any more hears why when it connects.
    if (is_up && cluster_.IsRemovalKnown(slot.member->id())) cluster_.Leave(*slot.member);
  }
}

// Those whom the leader's configuration names; empty if one of them is not up.
std::vector<Member*> Settling::MembersOf(Member& leader) {
  std::vector<Member*> members;
  for (const server::Member& known : leader.membership().members) {
    Member* const member = cluster_.FindUp(known.id);
    if (member == nullptr) return {};
    members.push_back(member);
  }
  return members;
}

bool Settling::IsSettled() {
  Member* const leader = cluster_.Leader();
  if (leader == nullptr) return false;
  const raft::Core& core = leader->node().raft();
  if (!core.HasCommittedInTerm() || !core.IsLeadershipConfirmed()) return false;
  if (!leader->membership().configuration.outgoing.empty()) return false;
  const std::vector<Member*> members = MembersOf(*leader);
  if (members.empty()) return false;
  for (Member* member : members) {
    const raft::Core& other = member->node().raft();
    if (!member->is_idle() || other.applied() != core.last().index ||
        other.leader() != leader->id()) {
      return false;
    }
  }
  if (awaits_leases_ && !leader->applier().leases().All().empty()) return false;
  return cluster_.clients_.AreWatchersDone();
}

bool Settling::RemoveAll(Member& member) {
  while (true) {
    const absl::StatusOr<bool> removed = member.RemoveSome(1000);
    if (!cluster_.Must(member, removed.status())) return false;
    if (!*removed) return true;
  }
}

void Settling::Compare() {
  Member& first = *cluster_.Leader();
  if (first.store().published().revision < cluster_.clients_.acknowledged()) {
    cluster_.Report(fmt::format("revision {} was acknowledged, but the state is at {}",
                                cluster_.clients_.acknowledged(),
                                first.store().published().revision));
  }
  if (first.store().published().revision != cluster_.history().last()) {
    cluster_.Report("revisions went back");
  }
  for (Member* member : MembersOf(first)) {
    if (cluster_.finding().empty()) CompareWith(first, *member);
  }
}

void Settling::CompareWith(Member& first, Member& other) {
  if (!RemoveAll(first) || !RemoveAll(other)) return;
  const auto hash = first.store().HashKv(mvcc::kCurrent);
  const auto other_hash = other.store().HashKv(mvcc::kCurrent);
  CAIRN_CHECK(hash.ok() && other_hash.ok());
  const auto live = first.store().Hash();
  const auto other_live = other.store().Hash();
  CAIRN_CHECK(live.ok() && other_live.ok());
  if (hash->hash != other_hash->hash || *live != *other_live ||
      first.store().published() != other.store().published()) {
    cluster_.Violated(other, fmt::format("its state at {} differs from member {}'s at {}",
                                         other.store().published().revision, first.position(),
                                         first.store().published().revision));
  }
  const server::Membership& members = first.membership();
  const server::Membership& other_members = other.membership();
  if (members.members != other_members.members ||
      members.configuration != other_members.configuration ||
      members.removed != other_members.removed) {
    cluster_.Violated(other, "it knows other members");
  }
  const auto sorted = [](std::vector<lease::LeaseUpdate> leases) {
    std::ranges::sort(leases, {}, &lease::LeaseUpdate::id);
    return leases;
  };
  if (sorted(first.applier().leases().All()) != sorted(other.applier().leases().All())) {
    cluster_.Violated(other, "it knows other leases");
  }
}

std::string Settling::Describe() {
  std::string text;
  for (size_t i = 0; i < cluster_.slots_.size(); ++i) {
    Member* const member = cluster_.slots_[i].member.get();
    if (member == nullptr || !member->is_up()) {
      text += fmt::format("\n  {}: {}", i, cluster_.slots_[i].is_gone ? "gone" : "down");
      continue;
    }
    const raft::CoreStatus status = member->node().raft().Status();
    text += fmt::format(
        "\n  {}: {} of term {}, follows {:x}, commit {}, last {}/{}, applied {}, {} voters, {} "
        "leases",
        i, raft::RoleName(status.role), status.term, status.leader, status.commit, status.last.term,
        status.last.index, status.applied, status.configuration.voters.size(),
        member->applier().leases().All().size());
    for (const raft::PeerStatus& peer : status.peers) {
      text += fmt::format("\n    {:x}: {} match {} next {}", peer.id,
                          raft::ProgressStateName(peer.state), peer.match, peer.next);
    }
  }
  if (!cluster_.clients_.AreWatchersDone()) text += "\n  a watcher waits";
  return text;
}

}  // namespace cairn::sim
