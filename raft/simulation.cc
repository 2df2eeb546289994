#include "raft/simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "raft/conf_change.h"
#include "raft/quorum.h"

namespace cairn::raft {
namespace {

// Stopped, slow, as the others, fast. A clock that stops is a process that was suspended.
constexpr std::array<uint64_t, 5> kClockPercents = {0, 20, 100, 100, 200};

Payload Text(std::string text) { return std::make_shared<const std::string>(std::move(text)); }

}  // namespace

Simulation::Simulation(uint64_t seed, bool keeps_story) : random_(seed) {
  Configuration initial;
  const uint64_t voters = 1 + random_.Below(5);
  for (uint64_t id = 1; id <= voters; ++id) initial.voters.push_back(MemberId(id));
  if (random_.Below(3) == 0) initial.learners.push_back(MemberId(voters + 1));
  members_max_ = voters + 2;
  TestCluster::Options options;
  options.seed = seed;
  options.core.election_timeout_ticks = 4 + static_cast<uint32_t>(random_.Below(7));
  options.core.heartbeat_ticks =
      1 + static_cast<uint32_t>(random_.Below(options.core.election_timeout_ticks / 2));
  options.core.log_stall_ticks = 2 * options.core.election_timeout_ticks;
  options.cut_spares_under_way = random_.Below(2) == 0;
  // So small that windows fill, tails are cut and the log is read back.
  options.core.append_bytes_max = 40;
  options.core.inflight_bytes_max = 400;
  options.core.tail_bytes_max = 200 + random_.Below(3000);
  options.core.uncommitted_bytes_max = 4000;
  cluster_ = std::make_unique<TestCluster>(options, initial);
  cluster_->keeps_story = keeps_story;
  temper_.chaos = 1 + random_.Below(4);
  temper_.heal_percent = 1 + random_.Below(random_.Below(2) == 0 ? 5 : 60);
  temper_.ticks = 100 + random_.Below(200);
  temper_.has_odd_clocks = random_.Below(3) > 0;
}

std::string Simulation::Run() {
  for (int step = 0; step < kSteps; ++step) {
    Step();
    if (!cluster_->violation().empty()) {
      return fmt::format("step {}: {}", step, cluster_->violation());
    }
  }
  return Settle();
}

MemberId Simulation::RandomMember() {
  const auto ids = cluster_->ids();
  return ids[random_.Below(ids.size())];
}

void Simulation::Step() {
  TestMember& member = cluster_->member(RandomMember());
  if (!member.is_up()) {
    if (random_.Below(20) == 0) member.Restart(random_.Next(), random_.Below(10));
    return;
  }
  const uint64_t dice = random_.Below(1000);
  if (dice < temper_.ticks) {
    Tick(member);
  } else if (dice < 500) {
    DeliverSome();
  } else if (dice < 660) {
    member.CompleteWrites(1 + random_.Below(3));
  } else if (dice < 780) {
    if (!stalled_appliers_.contains(member.id())) member.Apply(1 + random_.Below(5));
  } else if (dice < 830) {
    ProposeAt(member);
  } else if (dice < 860) {
    cluster_->Read(member.id(), ++context_);
  } else if (dice < 900) {
    member.AnswerLogRead(random_.Below(10) == 0);
  } else if (dice < 930) {
    cluster_->HandleSnapshot(random_.Below(4) == 0);
  } else if (dice < 945) {
    member.Flush();
  } else if (dice < 955) {
    member.Compact(Index(random_.Below(member.flushed().value() + 1)));
  } else {
    Disturb(member);
  }
  if (member.is_up() && random_.Below(3) > 0) member.Drain();
}

void Simulation::Tick(TestMember& member) {
  const auto clock = clock_percent_.find(member.id());
  const uint64_t percent = clock == clock_percent_.end() ? 100 : clock->second;
  uint64_t ticks = percent / 100;
  if (random_.Below(100) < percent % 100) ++ticks;
  for (; ticks > 0; --ticks) member.Input([](Core& core) { core.Tick(); });
}

void Simulation::DeliverSome() {
  auto& network = cluster_->network();
  for (uint64_t count = 1 + random_.Below(12); count > 0 && !network.empty(); --count) {
    const size_t position = random_.Below(4) < temper_.chaos ? random_.Below(network.size()) : 0;
    const uint64_t fate = random_.Below(100);
    if (fate < temper_.chaos) {
      ++faults_[Fault::kLost];
      network.erase(network.begin() + static_cast<std::ptrdiff_t>(position));
    } else {
      const bool is_repeated = fate < 2 * temper_.chaos;
      if (is_repeated) ++faults_[Fault::kRepeated];
      cluster_->Deliver(position, is_repeated);
    }
  }
  // A network does not remember for ever.
  while (network.size() > 300) network.pop_front();
}

void Simulation::ProposeAt(TestMember& member) {
  std::vector<Proposal> proposals;
  for (uint64_t count = 1 + random_.Below(4); count > 0; --count) {
    proposals.push_back({EntryKind::kCommand, Text(fmt::format("command {}", ++commands_))});
  }
  member.Input([&](Core& core) { core.Propose(std::move(proposals)); });
}

void Simulation::Isolate(MemberId id, MemberId companion) {
  ++faults_[Fault::kIsolation];
  for (const MemberId other : cluster_->ids()) {
    if (other == id || other == companion) continue;
    for (const MemberId inside : {id, companion}) {
      cluster_->Block(inside, other);
      cluster_->Block(other, inside);
    }
  }
}

void Simulation::Delay(MemberId id) {
  auto& network = cluster_->network();
  const auto late = std::stable_partition(network.begin(), network.end(),
                                          [&](const Message& message) { return message.to != id; });
  if (late != network.end()) ++faults_[Fault::kLate];
  late_.insert(late_.end(), late, network.end());
  network.erase(late, network.end());
}

void Simulation::HandOverLate() {
  auto& network = cluster_->network();
  network.insert(network.begin(), late_.begin(), late_.end());
  late_.clear();
}

void Simulation::Heal() {
  HandOverLate();
  cluster_->Heal();
  clock_percent_.clear();
  stalled_appliers_.clear();
  for (const MemberId id : cluster_->ids()) cluster_->member(id).set_disk_stalled(false);
}

void Simulation::CutPower() {
  ++faults_[Fault::kPowerCut];
  for (const MemberId id : cluster_->ids()) {
    TestMember& member = cluster_->member(id);
    if (member.is_up()) member.Crash(random_.Below(member.pending_writes() + 1));
  }
  // The machine rooms do not come back together.
  for (const MemberId id : cluster_->ids()) {
    if (random_.Below(3) > 0) cluster_->member(id).Restart(random_.Next(), random_.Below(10));
  }
}

TestMember& Simulation::Victim(TestMember& any) {
  const MemberId leader = cluster_->leader();
  return leader == MemberId(0) || random_.Below(2) == 0 ? any : cluster_->member(leader);
}

void Simulation::Disturb(TestMember& any) {
  TestMember& member = Victim(any);
  const uint64_t dice = random_.Below(45);
  const uint64_t chaos = temper_.chaos;
  if (dice < chaos) {
    ++faults_[Fault::kCrash];
    member.Crash(random_.Below(member.pending_writes() + 1));
  } else if (dice < 2 * chaos) {
    ++faults_[Fault::kCut];
    cluster_->Block(member.id(), RandomMember());
  } else if (dice < 3 * chaos) {
    Isolate(member.id(), random_.Below(2) == 0 ? member.id() : RandomMember());
  } else if (dice < 12) {
    return;
  } else if (dice < 27) {
    if (random_.Below(100) < temper_.heal_percent) Heal();
  } else if (dice == 27) {
    if (random_.Below(5) < chaos) CutPower();
  } else if (dice == 28 && random_.Below(2) == 0) {
    ++faults_[Fault::kStalledApplier];
    stalled_appliers_.insert(RandomMember());
  } else if (dice == 28) {
    ++faults_[Fault::kStalledDisk];
    member.set_disk_stalled(true);
  } else if (dice < 31) {
    if (!temper_.has_odd_clocks) return;
    ++faults_[Fault::kClock];
    clock_percent_[member.id()] = kClockPercents.at(random_.Below(kClockPercents.size()));
    // A process that is suspended while the others go on is what makes an old leader.
    if (random_.Below(2) == 0) {
      Delay(member.id());
      Isolate(member.id(), member.id());
    }
  } else if (dice == 31) {
    if (random_.Below(4) == 0) HandOverLate();
  } else if (dice < 35) {
    const MemberId target = RandomMember();
    member.Input([&](Core& core) { core.TransferLeadership(target); });
  } else if (dice < 38) {
    const MemberId peer = RandomMember();
    member.Input([&](Core& core) { core.ReportUnreachable(peer); });
  } else {
    ChangeMembership(member);
  }
}

void Simulation::ChangeMembership(TestMember& member) {
  if (!member.core().is_leader()) return;
  const Configuration& now = member.core().configuration();
  const MemberId id(1 + random_.Below(members_max_));
  const MemberChange change{static_cast<MemberChangeKind>(random_.Below(3)), id};
  const MemberChange other{MemberChangeKind::kAddVoter, RandomMember()};
  auto next = IsJoint(now)            ? LeaveJoint(now)
              : random_.Below(2) == 0 ? ChangeSimply(now, {&change, 1})
                                      : EnterJoint(now, std::vector{change, other});
  if (!next.ok()) return;
  if (!cluster_->has(id)) cluster_->AddMember(id, Configuration{});
  const Proposal proposal{EntryKind::kConfiguration, Text(EncodeConfiguration(*next))};
  member.Input([&](Core& core) { core.Propose({proposal}); });
}

// The faults end: a leader must come, and everybody in the configuration must get everything.
std::string Simulation::Settle() {
  Heal();
  for (const MemberId id : cluster_->ids()) {
    if (!cluster_->member(id).is_up()) cluster_->member(id).Restart(random_.Next(), 0);
  }
  cluster_->Stabilize();
  for (int round = 0; round < 200; ++round) {
    for (const MemberId id : cluster_->ids()) {
      cluster_->member(id).Input([](Core& core) { core.Tick(); });
      cluster_->Stabilize();
    }
    if (!cluster_->violation().empty()) return "settling: " + cluster_->violation();
    if (round > 60 && IsSettled()) return {};
  }
  return "stuck: no common end of the log after 200 rounds" + DescribeMembers();
}

bool Simulation::IsSettled() {
  const MemberId leader = cluster_->leader();
  if (leader == MemberId(0)) return false;
  TestMember& first = cluster_->member(leader);
  if (!first.core().HasCommittedInTerm() || !first.core().IsLeadershipConfirmed()) return false;
  bool is_settled = true;
  ForEachMember(first.core().configuration(), [&](MemberId id) {
    TestMember& member = cluster_->member(id);
    is_settled = is_settled && member.state().size() == first.core().last().index.value() &&
                 member.core().leader() == leader;
  });
  return is_settled;
}

std::string Simulation::DescribeMembers() {
  std::string text;
  for (const MemberId id : cluster_->ids()) {
    const CoreStatus status = cluster_->member(id).core().Status();
    text += fmt::format("\n  {}: {} of {} at term {}, commit {}, last {}/{}, applied {}; {}", id,
                        RoleName(status.role), status.leader, status.term, status.commit,
                        status.last.term, status.last.index, status.applied,
                        EncodeConfiguration(status.configuration));
    for (const PeerStatus& peer : status.peers) {
      text += fmt::format("\n    {}: {} match {} next {}", peer.id, ProgressStateName(peer.state),
                          peer.match, peer.next);
    }
  }
  return text;
}

}  // namespace cairn::raft
