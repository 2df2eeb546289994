// What the services see of the member: propose a command, wait for a read barrier, ask how it is.
//
// The seam between the services (which translate and validate) and the machinery behind them
// (consensus, log, apply). node_runner.h implements it with threads; tests use a fake. All methods
// may be called from any thread and never block; completions run exactly once, on a thread of the
// implementation's or before the call returns, and must not block either.
#ifndef CAIRN_SERVER_NODE_H_
#define CAIRN_SERVER_NODE_H_

#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "raft/core.h"
#include "server/command.h"
#include "server/log_stats.h"
#include "server/rpc/slice.h"
#include "wal/types.h"

namespace cairn::rpc {
class Call;
}

namespace cairn::server {

struct ClusterState;
class LeaderLoss;
class LeaseManager;
struct MembershipChange;

// One member of the cluster, as MemberList shows it. `name` and `client_urls` are empty until the
// member has started once.
struct Member {
  MemberId id;
  std::string name;
  std::vector<std::string> peer_urls;
  std::vector<std::string> client_urls;
  bool is_learner = false;

  friend bool operator==(const Member&, const Member&) = default;
};

// Sorted by id. Immutable where it is shared: a change makes a new one.
using Members = std::vector<Member>;

struct NodeStatus {
  Term term;
  MemberId leader;  // 0: none known.
  Index commit;
  Index applied;
  bool is_learner = false;
  wal::SyncMode sync_mode = wal::SyncMode::kAlways;
};

class Node {
 public:
  // What became of a proposal. `response` and `rest`, one after the other, are the serialized
  // response message without its header (response.h adds that), present when `status` is OK.
  struct Outcome {
    absl::Status status;
    std::string response = {};
    Revision revision = {};  // The header's revision.
    // What may be large: pieces that count against the budget of who made them until they are sent.
    rpc::SliceList rest = {};
  };
  using ProposeDone = absl::AnyInvocable<void(Outcome)>;
  using BarrierDone = absl::AnyInvocable<void(absl::Status)>;
  using LookDone = absl::AnyInvocable<void(absl::StatusOr<raft::CoreStatus>)>;

  virtual ~Node() = default;

  virtual ClusterId cluster_id() const = 0;
  virtual MemberId member_id() const = 0;
  virtual NodeStatus status() const = 0;
  virtual std::shared_ptr<const Members> members() const = 0;

  // Alarms and the like (cluster_state.h), as far as it is applied here. Immutable.
  virtual std::shared_ptr<const ClusterState> cluster_state() const = 0;

  // Replicates a command whose body is copied at once. `done` gets the outcome of its application,
  // or an error: DEADLINE_EXCEEDED / UNAVAILABLE "request timed out" (may still be applied),
  // UNKNOWN "too many requests" (not applied), UNAVAILABLE "server stopped", INVALID_ARGUMENT
  // "request is too large", RESOURCE_EXHAUSTED "database space exceeded" (the disk is full; not
  // applied).
  virtual void Propose(CommandKind kind, std::string_view body, ProposeDone done) = 0;

  // Replicates a change of the members (membership_change.h), whose proposer is filled in here.
  // `done` gets what became of it, with etcd's error if it could not be made; its response is
  // member_response.h's. A change waits its turn while another is not applied. Errors besides:
  // DEADLINE_EXCEEDED after a minute, for nobody waits that long (may still be applied), UNKNOWN
  // "too many requests" (not applied), UNAVAILABLE "server stopped".
  virtual void ProposeChange(const MembershipChange& change, ProposeDone done) = 0;

  // Shows `done` what consensus knows, everything that was answered before included. UNAVAILABLE
  // "server stopped".
  virtual void LookAtRaft(LookDone done) = 0;

  // For how long another member has been answering without a break, in milliseconds; none: it does
  // not.
  virtual std::optional<int64_t> ConnectedMs(MemberId id) const = 0;

  // Calls `method` of cairn.peer.Peer on another member and gives `done` its answer, which takes as
  // long as a proposal may at the most. UNAVAILABLE when there is no connection.
  using CallDone = absl::AnyInvocable<void(absl::StatusOr<std::string> response)>;
  virtual void CallPeer(MemberId to, std::string_view method, std::string request,
                        CallDone done) = 0;

  // The leases as this member knows them.
  virtual LeaseManager& leases() = 0;

  // The log in numbers, as they are now.
  virtual LogStats log_stats() const = 0;

  // Ends streams that asked for a leader when there is none.
  virtual LeaderLoss& leader_loss() = 0;

  // True when a read of the published state is linearizable now, without a round: this member is
  // the sole voter, leads, and has applied an entry of its term. What was acknowledged has then
  // been published, because nothing is acknowledged before that.
  virtual bool CanReadNow() const = 0;

  // This member's disk is (nearly) full.
  virtual bool IsOutOfSpace() const = 0;

  // It has no room even for what the state holds in memory: whatever is written through this member
  // is refused, deletions too. Others may still commit entries, which it takes as long as it can.
  virtual bool RefusesWrites() const = 0;

  // What makes the state grow is to be refused before it is proposed: this member's disk is full,
  // or some member's space is, by its own account (an automatic alarm): what is refused when it is
  // applied has grown every log all the same. Deletions and compactions still pass.
  virtual bool RefusesGrowth() const = 0;

  // Calls `done` with OK once a read of the published state is linearizable: the next read-index
  // round is confirmed and its index is applied. Runs on a thread that has many such reads to
  // finish: `done` does no more than a small read (range_reader.h) and takes the rest to
  // RunInReadPool, so that a scan never delays a get. Waits for the client's deadline, not for one
  // of its own (etcd does too); UNAVAILABLE "leader changed" or "server stopped" otherwise.
  // `caller` is the call that waits, which lives until `done` has run, or null if that is none:
  // some time after it is cancelled `done` is called with "server stopped", which is then so or
  // heard by nobody.
  virtual void ReadBarrier(const rpc::Call* caller, BarrierDone done) = 0;

  // What reads for long is to end where it is: the server stops, and has waited long enough for
  // what was under way. Any thread, at the cost of a load.
  virtual bool EndsReads() const = 0;

  // Runs `work` on the bounded pool for large reads. False, and `work` is dropped, when its queue
  // is full or the server stops. It asks EndsReads now and then.
  virtual bool RunInReadPool(absl::AnyInvocable<void()> work) = 0;

  // The same for `work` that reads all of the state, one after the other on a thread of its own, so
  // that no other read waits for that.
  virtual bool RunHash(absl::AnyInvocable<void()> work) = 0;

  // Calls `done` once every row that a compaction up to `revision` removes is gone (physical
  // compaction), at once when that is so already; UNAVAILABLE "server stopped" otherwise.
  virtual void WaitCompacted(Revision revision, BarrierDone done) = 0;

  // How long a lease has left, as the member that leads knows it: milliseconds, negative when it is
  // due, none if there is no such lease. UNAVAILABLE "no leader", "leader changed" or "request
  // timed out". For a member that does not lead itself.
  using FindLeaseDone =
      absl::AnyInvocable<void(absl::StatusOr<std::optional<int64_t>> remaining_ms)>;
  virtual void FindLeaseOnLeader(LeaseId id, FindLeaseDone done) = 0;

  // Hands the leadership over to `target`, or with 0 to whoever is best. FAILED_PRECONDITION "not
  // leader" or "bad leader transferee"; UNKNOWN "leader transfer took too long" when the target did
  // not win within an election timeout.
  virtual void TransferLeadership(MemberId target, BarrierDone done) = 0;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_NODE_H_
