// One member of a simulated cluster: the real bootstrap, log, node core, applier, leases and
// watches, without a thread, over disks in memory that forget what was not synced.
//
// Owned by a Cluster, which decides when anything happens: nothing here does work by itself. What
// the node core hands out waits in queues until the cluster lets it be done: writes of the log,
// ranges to apply, reads of the log. It does what node_runner.h and the threads around it do, turn
// by turn. Test only.
#ifndef CAIRN_TEST_SIM_MEMBER_H_
#define CAIRN_TEST_SIM_MEMBER_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "mvcc/store.h"
#include "raft/messages.h"
#include "raft/ready.h"
#include "raft/types.h"
#include "server/applier.h"
#include "server/bootstrap.h"
#include "server/config.h"
#include "server/history_reader.h"
#include "server/lease_driver.h"
#include "server/lease_manager.h"
#include "server/membership_driver.h"
#include "server/node_core.h"
#include "server/snapshot_install.h"
#include "server/test_disk.h"
#include "server/watch_feed.h"
#include "test/sim/temper.h"
#include "watch/hub.h"

namespace cairn::sim {

class Member;

// What members tell of themselves, as it happens.
class World {
 public:
  using RenewDone = server::LeaseManagerOptions::LeaderDone;

  virtual ~World() = default;

  // What the clock of the member at `position` shows.
  virtual int64_t NowMs(size_t position) const = 0;
  virtual void Send(Member& from, raft::Message message) = 0;
  virtual void SendSnapshot(Member& from, const raft::SnapshotWanted& wanted) = 0;
  virtual bool AskToRenew(Member& from, MemberId leader, LeaseId id, RenewDone done) = 0;
  // A batch of entries was applied and published; nobody was answered yet.
  virtual void SawApplied(Member& member, std::span<const raft::Entry> entries,
                          const server::Applier::Result& result) = 0;
  // Every change of a batch, before anybody else hears of it.
  virtual void SawChanges(Member& member, std::span<const mvcc::Change> changes) = 0;
  virtual void SawReadReady(Member& member, server::WaiterId id) = 0;
  // A read or a proposal that was certainly not done.
  virtual void SawGivenUp(Member& member, server::WaiterId id) = 0;
  virtual void SawTrace(Member& member, const raft::TraceEvent& event) = 0;
  virtual void SawMessage(Member& member, watch::StreamId stream,
                          const watch::Message& message) = 0;
  virtual void Violated(Member& member, std::string what) = 0;
};

struct CrashPlan {
  uint64_t seed = 0;
  // Else the process dies and the machine goes on: what was written stays.
  bool is_power_cut = false;
  // One bit of what was not synced comes back wrong.
  bool flips_bit = false;
};

class Member : private server::ChangeSink, private server::InstallHost {
 public:
  // `config` names this member. `ask` is asked by one that joins.
  Member(World& world, size_t position, server::Config config, const Temper& temper,
         server::AskMembers ask);
  ~Member() override;

  size_t position() const { return position_; }
  MemberId id() const { return id_; }
  bool is_up() const { return node_ != nullptr; }
  // One more with each start.
  uint64_t incarnation() const { return incarnation_; }
  uint64_t start_nonce() const { return foundation_.start_nonce; }

  // REQUIRES, from here on: is_up().
  server::NodeCore& node() { return *node_; }
  mvcc::Store& store() { return *foundation_.store; }
  const server::Applier& applier() const { return *foundation_.applier; }
  const server::Membership& membership() const { return foundation_.applier->membership(); }
  server::LeaseManager& leases() { return *leases_; }
  const wal::Wal& log() const { return *foundation_.wal; }
  const wal::Recovered& recovered() const { return foundation_.recovered; }
  server::TestDisk& disk() { return disk_; }
  // The state was removed from the cluster by an entry that was applied here.
  bool is_removed() const { return is_removed_; }

  // The process starts. An error is the one of the bootstrap, and leaves it down.
  absl::Status Start(uint64_t seed);
  // REQUIRES: it is up, or its disks have just failed while it started.
  void Crash(const CrashPlan& plan);
  // Takes a flipped bit back, as one who restores a copy of the disk does. False: there is none.
  bool TakeBackFlip();
  bool has_flip() const { return flip_.has_value(); }

  // One turn of the node thread: leases, members, and what the node core wants done.
  void Turn(bool has_ticked);

  // The log: what waits is written as one batch, and later synced. Errors are final.
  bool can_begin_log() const { return in_flight_ == 0 && !writes_.empty(); }
  absl::Status BeginLog();
  bool is_syncing() const { return in_flight_ > 0; }
  absl::Status FinishLog();
  bool can_apply() const { return !ranges_.empty(); }
  // Applies up to `count` entries as one batch.
  absl::Status Apply(size_t count);
  bool can_read_log() const { return !log_reads_.empty(); }
  void AnswerLogRead(bool fails);
  // Makes the state durable and has the log marked.
  absl::Status FlushAndMark();
  // The mark is durable: removes segments. Returns how many.
  bool can_collect() const { return can_collect_; }
  absl::StatusOr<size_t> Collect(Index pinned_from);
  // One step of what follows a compaction; false when there is nothing to do.
  absl::StatusOr<bool> RemoveSome(int rows_max);
  // Takes the snapshot that lies at the fresh path, which a leader of `term` sent.
  absl::StatusOr<server::InstallOutcome> Install(Term term);
  std::string fresh_path() const { return states_->fresh_path(); }
  std::string checkpoint_path(std::string_view name) const {
    return states_->checkpoint_path(name);
  }

