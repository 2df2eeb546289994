// A cluster of real members under random faults, decided by one seed. See README.md.
//
// A step is one event at one member. After each step the members are compared with each other and
// with what clients were told. Faults are those that the members promise to survive: messages lost,
// repeated, reordered and late; links cut; processes killed; machines without power, which lose any
// unsynced sector; clocks that stop or run at other speeds. Test only.
#ifndef CAIRN_TEST_SIM_CLUSTER_H_
#define CAIRN_TEST_SIM_CLUSTER_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "raft/invariants.h"
#include "raft/messages.h"
#include "raft/random.h"
#include "raft/ready.h"
#include "test/sim/member.h"

namespace cairn::sim {

enum class Verdict : uint8_t { kGood, kWrong, kStuck };

// How often what happened, over a run or many.
struct Counts {
  uint64_t applied = 0;
  uint64_t acknowledged = 0;
  uint64_t reads = 0;
  uint64_t elections = 0;
  uint64_t lost = 0;
  uint64_t repeated = 0;
  uint64_t killed = 0;
  uint64_t powerless = 0;
  uint64_t cut = 0;
  uint64_t clocks = 0;
  uint64_t compactions = 0;
  uint64_t trims = 0;
  uint64_t log_reads = 0;
};

class Cluster {
 public:
  explicit Cluster(uint64_t seed);
  ~Cluster();

  // Steps, then an end of all faults after which everybody must agree.
  Verdict Run(int steps);

  // What was wrong and at which step; empty when good.
  const std::string& finding() const { return finding_; }
  // The last things that happened, oldest first.
  const std::deque<std::string>& last_events() const { return events_; }
  const Counts& counts() const { return counts_; }

 private:
  struct Read {
    size_t member = 0;  // Position.
    Revision revision;  // What was acknowledged anywhere when the read was asked for.
  };

  Member& RandomMember();
  Observer ObserverOf(size_t position);
  void Step();
  void DoWork(Member& member, size_t position, uint64_t dice);
  void DeliverSome();
  void Deliver(raft::Message message);
  void ProposeAt(Member& member, size_t position);
  void Disturb(Member& member, size_t position);
  void Isolate(MemberId id);
  void Heal();
  void Kill(Member& member, bool is_power_cut);
  void CutPower();
  void Check(size_t position);
  void SawApplied(size_t position, const raft::Entry& entry);
  Verdict Settle();
  bool IsSettled();
  void CompareStates();
  Index NeededByAll() const;
  void Report(std::string finding);
  void Note(std::string event);

  raft::Random random_;
  uint64_t chaos_ = 1;
  uint64_t heal_percent_ = 10;
  int step_ = 0;

  std::vector<std::unique_ptr<Member>> members_;
  std::vector<raft::CoreStatus> before_;
  std::vector<bool> was_up_;
  std::map<MemberId, size_t> positions_;
  std::deque<raft::Message> network_;
  std::set<std::pair<MemberId, MemberId>> blocked_;
  std::map<MemberId, uint64_t> clock_percent_;

  raft::GroupChecker checker_;
  uint64_t sequence_ = 0;
  std::map<uint64_t, size_t> proposed_;    // Sequences that wait for an answer, and where.
  std::map<uint64_t, Index> applied_at_;   // By sequence.
  std::map<Index, Revision> revision_at_;  // What the first to apply an index published.
  Index acknowledged_;                     // The last entry a client was told of.
  Revision acknowledged_revision_;
  std::map<server::WaiterId, Read> reads_;

  std::string finding_;
  std::deque<std::string> events_;
  Counts counts_;
};

}  // namespace cairn::sim

#endif  // CAIRN_TEST_SIM_CLUSTER_H_
