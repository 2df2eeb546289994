// The member's threads: node_core and applier with real queues around them.
//
//   RPC threads ── proposals, reads ──► node thread (NodeCore) ── writes ──► log thread (wal)
//   peers' streams ── messages ─────────►    ▲   │ committed ranges              │
//                                            │   ▼                               │ durable
//   waiters ◄── outcomes ── apply thread ────┴───────────────────────────────────┘
//
// The node thread never waits for the disk, the apply thread never for the network. A write is
// answered by the apply thread, after the batch that holds it was published. Queues are bounded by
// what they carry: proposals by the payload that is waited for, committed entries by the payload
// that is not applied, reads by number, peers' messages by their payload, log writes by what the
// raft core lets be uncommitted. An error of log or state is final: `on_fatal` is called once and
// nothing is answered any more.
#ifndef CAIRN_SERVER_NODE_RUNNER_H_
#define CAIRN_SERVER_NODE_RUNNER_H_

#include <absl/base/thread_annotations.h>
#include <absl/container/flat_hash_map.h>
#include <absl/status/status.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "mvcc/removal.h"
#include "mvcc/store.h"
#include "raft/core.h"
#include "server/applier.h"
#include "server/apply_loop.h"
#include "server/cluster_state.h"
#include "server/door.h"
#include "server/leader_history.h"
#include "server/leader_loss.h"
#include "server/lease_driver.h"
#include "server/lease_manager.h"
#include "server/log_pins.h"
#include "server/log_stats.h"
#include "server/membership_driver.h"
#include "server/node.h"
#include "server/node_core.h"
#include "server/peers.h"
#include "server/proposal_tracker.h"
#include "server/worker_pool.h"
#include "wal/log_thread.h"
#include "wal/wal.h"

