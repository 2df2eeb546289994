// What clients of a simulated cluster ask for, what they were answered, and whether that was true.
//
// Owned by the Cluster. Whom they ask is chance; an answer that never comes is forgotten, as after
// a broken connection.
#ifndef CAIRN_TEST_SIM_CLIENTS_H_
#define CAIRN_TEST_SIM_CLIENTS_H_

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "raft/types.h"
#include "server/applier.h"
#include "server/command.h"
#include "server/membership_change.h"
#include "test/sim/lease_ledger.h"
#include "test/sim/member.h"
#include "test/sim/temper.h"
#include "test/sim/watcher.h"

namespace cairn::sim {

class Cluster;

class Clients {
 public:
  Clients(Cluster& cluster, const Temper& temper);

  // Something that a client wants, of somebody who is up.
  void Operate();
  // Watchers connect again, streams that rest go on; also when there are no more operations.
  void Refresh();

  // --- What members tell ---
  // `is_first`: the batch ends beyond all that was applied anywhere before.
  void SawApplied(Member& member, std::span<const raft::Entry> entries,
                  const server::Applier::Result& result);
  void SawReadReady(Member& member, server::WaiterId id);
  void SawGivenUp(server::WaiterId id);
  void SawMessage(Member& member, watch::StreamId stream, const watch::Message& message);
  // A leader renews a lease for a member that asks it.
  void Renew(Member& leader, LeaseId id, const World::RenewDone& done);
  // Its clients learn nothing of what they asked for.
  void SawCrash(const Member& member);

  // Whether all watchers have everything, and every lease has ended.
  bool AreWatchersDone() const;
  std::vector<LeaseId> LeasesAlive() const { return ledger_.Alive(); }
  Revision acknowledged() const { return acknowledged_; }

 private:
  enum class Kind : uint8_t { kPlain, kCompact, kGrant, kRevoke, kChange };
  struct Asked {
    size_t position = 0;
    uint64_t incarnation = 0;
    Kind kind = Kind::kPlain;
    Microseconds at = 0;
    LeaseId lease;
    server::ChangeKind change = server::ChangeKind::kAddVoter;
  };
  struct Read {
    size_t position = 0;
    Revision at_least;  // What was acknowledged anywhere when it was asked for.
  };

  // Requests of each kind.
  void Put(Member& member);
  void Delete(Member& member);
  void Txn(Member& member);
  void Compact(Member& member);
  void ReadKey(Member& member);
  void Grant(Member& member);
  void GrantOne(Member& member, int64_t ttl_s);
  void KeepAlive(Member& member);
  void KeepAllAlive();
  void Revoke(Member& member);
  void ChangeMembers(Member& member);
  void AddMember(Member& member, server::MembershipChange& change, Asked& asked);
  void Promote(server::MembershipChange& change, Asked& asked);
  void Transfer();
  void Watch();

  void Propose(Member& member, server::CommandKind kind, const std::string& body, Asked asked);
  void Connect(Watcher& watcher);
  void SawEntry(const raft::Entry& entry);
  void SawOutcome(const Member& member, uint64_t sequence, const server::Node::Outcome& outcome);
  void Acknowledge(const Asked& asked, const server::Node::Outcome& outcome);
  std::string RandomKey();
  Watcher* FindWatcher(const Member& member, watch::StreamId stream);

  Cluster& cluster_;
  const Temper& temper_;
  LeaseLedger ledger_;
  std::vector<Watcher> watchers_;
  uint64_t sequence_ = 0;
  int64_t leases_granted_ = 0;
  std::map<uint64_t, Asked> asked_;
  std::map<server::WaiterId, Read> reads_;
  std::map<uint64_t, Index> applied_at_;  // By sequence.
  // Proposals that were told to have certainly not been appended.
  std::set<uint64_t> given_up_;
  Index applied_through_;  // By anybody.
  Revision acknowledged_;
};

}  // namespace cairn::sim

#endif  // CAIRN_TEST_SIM_CLIENTS_H_
