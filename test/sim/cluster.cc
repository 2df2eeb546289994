#include "test/sim/cluster.h"

#include <fmt/format.h>

#include <algorithm>

#include "raft/quorum.h"
#include "server/membership.h"
#include "server/url.h"
#include "test/sim/settling.h"

namespace cairn::sim {
namespace {

constexpr size_t kToldMax = 80;

std::string PeerUrl(size_t position) { return fmt::format("http://m{}:2380", position); }

server::Config BaseConfig(size_t position) {
  server::Config config;
  config.name = fmt::format("n{}", position);
  config.initial_cluster_token = "sim";
  config.max_learners = kLearnersMax;
  return config;
}

}  // namespace

Cluster::Cluster(uint64_t seed, bool tells_story)
    : random_(seed),
      temper_(DrawTemper(random_)),
      tells_story_(tells_story),
      cut_spares_under_way_(random_.Below(2) == 0),
      clients_(*this, temper_) {
  AddInitialMembers();
}

Cluster::~Cluster() = default;

void Cluster::AddInitialMembers() {
  slots_.reserve(64);
  for (size_t i = 0; i < temper_.members; ++i) {
    server::Config config = BaseConfig(i);
    config.initial_advertise_peer_urls = {*server::ParseUrl(PeerUrl(i))};
    for (size_t other = 0; other < temper_.members; ++other) {
      config.initial_cluster.push_back({fmt::format("n{}", other), {PeerUrl(other)}});
    }
    Slot& slot = slots_.emplace_back();
    slot.member = std::make_unique<Member>(
        world(), i, std::move(config), temper_,
        [](const std::string&) { return absl::UnavailableError("nobody is asked"); });
    positions_[server::DeriveMemberId({PeerUrl(i)}, "sim")] = i;
    if (temper_.clocks == Clocks::kDrifting) {
      slot.speed_permille = 950 + static_cast<int64_t>(random_.Below(101));
    }
    Start(i);
  }
}

void Cluster::AddJoiner(MemberId id) {
  const size_t position = slots_.size();
  if (slots_.capacity() == position) return Report("too many members");
  slots_.emplace_back();
  positions_[id] = position;
  StartLater(position, static_cast<Microseconds>(random_.Below(500 * kMillisecond)));
}

namespace {

// The flags that `etcdctl member add` prints for `self`.
server::Config JoinerConfig(size_t position, MemberId self, const server::Members& members) {
  server::Config config = BaseConfig(position);
  config.joins_existing = true;
  for (const server::Member& member : members) {
    if (member.id == self) {
      config.initial_advertise_peer_urls = {*server::ParseUrl(member.peer_urls.front())};
    }
    config.initial_cluster.push_back(
        {member.id == self ? config.name : fmt::format("x{:x}", member.id.value()),
         member.peer_urls});
  }
  return config;
}

}  // namespace

void Cluster::StartLater(size_t position, Microseconds delay) {
  if (std::exchange(slots_[position].is_starting, true)) return;
  scheduler_.After(delay, [this, position] {
    slots_[position].is_starting = false;
    return Start(position);
  });
}

bool Cluster::Start(size_t position) {
  Slot& slot = slots_[position];
  if (slot.is_gone || (slot.member != nullptr && slot.member->is_up())) return false;
  if (slot.member == nullptr) {
    const auto self = std::ranges::find_if(
        positions_, [&](const auto& known) { return known.second == position; });
    Member* const source = RandomUp();
    const bool is_known =
        source != nullptr && server::FindMember(source->membership().members, self->first);
    if (!is_known) {
      StartLater(position, 500 * kMillisecond);
      return false;
    }
    const server::Members members = source->membership().members;
    const server::ExistingCluster existing{ClusterId(source->recovered().identity.cluster),
                                           members};
    slot.member =
        std::make_unique<Member>(world(), position, JoinerConfig(position, self->first, members),
                                 temper_, [existing](const std::string&) { return existing; });
    counts_.Add(What::kJoined);
  }
  Member& member = *slot.member;
  if (member.incarnation() > 0) counts_.Add(What::kReplay);
  const absl::Status status = member.Start(random_.Next());
  if (!status.ok()) {
    RefusedStart(position, status);
    return true;
  }
  Note(position, "starts", member.recovered().last.index.value(),
       member.store().applied().index.value());
  if (member.recovered().torn_tail_cut) counts_.Add(What::kTornTail);
  slot.is_paused = false;
  slot.deferred.clear();
  slot.is_syncing = slot.is_applying = slot.is_reading_log = false;
  slot.is_serving_watches = slot.is_reading_history = false;
  ScheduleTick(member);
  ScheduleFlush(member);
  ScheduleRemoval(member);
  Follow(member);
  return true;
}

void Cluster::RefusedStart(size_t position, const absl::Status& status) {
  Slot& slot = slots_[position];
  Member& member = *slot.member;
  if (absl::IsFailedPrecondition(status) &&
      status.message().find("permanently removed") != std::string_view::npos) {
    Note(position, "may not come back");
    slot.is_gone = true;
    return;
  }
  if (slot.is_disk_full && absl::IsResourceExhausted(status)) {
    Note(position, "cannot start: its disk is full");
    member.Crash({.seed = random_.Next()});
    StartLater(position, kSecond);
    return;
  }
  if (absl::IsDataLoss(status) && member.has_flip()) {
    Note(position, "refuses a log with a wrong bit, which is put right");
    counts_.Add(What::kFlipRefused);
    member.TakeBackFlip();
    StartLater(position, 100 * kMillisecond);
    return;
  }
  Report(fmt::format("member {} does not start: {}", position, status.ToString()));
}

void Cluster::Kill(Member& member, bool is_power_cut, bool flips_bit) {
  if (IsStillNeeded(member)) return;
  Slot& slot = slots_[member.position()];
  Note(member.position(), is_power_cut ? "loses power" : "is killed");
  counts_.Add(is_power_cut ? What::kPowerCut : What::kKilled);
  clients_.SawCrash(member);
  member.Crash({.seed = random_.Next(), .is_power_cut = is_power_cut, .flips_bit = flips_bit});
  if (member.has_flip()) counts_.Add(What::kBitFlipped);
  slot.deferred.clear();
  slot.is_paused = false;
  const Microseconds longest = has_ended_ ? 100 * kMillisecond : 3 * kSecond;
  StartLater(
      member.position(),
      20 * kMillisecond + static_cast<Microseconds>(random_.Below(static_cast<uint64_t>(longest))));
}

bool Cluster::Must(Member& member, const absl::Status& status) {
  if (status.ok()) return true;
  if (!slots_[member.position()].is_disk_full || !absl::IsResourceExhausted(status)) {
    Report(fmt::format("member {} fails: {}", member.position(), status.ToString()));
  }
  Kill(member, /*is_power_cut=*/false);
  return false;
}

// Whether a voter among the others has applied the removal, durably.
bool Cluster::IsRemovalKnown(MemberId id) const {
  return std::ranges::any_of(slots_, [&](const Slot& slot) {
    const Member* const other = slot.member.get();
    if (other == nullptr || !other->is_up() || other->id() == id) return false;
    const std::map<MemberId, Index>& removed = other->membership().removed;
    const auto found = removed.find(id);
    return found != removed.end() && other->flushed() >= found->second &&
           raft::IsVoter(other->membership().configuration, other->id());
  });
}

// A removed member ends by itself, a moment after it has heard of it; but not before another one
// knows for good: nobody else could tell the rest that the removal is committed (README.md).
void Cluster::Leave(Member& member) {
  AtMember(member, kSecond, [this](Member& self) {
    Slot& slot = slots_[self.position()];
    if (slot.is_gone) return;
    if (!IsRemovalKnown(self.id())) return Leave(self);
    Note(self.position(), "has been removed and ends");
    slot.is_gone = true;
    clients_.SawCrash(self);
    self.Crash({.seed = random_.Next()});
  });
}

void Cluster::ScheduleOperation() {
  const auto longest = static_cast<uint64_t>(2 * temper_.operation_interval);
  scheduler_.After(static_cast<Microseconds>(random_.Below(longest)), [this] {
    if (has_ended_) return false;
    clients_.Operate();
    ScheduleOperation();
    return true;
  });
}

Verdict Cluster::Run(int steps) {
  ScheduleOperation();
  ScheduleFault();
  while (step_ < steps && finding_.empty()) {
    if (scheduler_.RunNext()) ++step_;
  }
  if (!finding_.empty()) return Verdict::kWrong;
  return Settling(*this).Run();
}

Member* Cluster::RandomUp() {
  std::vector<Member*> up;
  for (const Slot& slot : slots_) {
    if (slot.member != nullptr && slot.member->is_up()) up.push_back(slot.member.get());
  }
  return up.empty() ? nullptr : up[random_.Below(up.size())];
}

Member* Cluster::RandomPrimary() {
  std::vector<Member*> primaries;
  for (const Slot& slot : slots_) {
    Member* const member = slot.member.get();
    if (member != nullptr && member->is_up() && member->leases().is_primary()) {
      primaries.push_back(member);
    }
  }
  return primaries.empty() ? nullptr : primaries[random_.Below(primaries.size())];
}

Member* Cluster::FindUp(MemberId id) {
  const auto found = positions_.find(id);
  if (found == positions_.end()) return nullptr;
  Member* const member = slots_[found->second].member.get();
  return member != nullptr && member->is_up() ? member : nullptr;
}

Member* Cluster::UpAt(size_t position, uint64_t incarnation) {
  Member* const member = slots_[position].member.get();
  return member != nullptr && member->is_up() && member->incarnation() == incarnation ? member
                                                                                      : nullptr;
}

Member* Cluster::Leader() {
  Member* leader = nullptr;
  for (const Slot& slot : slots_) {
    Member* const member = slot.member.get();
    if (member == nullptr || !member->is_up() || !member->node().raft().is_leader()) continue;
    if (leader == nullptr || leader->node().raft().term() < member->node().raft().term()) {
      leader = member;
    }
  }
  return leader;
}

size_t Cluster::members_alive() const {
  return static_cast<size_t>(
      std::ranges::count_if(slots_, [](const Slot& slot) { return !slot.is_gone; }));
}

void Cluster::Report(std::string finding) {
  if (!finding_.empty()) return;
  finding_ = fmt::format("step {}: {}", step_, finding);
  if (tells_story_) fmt::print("{}\n", finding_);
}

void Cluster::Note(size_t position, std::string_view what, uint64_t a, uint64_t b) {
  trace_hash_ = trace_hash_ * 1'000'003 + static_cast<uint64_t>(scheduler_.now()) * 31 +
                position * 7 + a * 3 + b;
  Told& told = told_.emplace_back(Told{step_, scheduler_.now(), position, std::string(what), a, b});
  if (tells_story_) {
    fmt::print("{} {}us: member {} {} {} {}\n", told.step, told.at, position, what, a, b);
  }
  if (told_.size() > kToldMax) told_.pop_front();
}

std::vector<std::string> Cluster::last_events() const {
  std::vector<std::string> lines;
  for (const Told& told : told_) {
    std::string line = fmt::format("{}, {}.{:06} s: member {} {}", told.step, told.at / kSecond,
                                   told.at % kSecond, told.position, told.what);
    if (told.a != 0 || told.b != 0) line += fmt::format(" ({}, {})", told.a, told.b);
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace cairn::sim