namespace cairn::server {

struct NodeRunnerOptions {
  ClusterId cluster_id;
  NodeCoreOptions core;
  LeaseManagerOptions leases;
  // One tick: the heartbeat interval.
  std::chrono::milliseconds tick{100};
  // How long a proposal is waited for (etcd: 5 s + 2 election timeouts).
  std::chrono::milliseconds proposal_timeout{7000};
  // --auto-promote-learners.
  bool auto_promote_learners = false;
  // Largest encoded command.
  size_t request_bytes_max = 0;
  // What opening the log took, for log_stats.
  uint64_t log_open_us = 0;
  uint64_t log_open_bytes = 0;
  // With SyncMode::kInterval.
  std::chrono::milliseconds sync_interval{100};
  // wal::LogThreadOptions::has_room_for_spare.
  std::function<bool()> has_room_for_spare = [] { return true; };
  // Equal to the proposer that the applier was opened with.
  uint64_t start_nonce = 0;
  // Told who the others are and how far they have got; asked when the log is cut at the end.
  // Outlives the runner.
  LogPins* pins = nullptr;
  // Called once, on any thread, when log or state failed for good. Must not return to normal
  // service: the process is to end.
  std::function<void(const absl::Status&)> on_fatal;
  // Called once, on the node thread, kRemovalGrace after this member has applied its own removal,
  // or when it is told of it. Must not block: the process is to end.
  std::function<void()> on_removed;
  // The other members; outlives the runner. Null: there are none, and never will be.
  Peers* peers = nullptr;
  // A member needs a snapshot, of which NodeRunner::SnapshotStatus must be told once. Node thread;
  // must not block. Empty: none can be sent.
  std::function<void(const raft::SnapshotWanted& wanted)> on_snapshot_wanted;
};

// What a member finds on its disk: enough, too little for the state to grow, too little for its
// next flush.
enum class DiskRoom : uint8_t { kEnough, kLow, kFull };

class NodeRunner final : public Node {
 public:
  // Payload of proposals that are waited for: twice what the core lets be uncommitted, so that the
  // core's own bound is met first.
  static constexpr size_t kWaitedBytesMax = size_t{128} << 20;
  // Payload that is committed and waits for the apply thread; beyond it proposals are refused, as
  // etcd refuses them 5,000 entries behind.
  static constexpr size_t kUnappliedBytesMax = size_t{64} << 20;
  // One submission to the log: its batch bound, so that no Ready makes a batch of its own size.
  static constexpr size_t kAppendBytesMax = size_t{4} << 20;
  // How often to look whose clients have gone, which costs some milliseconds at most.
  static constexpr uint64_t kAbandonedReadsTicks = 10;
  // Reads that wait for a round.
  static constexpr size_t kWaitingReadsMax = 100'000;
  // Peers' messages that wait for the node thread, as they are encoded; beyond it they are dropped,
  // which raft tolerates. Twice what a leader has in flight to one member.
  static constexpr size_t kInboxBytesMax = size_t{16} << 20;
  // Reads of the log for peers that lag: one a peer.
  static constexpr size_t kLogReadsMax = 64;
  // Changes of the members that are waited for: so much payload, so long. Clients give up before.
  static constexpr size_t kWaitedChangeBytesMax = size_t{4} << 20;
  static constexpr std::chrono::milliseconds kChangeTimeout{60'000};
  // A member that has applied its own removal stays so long, for others to learn of it (etcd: 1 s).
  static constexpr std::chrono::milliseconds kRemovalGrace{1000};
  // Looks at consensus that wait for the node thread.
  static constexpr size_t kWaitingLooksMax = 1000;
  // Hand-overs that are waited for; all but one ask for what is under way already.
  static constexpr size_t kWaitingTransfersMax = 100;
  // Two threads keep a slow scan from blocking the next one on a small machine; a longer queue than
  // this only adds latency.
  static constexpr int kReadThreads = 2;
  static constexpr size_t kQueuedReadsMax = 10'000;
  // What waited for a round is answered in bursts of small reads, which two threads share when they
  // are many.
  static constexpr int kConfirmedThreads = 2;
  // Each reads everything: whoever waits behind so many has given up long before.
  static constexpr size_t kQueuedHashesMax = 1000;

  // Starts the threads. `wal`, `store` and `applier` must outlive this object; nobody else writes
  // to them meanwhile.
  NodeRunner(NodeRunnerOptions options, raft::RestoredState restored, wal::Wal& wal,
             mvcc::Store& store, Applier& applier);
  // Stops.
  ~NodeRunner() override;

  // Blocks until the stored commit index is applied and, on a sole voter, a read would be
  // linearizable: no call may be answered before. DEADLINE_EXCEEDED when that takes longer than
  // `timeout`; UNAVAILABLE when the runner stops; the failure itself when log or state have failed.
  absl::Status WaitReady(std::chrono::milliseconds timeout);

  // Hands the leadership over to the best successor, if this member leads and there is one, and
  // waits until that has happened, and the others have had a heartbeat interval to hear of it, or
  // has failed.
  void HandOver();
  // Ends what reads for long (Node::EndsReads); Stop does, too. Any thread.
  void EndReads() { ends_reads_.store(true, std::memory_order_relaxed); }

  // Ends the threads: refuses what waits, applies what is committed and at hand, makes the state
  // durable and marks it in the log, so that the next start has nothing to replay. Returns the
  // first failure of log or state, also one from before. Idempotent.
  absl::Status Stop();

  // --- For the streams of other members; any thread ---

  // Messages for this member, in the order they came.
  void Step(std::vector<raft::Message> messages);
  // Messages for `peer` were lost, or its stream ended.
  void ReportUnreachable(MemberId peer);
  // Whether a member was removed from the cluster, as far as it is applied here.
  bool IsRemoved(MemberId id) const;
  // Another member says that this one was removed.
  void ToldOfRemoval();
  // Forwarded proposals that have certainly not left.
  void Undelivered(std::vector<raft::Message> messages);

  // --- For snapshots; threads that may wait (snapshot_install.h) ---

  // Runs `work` on the node thread, after all that is at hand, and waits for it. What `work` makes
  // of work is done when a second call returns. CANCELLED, and nothing done, after a stop.
  absl::Status RunOnNode(const std::function<void(NodeCore& core)>& work);
  // Has the log hold `append`, behind all that was submitted before, and waits until it is durable.
  // CANCELLED after a stop.
  absl::Status WriteLog(wal::Append append);
  ApplyLoop& apply() { return *apply_; }
  // Ends the member: see NodeRunnerOptions::on_fatal. Also for reads that find damage; any thread.
  void Fail(const absl::Status& error) { Fatal(error); }
  // raft::Core's. Any thread; never blocks.
  void SnapshotStatus(MemberId peer, Index index, bool is_installed);

  // --- How the log is synced (sync_mode.h) ---

  // From here on acknowledges what is written before it is synced, as `mode` (not kAlways) says,
  // until a member is to be added or the end. Waits until the log says so durably.
  // FAILED_PRECONDITION when this member is not alone in its cluster; CANCELLED after a stop.
  absl::Status RelaxSync(wal::SyncMode mode);
  wal::SyncMode sync_mode() const { return sync_mode_.load(std::memory_order_relaxed); }
  // Waits until everything is synced that the apply thread may have been given. An error when that
  // will never be so.
  absl::Status SyncLog();

  // --- For the housekeeping threads ---

  // Writes a snapshot marker at `id` and waits until it is durable. CANCELLED after a stop.
  absl::Status MarkDurable(raft::EntryId id);
  // Commits a removal step on the apply thread and waits for it. False when it was stale.
  absl::StatusOr<bool> CommitRemoval(mvcc::RemovalStep step);
  // Tells what a look at the disk found (see IsOutOfSpace, RefusesWrites).
  void SetDiskRoom(DiskRoom room) { disk_room_.store(room, std::memory_order_relaxed); }

  // --- Node ---
  ClusterId cluster_id() const override { return options_.cluster_id; }
  MemberId member_id() const override { return options_.core.raft.id; }
  NodeStatus status() const override;
  std::shared_ptr<const Members> members() const override;
  std::shared_ptr<const ClusterState> cluster_state() const override;
  void Propose(CommandKind kind, std::string_view body, ProposeDone done) override;
  void ProposeChange(const MembershipChange& change, ProposeDone done) override;
  void LookAtRaft(LookDone done) override;
  void CallPeer(MemberId to, std::string_view method, std::string request, CallDone done) override;
  std::optional<int64_t> ConnectedMs(MemberId id) const override;
  LeaseManager& leases() override { return leases_; }
  LogStats log_stats() const override;
  LeaderLoss& leader_loss() override { return leader_loss_; }
  bool CanReadNow() const override { return can_read_now_.load(std::memory_order_acquire); }
  bool IsOutOfSpace() const override;
  bool RefusesWrites() const override {
    return disk_room_.load(std::memory_order_relaxed) == DiskRoom::kFull;
  }
  bool RefusesGrowth() const override;
  void ReadBarrier(const rpc::Call* caller, BarrierDone done) override;
  bool EndsReads() const override { return ends_reads_.load(std::memory_order_relaxed); }
  bool RunInReadPool(absl::AnyInvocable<void()> work) override;
  bool RunHash(absl::AnyInvocable<void()> work) override;
  void WaitCompacted(Revision revision, BarrierDone done) override;
  void FindLeaseOnLeader(LeaseId id, FindLeaseDone done) override;
  void TransferLeadership(MemberId target, BarrierDone done) override;

 private:
  struct AppliedNote {
    Index index;
    std::optional<std::pair<raft::Configuration, Index>> configuration;
  };
  struct SnapshotReport {
    MemberId peer;
    Index index;
    bool is_installed = false;
  };
  struct WaitingRead {
    const rpc::Call* caller = nullptr;  // Lives until `done` has run.
    BarrierDone done;
  };
  // What the other threads have for the node thread.
  struct Inputs {
    std::vector<NodeCore::QueuedProposal> proposals;
    std::vector<std::pair<WaiterId, WaitingRead>> reads;
    std::vector<LookDone> looks;
    wal::Token durable = 0;
    std::vector<AppliedNote> applied;
    std::vector<raft::Message> messages;
    size_t message_bytes = 0;
    std::vector<MemberId> unreachable;
    std::vector<raft::Message> undelivered;
    std::vector<raft::LogReadAnswer> log_reads;
    std::vector<std::pair<MemberId, BarrierDone>> transfers;
    std::vector<SnapshotReport> snapshots;
    // Null: the thread has ended.
    std::vector<std::function<void(NodeCore* core)>> tasks;
  };
  // A hand-over that somebody waits for.
  struct Transfer {
    MemberId target;
    std::chrono::steady_clock::time_point deadline;
    BarrierDone done;
  };
  // The node thread.
  void RunNode();
  bool HasInput() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeInputs(Inputs& inputs);
  void Do(Work work);
  void SubmitWrite(LogWrite write);
  void ReadLog(const raft::LogRead& read);
  void StartTransfer(MemberId target, BarrierDone done);
  void FinishTransfers();
  void TakeReads(std::vector<std::pair<WaiterId, WaitingRead>>& reads);
  BarrierDone TakeRead(WaiterId id);
  void FinishReads(const Work& work);
  void DropAbandonedReads();
  void FailProposal(const RefusedProposal& refused);
  void Tick();
  void TellOfRemoval();
  // To whom a proposal goes, for so long without a break (LeaderHistory::WhyTimedOut).
  bool WasConnected(std::chrono::steady_clock::duration since) const;
  // Why a proposal found no room among those that wait for their answers.
  absl::Status WhyNotTracked() const;
  void FinishCall(uint64_t number, absl::StatusOr<std::string> response);
  // Answers what is under way; no answer is being given any more when this returns.
  void StopCalls();
  void PublishStatus();

  // The apply thread.
  void OnApplied(Index applied, Applier::Result& result);
  // Publishes what a batch or a new state has changed, but for what the core is told.
  void PublishApplied(Index applied, const Applier::Result& result);

  // Others are to come: has everything synced before it is acknowledged, for good. What is given to
  // the log after this comes behind its word of it.
  void SyncAlwaysFromNow() ABSL_LOCKS_EXCLUDED(sync_mode_mutex_);

  LeaseManagerOptions LeaseOptions();
  // The member that leads; 0 if that is none or this one.
  MemberId OtherLeader() const;
  void Fatal(const absl::Status& error);
  void WakeNode() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const NodeRunnerOptions options_;
  wal::Wal& wal_;
  mvcc::Store& store_;
  Applier& applier_;
  const Index replay_through_;
  const uint64_t replayed_entries_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();

  std::atomic<uint64_t> next_sequence_ = 1;
  ProposalTracker tracker_;
  ProposalTracker change_tracker_;  // Changes of the members, which are waited for longer.
  // Reads whose round is confirmed; large reads; hashes.
  WorkerPool confirmed_pool_;
  WorkerPool read_pool_;
  WorkerPool hash_pool_;
  // Reads the log for peers that lag, so that they wait for no client and no client for them.
  WorkerPool log_reader_;
  LeaseManager leases_;
  LeaderLoss leader_loss_;

  // Node thread only.
  NodeCore core_;
  LeaderHistory leader_history_;
  LeaseDriver lease_driver_;
  MembershipDriver membership_driver_;
  absl::flat_hash_map<WaiterId, WaitingRead> reads_;
  uint64_t ticks_ = 0;
  std::vector<Transfer> transfers_;
  bool removal_told_ = false;
  // Submissions under way: the log's token and the core's number.
  std::deque<std::pair<wal::Token, uint64_t>> log_writes_;
  std::chrono::steady_clock::time_point next_tick_;

  mutable base::Mutex mutex_;
  base::ConditionVariable node_wake_;
  Inputs inputs_ ABSL_GUARDED_BY(mutex_);
  bool node_sleeps_ ABSL_GUARDED_BY(mutex_) = false;
  bool node_stops_ ABSL_GUARDED_BY(mutex_) = false;
  // Whether the node thread is to be woken for these, or may learn of them when it next wakes.
  bool wake_on_reads_ ABSL_GUARDED_BY(mutex_) = true;
  bool wake_on_applied_ ABSL_GUARDED_BY(mutex_) = true;
  size_t waiting_reads_ ABSL_GUARDED_BY(mutex_) = 0;

  // Calls of other members that are not answered yet. What the wire says after the end finds the
  // door closed.
  base::Mutex calls_mutex_;
  uint64_t next_call_ ABSL_GUARDED_BY(calls_mutex_) = 1;
  absl::flat_hash_map<uint64_t, CallDone> calls_ ABSL_GUARDED_BY(calls_mutex_);
  bool calls_stopped_ ABSL_GUARDED_BY(calls_mutex_) = false;
  const std::shared_ptr<Door<NodeRunner>> calls_door_ = std::make_shared<Door<NodeRunner>>(this);

  // What any thread may look at.
  std::atomic<bool> can_read_now_ = false;
  std::atomic<bool> ends_reads_ = false;
  std::atomic<DiskRoom> disk_room_ = DiskRoom::kEnough;
  std::atomic<bool> space_alarm_ = false;  // As HasAutomaticAlarm says.
  std::atomic<bool> failed_ = false;
  // Held while the log is given the word of another mode.
  base::Mutex sync_mode_mutex_;
  std::atomic<wal::SyncMode> sync_mode_ = wal::SyncMode::kAlways;
  bool expects_others_ ABSL_GUARDED_BY(sync_mode_mutex_) = false;
  mutable base::Mutex status_mutex_;
  base::ConditionVariable status_changed_;
  NodeStatus status_ ABSL_GUARDED_BY(status_mutex_);
  std::shared_ptr<const Members> members_ ABSL_GUARDED_BY(status_mutex_);
  std::shared_ptr<const ClusterState> cluster_ ABSL_GUARDED_BY(status_mutex_);
  std::shared_ptr<const std::map<MemberId, Index>> removed_ ABSL_GUARDED_BY(status_mutex_);
  // When this member is to say that it was removed; far away as long as it was not.
  std::chrono::steady_clock::time_point removal_at_ ABSL_GUARDED_BY(status_mutex_) =
      std::chrono::steady_clock::time_point::max();
  bool is_ready_ ABSL_GUARDED_BY(status_mutex_) = false;
  std::optional<uint64_t> replay_us_ ABSL_GUARDED_BY(status_mutex_);
  bool stopping_ ABSL_GUARDED_BY(status_mutex_) = false;
  absl::Status failure_ ABSL_GUARDED_BY(status_mutex_);  // Set together with failed_.
  wal::Token durable_token_ ABSL_GUARDED_BY(status_mutex_) = 0;

  std::unique_ptr<wal::LogThread> log_;
  std::unique_ptr<ApplyLoop> apply_;
  std::thread node_thread_;
  bool stopped_ = false;  // The owner's thread only.
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_NODE_RUNNER_H_
