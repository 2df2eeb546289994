// One group under random faults, decided by one seed: the invariants after each step, and progress
// once the faults end. For the tests of raft/ (simulation_test.cc, mutant_test.cc).
//
// A step is one event at one member: messages delivered (lost, repeated, reordered), a tick, writes
// that become durable, entries applied, a proposal, a read, a crash, a change of the configuration.
// Nothing is fair but the seed: clocks run at different speeds or stand still, disks stall, links
// are cut one way or both, the power of all members fails at once. test/sim does the same with the
// real log and state machine.
#ifndef CAIRN_RAFT_SIMULATION_H_
#define CAIRN_RAFT_SIMULATION_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/random.h"
#include "raft/test_cluster.h"

namespace cairn::raft {

class Simulation {
 public:
  static constexpr int kSteps = 3000;

  // With `keeps_story`, cluster().story tells all that happened: for a second run of a seed that
  // failed.
  explicit Simulation(uint64_t seed, bool keeps_story = false);

  // The first violation with its step, or an empty text. A "stuck" one starts with that word.
  std::string Run();

  const TestCluster& cluster() const { return *cluster_; }

  enum class Fault : uint8_t {
    kLost,
    kRepeated,
    kCrash,
    kPowerCut,
    kCut,
    kIsolation,
    kClock,
    kStalledDisk,
    kStalledApplier,
    kLate,
  };
  const std::map<Fault, uint64_t>& faults() const { return faults_; }

 private:
  // How a seed behaves. Some are calm and some are not: the mean of all would find less.
  struct Temper {
    uint64_t chaos = 1;          // 1..4: how often messages and members suffer.
    uint64_t heal_percent = 10;  // Of the chances to heal; few, and a new leader has time to go on.
    uint64_t ticks = 150;        // In 1,000 steps.
    bool has_odd_clocks = true;  // Else all clocks run alike.
  };

  MemberId RandomMember();
  void Step();
  void Tick(TestMember& member);
  void DeliverSome();
  void ProposeAt(TestMember& member);
  void Disturb(TestMember& any);
  // `any`, or as often the leader, whose troubles are everyone's.
  TestMember& Victim(TestMember& any);
  void CutPower();
  // Cuts the two off from all others; they may be the same.
  void Isolate(MemberId id, MemberId companion);
  // What is under way to `id` comes late: with the next HandOverLate, however much later.
  void Delay(MemberId id);
  void HandOverLate();
  void Heal();
  void ChangeMembership(TestMember& member);
  std::string Settle();
  bool IsSettled();
  std::string DescribeMembers();

  base::Random random_;
  Temper temper_;
  std::unique_ptr<TestCluster> cluster_;
  uint64_t members_max_ = 0;
  uint64_t commands_ = 0;
  uint64_t context_ = 0;
  // Ticks in 100 opportunities; 100 when absent.
  std::map<MemberId, uint64_t> clock_percent_;
  std::set<MemberId> stalled_appliers_;
  std::vector<Message> late_;
  std::map<Fault, uint64_t> faults_;
};

}  // namespace cairn::raft

#endif  // CAIRN_RAFT_SIMULATION_H_
