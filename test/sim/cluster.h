// A cluster of real members under random faults, decided by one seed. See README.md.
//
// Time is simulated: a schedule of events, of which each step lets the next one happen. After it
// the member that it happened to is compared with what it was, with the other members and with what
// clients were told. Faults are those that the members promise to survive. Test only.
#ifndef CAIRN_TEST_SIM_CLUSTER_H_
#define CAIRN_TEST_SIM_CLUSTER_H_

#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>

#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/random.h"
#include "mvcc/mem_backend.h"
#include "raft/invariants.h"
#include "raft/messages.h"
#include "raft/ready.h"
#include "test/sim/clients.h"
#include "test/sim/counts.h"
#include "test/sim/history.h"
#include "test/sim/member.h"
#include "test/sim/scheduler.h"
#include "test/sim/temper.h"

namespace cairn::sim {

enum class Verdict : uint8_t { kGood, kWrong, kStuck };

class Cluster final : private World {
 public:
  // With `tells_story` everything that happens is printed.
  explicit Cluster(uint64_t seed, bool tells_story = false);
  ~Cluster() override;

  // Steps, then an end of all faults after which everybody must agree.
  Verdict Run(int steps);

  // What was wrong and at which step; empty when good.
  const std::string& finding() const { return finding_; }
  // The last things that happened, oldest first.
  std::vector<std::string> last_events() const;
  const Counts& counts() const { return counts_; }
  Microseconds simulated() const { return scheduler_.now(); }
  // Differs, all but certainly, between two runs that differ.
  uint64_t trace_hash() const { return trace_hash_; }

  // --- For Clients ---
  using Work = absl::AnyInvocable<void(Member&)>;
  // Has `work` done at `member` after `delay`, unless the process is gone by then.
  void AtMember(const Member& member, Microseconds delay, Work work);
  void After(Microseconds delay, Scheduler::Event event) {
    scheduler_.After(delay, std::move(event));
  }
  // Null when nobody is up.
  Member* RandomUp();
  // One of those that take themselves for the leader; null if there is none.
  Member* RandomPrimary();
  // The member with this id; null if it is none, or down.
  Member* FindUp(MemberId id);
  Member* UpAt(size_t position, uint64_t incarnation);
  Member* Leader();
  // How long a message takes now.
  Microseconds Delay();
  bool Chance(uint64_t percent) { return random_.Below(100) < percent; }
  base::Random& random() { return random_; }
  const Temper& temper() const { return temper_; }
  Counts& counts() { return counts_; }
  const History& history() const { return history_; }
  Microseconds now() const { return scheduler_.now(); }
  bool has_settled_down() const { return has_ended_; }
  // Those that are there and can come back.
  size_t members_alive() const;
  size_t members_ever() const { return slots_.size() + planned_.size(); }
  // A member whose addition is proposed: it starts once that is applied.
  void Plan(MemberId id) { planned_.insert(id); }
  void Report(std::string finding);
  // Something worth telling when the run fails.
  void Note(size_t position, std::string_view what, uint64_t a = 0, uint64_t b = 0);

 private:
  friend class Settling;

  struct Slot {
    std::unique_ptr<Member> member;
    // It never comes back: it was removed.
    bool is_gone = false;
    bool is_starting = false;
    // The process is stopped; what is meant for it waits.
    bool is_paused = false;
    std::deque<std::pair<uint64_t, Work>> deferred;

    // What is under way at this start of it.
    bool is_syncing = false;
    bool is_applying = false;
    bool is_reading_log = false;
    bool is_serving_watches = false;
    bool is_reading_history = false;

    raft::CoreStatus before;
    uint64_t before_incarnation = 0;

    // Its clock: what it showed at a moment, and its speed since.
    Microseconds clock_set_at = 0;
    int64_t clock_ms = 1000;
    int64_t speed_permille = 1000;
    // Faults.
    uint64_t lost_ticks_percent = 0;
    Microseconds slow_sync = 0;
    Microseconds slow_apply = 0;
    Microseconds clogged = 0;
    bool is_disk_full = false;
    // The power goes in the middle of the next write of the log.
    bool is_cut_while_writing = false;
    bool flips_bit = false;
  };
  struct Told {
    int step = 0;
    Microseconds at = 0;
    size_t position = 0;
    std::string what;
    uint64_t a = 0;
    uint64_t b = 0;
  };
  struct Flight {
    size_t sender = 0;
    Index next;  // What the receiver wants after the snapshot.
  };

