// Whole groups under random faults, from seeds: the invariants of invariants.h after each step,
// and progress once the faults end. test/sim does the same with the real log and state machine.
//
// More or other seeds: CAIRN_RAFT_SEEDS=20000 CAIRN_RAFT_FIRST_SEED=1000.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "raft/conf_change.h"
#include "raft/quorum.h"
#include "raft/random.h"
#include "raft/test_cluster.h"

namespace cairn::raft {
namespace {

constexpr int kSteps = 3000;

Payload Text(std::string text) { return std::make_shared<const std::string>(std::move(text)); }

uint64_t FromEnvironment(const char* name, uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 10);
}

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : random_(seed) {
    Configuration initial;
    const uint64_t voters = 1 + random_.Below(5);
    for (uint64_t id = 1; id <= voters; ++id) initial.voters.push_back(MemberId(id));
    if (random_.Below(3) == 0) initial.learners.push_back(MemberId(voters + 1));
    members_max_ = voters + 2;
    TestCluster::Options options;
    options.seed = seed;
    options.core.election_timeout_ticks = 10;
    options.core.heartbeat_ticks = 1 + static_cast<uint32_t>(random_.Below(3));
    // So small that windows fill, tails are cut and the log is read back.
    options.core.append_bytes_max = 40;
    options.core.inflight_bytes_max = 400;
    options.core.tail_bytes_max = 200 + random_.Below(3000);
    options.core.uncommitted_bytes_max = 4000;
    cluster_ = std::make_unique<TestCluster>(options, initial);
    faults_ = random_.Below(4) + 1;
  }

  std::string Run() {
    for (int step = 0; step < kSteps; ++step) {
      Step();
      if (!cluster_->violation().empty()) {
        return fmt::format("step {}: {}", step, cluster_->violation());
      }
    }
    return Settle();
  }

  const TestCluster& cluster() const { return *cluster_; }

 private:
  MemberId RandomMember() {
    const auto ids = cluster_->ids();
    return ids[random_.Below(ids.size())];
  }

  void Step() {
    TestMember& member = cluster_->member(RandomMember());
    if (!member.is_up()) {
      if (random_.Below(20) == 0) member.Restart(random_.Next(), random_.Below(10));
      return;
    }
    const uint64_t dice = random_.Below(1000);
    if (dice < 250) {
      DeliverSome();
    } else if (dice < 400) {
      member.Input([](Core& core) { core.Tick(); });
    } else if (dice < 600) {
      member.CompleteWrites(1 + random_.Below(3));
    } else if (dice < 750) {
      member.Apply(1 + random_.Below(5));
    } else if (dice < 800) {
      ProposeAt(member);
    } else if (dice < 830) {
      cluster_->Read(member.id(), ++context_);
    } else if (dice < 880) {
      member.AnswerLogRead(random_.Below(10) == 0);
    } else if (dice < 920) {
      cluster_->HandleSnapshot(random_.Below(4) == 0);
    } else if (dice < 940) {
      member.Flush();
    } else if (dice < 950) {
      member.Compact(Index(random_.Below(member.flushed().value() + 1)));
    } else {
      Disturb(member, dice - 950);
    }
    if (member.is_up() && random_.Below(3) > 0) member.Drain();
  }

  void DeliverSome() {
    auto& network = cluster_->network();
    for (uint64_t count = 1 + random_.Below(8); count > 0 && !network.empty(); --count) {
      const size_t position = random_.Below(4) < faults_ ? random_.Below(network.size()) : 0;
      const uint64_t fate = random_.Below(100);
      if (fate < faults_) {
        network.erase(network.begin() + static_cast<std::ptrdiff_t>(position));
      } else {
        cluster_->Deliver(position, fate < 2 * faults_);
      }
    }
    // A network does not remember for ever.
    while (network.size() > 300) network.pop_front();
  }

  void ProposeAt(TestMember& member) {
    std::vector<Proposal> proposals;
    for (uint64_t count = 1 + random_.Below(4); count > 0; --count) {
      proposals.push_back({EntryKind::kCommand, Text(fmt::format("command {}", ++commands_))});
    }
    member.Input([&](Core& core) { core.Propose(std::move(proposals)); });
  }

  void Disturb(TestMember& member, uint64_t dice) {
    if (dice < faults_) {
      member.Crash(random_.Below(member.pending_writes() + 1));
    } else if (dice < 2 * faults_) {
      cluster_->Block(member.id(), RandomMember());
    } else if (dice < 3 * faults_) {
      for (const MemberId other : cluster_->ids()) {
        cluster_->Block(member.id(), other);
        cluster_->Block(other, member.id());
      }
    } else if (dice < 20) {
      cluster_->Heal();
    } else if (dice < 24) {
      const MemberId target = RandomMember();
      member.Input([&](Core& core) { core.TransferLeadership(target); });
    } else if (dice < 28) {
      const MemberId peer = RandomMember();
      member.Input([&](Core& core) { core.ReportUnreachable(peer); });
    } else if (dice < 40) {
      ChangeMembership(member);
    }
  }

  void ChangeMembership(TestMember& member) {
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
  std::string Settle() {
    cluster_->Heal();
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

  std::string DescribeMembers() {
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

  bool IsSettled() {
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

  Random random_;
  std::unique_ptr<TestCluster> cluster_;
  uint64_t faults_ = 0;
  uint64_t members_max_ = 0;
  uint64_t commands_ = 0;
  uint64_t context_ = 0;
};

TEST(RaftSimulation, KeepsItsInvariantsAndRecovers) {
  const uint64_t first = FromEnvironment("CAIRN_RAFT_FIRST_SEED", 1);
  const uint64_t seeds = FromEnvironment("CAIRN_RAFT_SEEDS", 300);
  std::map<TraceKind, uint64_t> traced;
  uint64_t applied = 0;
  uint64_t reads = 0;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    Simulation simulation(seed);
    const std::string violation = simulation.Run();
    ASSERT_EQ(violation, "") << "seed " << seed;
    for (const auto& [kind, count] : simulation.cluster().traced) traced[kind] += count;
    applied += simulation.cluster().checker.committed().value();
    reads += simulation.cluster().reads_answered.size();
  }
  fmt::print("{} seeds: {} entries committed, {} reads answered\n", seeds, applied, reads);
  for (const auto& [kind, count] : traced) fmt::print("  event {}: {}\n", int(kind), count);
  if (seeds < 100) return;
  // A run that never meets a fault proves nothing.
  for (int kind = 0; kind <= static_cast<int>(TraceKind::kSnapshotInstalled); ++kind) {
    EXPECT_GT(traced[static_cast<TraceKind>(kind)], 0u) << "event " << kind << " never happened";
  }
  EXPECT_GT(reads, seeds * 10);
  EXPECT_GT(applied, seeds * 20);
}

}  // namespace
}  // namespace cairn::raft