  // Watches, as watch_service.h serves them.
  watch::StreamId OpenStream();
  void CloseStream(watch::StreamId id);
  void CreateWatch(watch::StreamId id, const watch::CreateRequest& request);
  void CancelWatch(watch::StreamId id, watch::WatchId watch);
  void RequestProgress(watch::StreamId id);
  void SetBlocked(watch::StreamId id, bool is_blocked) { hub_->SetBlocked(id, is_blocked); }
  bool wants_watch_turn() const { return is_feed_enabled_ && has_changed_; }
  void WatchTurn();
  bool can_read_history() const { return history_.has_value(); }
  absl::Status ReadHistory();

  // Whether the disk holds `entry` whatever happens; also while it is down.
  bool HoldsDurably(raft::EntryId entry) const;
  Index flushed() const { return flushed_; }
  bool is_idle() const { return writes_.empty() && ranges_.empty() && log_reads_.empty(); }

 private:
  struct Pending {
    wal::Append append;
    uint64_t number = 0;  // 0: a marker.
  };
  struct Flip {
    std::string path;
    uint64_t offset_bytes = 0;
    int bit = 0;
  };

  static constexpr Index kNothing{std::numeric_limits<uint64_t>::max()};

  void Do(server::Work work);
  void FinishRead(server::WaiterId id, bool is_ready);
  void CheckPromise(const raft::Message& message);
  void TellApplied(Index applied, server::Applier::Result& result);
  std::vector<raft::Entry> NextEntries(size_t count);
  absl::Status SyncLog();
  void RememberDisk();
  void FlipBit(uint64_t seed, const std::vector<wal::FaultFs::SectorPlace>& unsynced);
  void TakeDown();
  bool TakeChanges();
  void BeginHistory();

  // server::ChangeSink.
  void OnCommitted(std::span<const mvcc::Change> changes, Revision revision) override;
  // Only members that sync by interval raise it.
  void OnRaised(Revision revision) override { OnCommitted({}, revision); }
  void OnReplaced(Revision revision) override;

  // server::InstallHost.
  absl::Status SyncTerm(Term term) override;
  absl::StatusOr<bool> BeginInstall(raft::EntryId id) override;
  void AbandonInstall() override;
  absl::Status DrainApply() override;
  absl::Status RecordInstalled(wal::SnapshotInstalled record) override;
  absl::Status FinishInstall(std::unique_ptr<mvcc::Store> fresh,
                             server::Applier::Loaded loaded) override;
  void FailInstall(const absl::Status& error) override;

  World& world_;
  const size_t position_;
  const server::Config config_;
  const Temper& temper_;
  const server::AskMembers ask_;
  MemberId id_;
  uint64_t incarnation_ = 0;
  bool is_removed_ = false;

  server::TestDisk disk_;
  std::optional<Flip> flip_;
  // What the disk holds of the log, while the member is down.
  raft::EntryId disk_before_first_;
  std::vector<Term> disk_terms_;

  server::Bootstrapped foundation_;
  std::unique_ptr<server::StateHome> states_;
  std::unique_ptr<server::LeaseManager> leases_;
  // Reads that leases wait for, by id; theirs begin with kBarrier.
  static constexpr server::WaiterId kBarrier = server::WaiterId{1} << 63;
  std::map<server::WaiterId, server::LeaseManagerOptions::BarrierDone> barriers_;
  uint64_t barriers_made_ = 0;
  std::unique_ptr<server::NodeCore> node_;
  std::unique_ptr<server::LeaseDriver> lease_driver_;
  std::unique_ptr<server::MembershipDriver> membership_driver_;
  std::unique_ptr<watch::Hub> hub_;
  std::unique_ptr<server::WatchFeed> feed_;
  server::WatchFeed::Batch changes_;
  std::optional<server::HistoryJob> history_;
  bool is_feed_enabled_ = false;
  // Something for the watch thread.
  bool has_changed_ = false;

  std::deque<Pending> writes_;
  size_t in_flight_ = 0;
  // What is durable: the hard state, the end of the log, and where it may be superseded.
  raft::HardState synced_;
  Index synced_last_;
  Index unsynced_from_ = kNothing;
  Index flushed_;
  Index marked_;
  bool can_collect_ = false;
  std::deque<server::ApplyRange> ranges_;
  std::deque<raft::LogRead> log_reads_;
};

}  // namespace cairn::sim

#endif  // CAIRN_TEST_SIM_MEMBER_H_