  // Members come and go (cluster.cc).
  void AddInitialMembers();
  void AddJoiner(MemberId id);
  void ScheduleOperation();
  void StartLater(size_t position, Microseconds delay);
  bool Start(size_t position);
  void RefusedStart(size_t position, const absl::Status& status);
  void Kill(Member& member, bool is_power_cut, bool flips_bit = false);
  // False: the process has ended of it.
  bool Must(Member& member, const absl::Status& status);
  void Leave(Member& member);
  bool IsRemovalKnown(MemberId id) const;
  // Removed, which only it knows: it could not come back, and must not go (Leave).
  bool IsStillNeeded(const Member& member) const {
    return member.is_removed() && !IsRemovalKnown(member.id());
  }

  // What goes on by itself (work.cc).
  bool RunAt(size_t position, uint64_t incarnation, Work& work);
  void Follow(Member& member);
  void FollowLog(Member& member, Slot& slot);
  void FollowWatches(Member& member, Slot& slot);
  void ScheduleTick(const Member& member);
  void ScheduleFlush(const Member& member);
  void ScheduleRemoval(const Member& member);
  void Check(Member& member);
  void CheckCommit(const Member& member, const raft::CoreStatus& after);

  // The network (network.cc).
  bool IsBlocked(size_t from, size_t to) const { return blocked_.contains({from, to}); }
  void Carry(size_t to, Microseconds delay, raft::Message message);
  void Deliver(Member& to, const raft::Message& message);
  void Undelivered(Member& from, raft::Message message);
  void TakeCopy(Member& sender, const raft::SnapshotWanted& wanted);
  void Arrive(size_t sender, uint64_t incarnation, MemberId peer, const std::string& name,
              Term term, Index index, std::list<Flight>::iterator flight);
  bool InstallAt(Member& receiver, const std::string& name, Term term);
  Index PinnedFrom(size_t sender) const;

  // Faults (faults.cc).
  void ScheduleFault();
  void Disturb();
  void DisturbNetwork(uint64_t kind, size_t victim);
  void DisturbMember(uint64_t kind, Member& victim);
  void Block(size_t from, size_t to);
  void Isolate(size_t position);
  void Split();
  // Has the links that were cut since `before` go on working after `length`.
  void HealLinks(const std::set<std::pair<size_t, size_t>>& before, Microseconds length);
  void Pause(Member& member);
  void Resume(size_t position);
  void FillDisk(size_t position);
  void EmptyDisk(size_t position);
  void SetSpeed(size_t position, int64_t permille);
  void HealAll();
  Microseconds FaultLength();

  // World.
  World& world() { return *this; }
  int64_t NowMs(size_t position) const override;
  void Send(Member& from, raft::Message message) override;
  void SendSnapshot(Member& from, const raft::SnapshotWanted& wanted) override;
  bool AskToRenew(Member& from, MemberId leader, LeaseId id, RenewDone done) override;
  void SawApplied(Member& member, std::span<const raft::Entry> entries,
                  const server::Applier::Result& result) override;
  void SawChanges(Member& member, std::span<const mvcc::Change> changes) override;
  void SawReadReady(Member& member, server::WaiterId id) override;
  void SawGivenUp(Member& member, server::WaiterId id) override;
  void SawTrace(Member& member, const raft::TraceEvent& event) override;
  void SawMessage(Member& member, watch::StreamId stream, const watch::Message& message) override;
  void Violated(Member& member, std::string what) override;

  base::Random random_;
  const Temper temper_;
  const bool tells_story_;
  Scheduler scheduler_;
  int step_ = 0;
  bool has_ended_ = false;
  uint64_t trace_hash_ = 0;

  std::vector<Slot> slots_;
  std::map<MemberId, size_t> positions_;
  // Those who will join once their addition is applied.
  std::set<MemberId> planned_;
  std::set<std::pair<size_t, size_t>> blocked_;
  bool cut_spares_under_way_ = false;
  // Copies of states under way, by name.
  mvcc::MemDisk copies_;
  uint64_t copies_made_ = 0;
  std::list<Flight> flights_;

  raft::GroupChecker checker_;
  History history_;
  std::map<Index, Revision> revision_at_;  // What the first to end a batch there published.

  std::string finding_;
  std::deque<Told> told_;
  Counts counts_;
  // Last: it ends before what it uses.
  Clients clients_;
};

}  // namespace cairn::sim

#endif  // CAIRN_TEST_SIM_CLUSTER_H_
