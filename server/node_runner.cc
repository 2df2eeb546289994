#include "server/node_runner.h"

#include <glog/logging.h>

#include <algorithm>
#include <future>
#include <iterator>

#include "api/errors.h"
#include "base/check.h"
#include "base/status.h"
#include "base/thread.h"
#include "raft/quorum.h"
#include "server/peer/codec.h"
#include "server/peer/lease_calls.h"

namespace cairn::server {

namespace {

using std::chrono::steady_clock;

}  // namespace

NodeRunner::NodeRunner(NodeRunnerOptions options, raft::RestoredState restored, wal::Wal& wal,
                       mvcc::Store& store, Applier& applier)
    : options_(std::move(options)),
      wal_(wal),
      store_(store),
      applier_(applier),
      replay_through_(std::max(restored.hard_state.commit, restored.applied.index)),
      replayed_entries_(replay_through_ - restored.applied.index),
      tracker_(kWaitedBytesMax),
      change_tracker_(kWaitedChangeBytesMax),
      confirmed_pool_(kConfirmedThreads, kWaitingReadsMax),
      read_pool_(kReadThreads, kQueuedReadsMax),
      hash_pool_(1, kQueuedHashesMax),
      log_reader_(1, kLogReadsMax),
      leases_(LeaseOptions()),
      leader_loss_(LeaderLoss::kElectionTimeouts * options_.core.raft.election_timeout_ticks),
      core_(options_.core, std::move(restored)),
      leader_history_(options_.tick * options_.core.raft.election_timeout_ticks),
      lease_driver_(leases_, core_, options_.core.raft.id, options_.start_nonce,
                    options_.core.raft.election_timeout_ticks),
      membership_driver_(core_, options_.auto_promote_learners),
      members_(std::make_shared<const Members>(applier.membership().members)),
      cluster_(std::make_shared<const ClusterState>(applier.cluster())),
      removed_(std::make_shared<const std::map<MemberId, Index>>(applier.membership().removed)) {
  status_.applied = core_.raft().applied();
  space_alarm_.store(HasAutomaticAlarm(*cluster_), std::memory_order_relaxed);
  if (options_.peers != nullptr) options_.peers->SetMembers(*members_);
  options_.pins->SetAlone(members_->size() <= 1);
  leases_.Applied(status_.applied, applier.leases().All());
  log_ = std::make_unique<wal::LogThread>(
      wal_,
      wal::LogThreadOptions{.sync_interval = options_.sync_interval,
                            .has_room_for_spare = options_.has_room_for_spare},
      wal::LogThread::Callbacks{
          .durable =
              [this](wal::Token last) {
                {
                  base::MutexLock lock(mutex_);
                  inputs_.durable = last;
                  WakeNode();
                }
                base::MutexLock lock(status_mutex_);
                durable_token_ = last;
                status_changed_.SignalAll();
              },
          .failed = [this](const absl::Status& error) { Fatal(error); },
      });
  apply_ = std::make_unique<ApplyLoop>(
      wal_, store_, applier_,
      ApplyLoop::Callbacks{
          .applied = [this](Index applied, Applier::Result& result) { OnApplied(applied, result); },
          .replaced = [this](Index applied,
                             Applier::Result& result) { PublishApplied(applied, result); },
          .failed = [this](const absl::Status& error) { Fatal(error); },
      });
  node_thread_ = std::thread([this] { RunNode(); });
}

NodeRunner::~NodeRunner() { Stop().IgnoreError(); }

LeaseManagerOptions NodeRunner::LeaseOptions() {
  LeaseManagerOptions options = options_.leases;
  options.read_barrier = [this](LeaseManagerOptions::BarrierDone done) {
    if (CanReadNow()) return std::move(done)(absl::OkStatus());
    ReadBarrier(nullptr, std::move(done));
  };
  if (options_.peers == nullptr) return options;
  options.renew_on_leader = [this](LeaseId id, LeaseManagerOptions::LeaderDone done) {
    const MemberId leader = OtherLeader();
    if (leader == MemberId(0)) return false;
    RenewLeaseOn(*this, leader, id, std::move(done));
    return true;
  };
  return options;
}

MemberId NodeRunner::OtherLeader() const {
  base::MutexLock lock(status_mutex_);
  return status_.leader == member_id() ? MemberId(0) : status_.leader;
}

void NodeRunner::Fatal(const absl::Status& error) {
  {
    base::MutexLock lock(status_mutex_);
    if (failed_.exchange(true)) return;
    failure_ = error;
    can_read_now_.store(false, std::memory_order_release);
    status_changed_.SignalAll();
  }
  options_.on_fatal(error);
}

absl::Status NodeRunner::WaitReady(std::chrono::milliseconds timeout) {
  const auto deadline = steady_clock::now() + timeout;
  base::MutexLock lock(status_mutex_);
  while (true) {
    if (stopping_) return base::Error(absl::StatusCode::kUnavailable, "the server is stopping");
    if (!failure_.ok()) return failure_;
    if (is_ready_) return absl::OkStatus();
    if (!status_changed_.WaitUntil(status_mutex_, deadline)) {
      return base::Error(absl::StatusCode::kDeadlineExceeded,
                         "not ready after {} ms: applied {} of {}, leader {:x}", timeout.count(),
                         status_.applied, replay_through_, status_.leader);
    }
  }
}

void NodeRunner::HandOver() {
  std::promise<absl::Status> finished;
  TransferLeadership(MemberId(0), [&](absl::Status status) { finished.set_value(status); });
  if (!finished.get_future().get().ok() || OtherLeader() == MemberId(0)) return;
  // The others may hear of the new leader a little later: what they still send here is passed on.
  const auto heard = steady_clock::now() + options_.tick;
  base::MutexLock lock(status_mutex_);
  while (!stopping_ && status_changed_.WaitUntil(status_mutex_, heard)) {
  }
}

absl::Status NodeRunner::Stop() {
  if (stopped_) return absl::OkStatus();
  stopped_ = true;
  EndReads();
  {
    base::MutexLock lock(status_mutex_);
    stopping_ = true;
    status_changed_.SignalAll();
  }
  can_read_now_.store(false, std::memory_order_release);
  {
    base::MutexLock lock(mutex_);
    node_stops_ = true;
    node_wake_.SignalAll();
  }
  node_thread_.join();
  apply_->Stop();

  const absl::Status stopped = api::ToStatus(api::Error::kServerStopped);
  tracker_.Stop(stopped);
  change_tracker_.Stop(stopped);
  StopCalls();
  leases_.Stop();
  for (auto& [id, read] : reads_) std::move(read.done)(stopped);
  reads_.clear();
  Inputs inputs;
  {
    base::MutexLock lock(mutex_);
    std::swap(inputs, inputs_);
  }
  for (auto& [id, read] : inputs.reads) std::move(read.done)(stopped);
  for (LookDone& done : inputs.looks) std::move(done)(stopped);
  for (auto& [target, done] : inputs.transfers) std::move(done)(stopped);
  for (Transfer& transfer : transfers_) std::move(transfer.done)(stopped);
  for (const auto& task : inputs.tasks) task(nullptr);
  apply_->StopWaits();
  confirmed_pool_.Stop();
  read_pool_.Stop();
  hash_pool_.Stop();
  log_reader_.Stop();

  if (failed_.load()) {
    log_->Stop().IgnoreError();
    base::MutexLock lock(status_mutex_);
    return failure_;
  }
  CAIRN_ASSIGN_OR_RETURN(const mvcc::EntryApplied durable, store_.Flush());
  wal::Append last{.commit = durable.index};
  if (durable.index != Index(0)) last.marker = wal::Marker{{durable.term, durable.index}};
  // Synced with all before it: a stop in order.
  if (sync_mode() != wal::SyncMode::kAlways) last.sync_mode = wal::SyncMode::kAlways;
  log_->Submit(std::move(last));
  CAIRN_RETURN_IF_ERROR(log_->Stop());
  return wal_.CollectCovered(durable.index, options_.pins->Now()).status();
}

absl::Status NodeRunner::MarkDurable(raft::EntryId id) {
  return WriteLog({.marker = wal::Marker{id}, .commit = id.index});
}

absl::Status NodeRunner::WriteLog(wal::Append append) {
  const wal::Token token = log_->Submit(std::move(append));
  base::MutexLock lock(status_mutex_);
  while (durable_token_ < token) {
    if (stopping_ || failed_.load()) {
      return base::Error(absl::StatusCode::kCancelled, "the server is stopping");
    }
    status_changed_.WaitUntil(status_mutex_, steady_clock::now() + options_.tick);
  }
  return absl::OkStatus();
}

absl::Status NodeRunner::SyncLog() {
  {
    base::MutexLock lock(status_mutex_);
    if (!failure_.ok()) return failure_;
  }
  return log_->SyncCompleted();
}

absl::Status NodeRunner::RelaxSync(wal::SyncMode mode) {
  CAIRN_CHECK(mode != wal::SyncMode::kAlways);
  base::MutexLock lock(sync_mode_mutex_);
  if (expects_others_ || members()->size() > 1) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "the log must be synced always: the cluster has {} members, or is to have "
                       "more; start with --wal-sync-mode=always",
                       members()->size());
  }
  CAIRN_RETURN_IF_ERROR(WriteLog({.sync_mode = mode}));
  sync_mode_.store(mode, std::memory_order_relaxed);
  return absl::OkStatus();
}

void NodeRunner::SyncAlwaysFromNow() {
  base::MutexLock lock(sync_mode_mutex_);
  expects_others_ = true;
  if (sync_mode() == wal::SyncMode::kAlways) return;
  log_->Submit({.sync_mode = wal::SyncMode::kAlways});
  sync_mode_.store(wal::SyncMode::kAlways, std::memory_order_relaxed);
  LOG(WARNING) << "other members are to come: from here on everything is synced before it is "
                  "acknowledged; start with --wal-sync-mode=always next time";
}

absl::Status NodeRunner::RunOnNode(const std::function<void(NodeCore& core)>& work) {
  auto result = std::make_shared<std::promise<bool>>();
  std::future<bool> has_run = result->get_future();
  absl::Status cancelled = base::Error(absl::StatusCode::kCancelled, "the server is stopping");
  {
    base::MutexLock lock(mutex_);
    if (node_stops_) return cancelled;
    inputs_.tasks.push_back([result, &work](NodeCore* core) {
      if (core != nullptr) work(*core);
      result->set_value(core != nullptr);
    });
    WakeNode();
  }
  return has_run.get() ? absl::OkStatus() : cancelled;
}

void NodeRunner::SnapshotStatus(MemberId peer, Index index, bool is_installed) {
  base::MutexLock lock(mutex_);
  inputs_.snapshots.push_back({peer, index, is_installed});
  WakeNode();
}

LogStats NodeRunner::log_stats() const {
  LogStats stats{.log = wal_.figures(),
                 .thread = log_->figures(),
                 .retention = wal_.Retained(options_.pins->Now()),
                 .open_us = options_.log_open_us,
                 .open_bytes = options_.log_open_bytes,
                 .replayed_entries = replayed_entries_};
  base::MutexLock lock(status_mutex_);
  stats.applied = status_.applied;
  stats.replay_us = replay_us_;
  return stats;
}

absl::StatusOr<bool> NodeRunner::CommitRemoval(mvcc::RemovalStep step) {
  return apply_->CommitRemoval(std::move(step));
}

// --- Node ---

NodeStatus NodeRunner::status() const {
  base::MutexLock lock(status_mutex_);
  NodeStatus status = status_;
  status.sync_mode = sync_mode();
  return status;
}

std::shared_ptr<const Members> NodeRunner::members() const {
  base::MutexLock lock(status_mutex_);
  return members_;
}

bool NodeRunner::IsOutOfSpace() const {
  return disk_room_.load(std::memory_order_relaxed) != DiskRoom::kEnough || log_->out_of_space();
}

bool NodeRunner::RefusesGrowth() const {
  return space_alarm_.load(std::memory_order_relaxed) || IsOutOfSpace();
}

void NodeRunner::Propose(CommandKind kind, std::string_view body, ProposeDone done) {
  const WaiterId id = next_sequence_.fetch_add(1, std::memory_order_relaxed);
  std::string payload = EncodeCommand(
      {.kind = kind, .proposer = member_id(), .nonce = options_.start_nonce, .sequence = id}, body);
  if (payload.size() > options_.request_bytes_max) {
    std::move(done)({.status = api::ToStatus(api::Error::kRequestTooLarge)});
    return;
  }
  if (apply_->unapplied_bytes() > kUnappliedBytesMax) {
    std::move(done)({.status = api::ToStatus(api::Error::kTooManyRequests)});
    return;
  }
  if (!tracker_.Add(id, payload.size(), steady_clock::now() + options_.proposal_timeout, done)) {
    std::move(done)({.status = WhyNotTracked()});
    return;
  }
  raft::Payload data = std::make_shared<const std::string>(std::move(payload));
  base::MutexLock lock(mutex_);
  inputs_.proposals.push_back({id, {raft::EntryKind::kCommand, std::move(data)}});
  WakeNode();
}

absl::Status NodeRunner::WhyNotTracked() const {
  base::MutexLock lock(status_mutex_);
  return api::ToStatus(stopping_ ? api::Error::kServerStopped : api::Error::kTooManyRequests);
}

void NodeRunner::WaitCompacted(Revision revision, BarrierDone done) {
  apply_->WaitCompacted(revision, std::move(done));
}

// --- The other members ---

void NodeRunner::Step(std::vector<raft::Message> messages) {
  base::MutexLock lock(mutex_);
  for (raft::Message& message : messages) {
    const size_t bytes = EncodedBytes(message);
    // One always fits, or a large entry would never get through.
    const bool fits = inputs_.messages.empty() || inputs_.message_bytes + bytes <= kInboxBytesMax;
    if (!fits) continue;
    inputs_.message_bytes += bytes;
    inputs_.messages.push_back(std::move(message));
  }
  WakeNode();
}

void NodeRunner::ReportUnreachable(MemberId peer) {
  base::MutexLock lock(mutex_);
  std::vector<MemberId>& known = inputs_.unreachable;
  if (std::find(known.begin(), known.end(), peer) == known.end()) known.push_back(peer);
  WakeNode();
}

void NodeRunner::Undelivered(std::vector<raft::Message> messages) {
  base::MutexLock lock(mutex_);
  std::move(messages.begin(), messages.end(), std::back_inserter(inputs_.undelivered));
  WakeNode();
}

// Runs on the log reader.
void NodeRunner::ReadLog(const raft::LogRead& read) {
  raft::LogReadAnswer answer{.peer = read.peer, .term = read.term, .from = read.from};
  const absl::StatusOr<Term> before = wal_.TermAt(read.from - 1);
  absl::StatusOr<std::vector<raft::Entry>> entries;  // Not OK.
  if (before.ok()) {
    entries = wal_.ReadEntries(read.from, read.limit, read.max_bytes);
  } else {
    entries = before.status();
  }
  if (entries.ok()) {
    answer.term_before = *before;
    answer.entries = *std::move(entries);
  } else if (absl::IsOutOfRange(entries.status())) {
    answer.is_removed = true;
  } else {
    LOG(WARNING) << "reading the log for a member that lags: " << entries.status();
  }
  base::MutexLock lock(mutex_);
  inputs_.log_reads.push_back(std::move(answer));
  WakeNode();
}

// --- The node thread ---

void NodeRunner::WakeNode() {
  // Each one that finds it asleep, for the first may be held up before its signal.
  if (node_sleeps_) mutex_.SignalBehind(node_wake_);
}

void NodeRunner::RunNode() {
  base::NameThread("node");
  next_tick_ = steady_clock::now() + options_.tick;
  // Who starts is waited for: no need to begin with a pause.
  if (options_.peers != nullptr) options_.peers->Tick();
  bool has_ticked = false;
  while (true) {
    lease_driver_.Run(has_ticked);
    if (has_ticked) membership_driver_.Tick(*members());
    Do(core_.TakeWork());
    FinishTransfers();
    PublishStatus();
    Inputs inputs;
    {
      base::MutexLock lock(mutex_);
      wake_on_reads_ = core_.TakesReads();
      wake_on_applied_ = core_.WaitsForApplied() || lease_driver_.waits_for_applied();
      bool is_tick = false;
      while (!node_stops_ && !HasInput() && !is_tick && !lease_driver_.has_more()) {
        node_sleeps_ = true;
        is_tick = !node_wake_.WaitUntil(mutex_, next_tick_);
      }
      node_sleeps_ = false;
      if (node_stops_) return;
      std::swap(inputs, inputs_);
    }
    TakeInputs(inputs);
    has_ticked = steady_clock::now() >= next_tick_;
    if (has_ticked) Tick();
  }
}

bool NodeRunner::HasInput() const {
  return !inputs_.proposals.empty() || (wake_on_reads_ && !inputs_.reads.empty()) ||
         inputs_.durable != 0 || (wake_on_applied_ && !inputs_.applied.empty()) ||
         !inputs_.messages.empty() || !inputs_.unreachable.empty() ||
         !inputs_.undelivered.empty() || !inputs_.log_reads.empty() || !inputs_.transfers.empty() ||
         !inputs_.snapshots.empty() || !inputs_.tasks.empty() || !inputs_.looks.empty();
}

void NodeRunner::TakeInputs(Inputs& inputs) {
  for (AppliedNote& note : inputs.applied) {
    if (note.configuration.has_value()) {
      core_.ConfigurationApplied(std::move(note.configuration->first), note.configuration->second);
    }
    core_.Applied(note.index);
  }
  uint64_t durable = 0;
  while (!log_writes_.empty() && log_writes_.front().first <= inputs.durable) {
    durable = log_writes_.front().second;
    log_writes_.pop_front();
  }
  if (durable != 0) core_.LogDurable(durable);
  for (raft::Message& message : inputs.messages) core_.Step(std::move(message));
  for (const MemberId peer : inputs.unreachable) core_.ReportUnreachable(peer);
  if (!inputs.undelivered.empty()) core_.Undelivered(std::move(inputs.undelivered));
  for (raft::LogReadAnswer& answer : inputs.log_reads) core_.EntriesRead(std::move(answer));
  if (!inputs.proposals.empty()) core_.Propose(std::move(inputs.proposals));
  TakeReads(inputs.reads);
  for (auto& [target, done] : inputs.transfers) StartTransfer(target, std::move(done));
  for (const SnapshotReport& report : inputs.snapshots) {
    core_.SnapshotStatus(report.peer, report.index, report.is_installed);
  }
  for (const auto& task : inputs.tasks) task(&core_);
  for (LookDone& done : inputs.looks) std::move(done)(core_.raft().Status());
}

void NodeRunner::Tick() {
  core_.Tick();
  if (++ticks_ % kAbandonedReadsTicks == 0) DropAbandonedReads();
  options_.pins->SetFollowers(core_.raft().Status().peers);
  if (options_.peers != nullptr) options_.peers->Tick();
  const auto now = steady_clock::now();
  // A thread that was held up does not tick in a burst: time that nobody could use does not count
  // towards an election.
  next_tick_ = std::max(next_tick_ + options_.tick, now);
  leader_loss_.Tick(core_.raft().leader() != MemberId(0));
  tracker_.Expire(now, [&](steady_clock::time_point deadline) {
    const auto started = deadline - options_.proposal_timeout;
    return api::ToStatus(leader_history_.WhyTimedOut(started, WasConnected(now - started)));
  });
  change_tracker_.Expire(
      now, [](steady_clock::time_point) { return api::ToStatus(api::Error::kDeadlineExceeded); });
  TellOfRemoval();
}

void NodeRunner::Do(Work work) {
  for (LogWrite& write : work.log) SubmitWrite(std::move(write));
  if (!work.apply.empty()) apply_->Push(std::move(work.apply));
  FinishReads(work);
  for (const RefusedProposal& refused : work.refused) FailProposal(refused);
  for (const raft::TraceEvent& event : work.trace) LOG(INFO) << raft::Describe(event);
  if (options_.peers == nullptr) {
    CAIRN_CHECK(work.messages.empty() && work.log_reads.empty() && work.snapshots.empty());
    return;
  }
  if (!work.messages.empty()) options_.peers->Send(std::move(work.messages));
  for (const raft::LogRead& read : work.log_reads) {
    WorkerPool::Task task = [this, read] { ReadLog(read); };
    if (log_reader_.Run(task)) continue;
    // As a failed read: the core asks again.
    core_.EntriesRead({.peer = read.peer, .term = read.term, .from = read.from});
  }
  for (const raft::SnapshotWanted& wanted : work.snapshots) {
    if (options_.on_snapshot_wanted) {
      options_.on_snapshot_wanted(wanted);
    } else {
      core_.SnapshotStatus(wanted.peer, wanted.index, /*is_installed=*/false);
    }
  }
}

void NodeRunner::FailProposal(const RefusedProposal& refused) {
  api::Error error = api::Error::kDeadlineExceeded;
  if (refused.reason == RefusalReason::kTooManyRequests) error = api::Error::kTooManyRequests;
  // One of them knows the waiter.
  tracker_.Fail(refused.id, api::ToStatus(error));
  change_tracker_.Fail(refused.id, api::ToStatus(error));
}

void NodeRunner::SubmitWrite(LogWrite write) {
  wal::Append append{.hard_state = write.hard_state, .commit = write.commit};
  size_t bytes = 0;
  for (raft::Entry& entry : write.entries) {
    if (bytes > 0 && bytes + entry.data_bytes() > kAppendBytesMax) {
      log_->Submit(std::exchange(append, {.commit = write.commit}));
      bytes = 0;
    }
    bytes += entry.data_bytes();
    append.entries.push_back(std::move(entry));
  }
  log_writes_.emplace_back(log_->Submit(std::move(append)), write.number);
}

void NodeRunner::PublishStatus() {
  const raft::Core& raft = core_.raft();
  const bool is_new_leader = raft.leader() != leader_history_.leader();
  if (is_new_leader) leader_history_.See(raft.leader(), steady_clock::now());
  const raft::Configuration& configuration = raft.configuration();
  const bool can_read_alone = core_.IsSoleVoterReady();
  const bool is_alone = raft::IsSoleVoter(configuration, raft.id());
  {
    base::MutexLock lock(status_mutex_);
    const bool can_read = can_read_alone && failure_.ok();
    // Who votes is not known before the replay.
    const bool is_replayed = raft.applied() >= replay_through_;
    if (is_replayed && !replay_us_.has_value()) {
      replay_us_ = static_cast<uint64_t>(
          std::chrono::duration_cast<std::chrono::microseconds>(steady_clock::now() - started_)
              .count());
    }
    const bool is_ready = is_replayed && (can_read || !is_alone);
    if (is_ready != is_ready_ || status_.leader != raft.leader()) status_changed_.SignalAll();
    is_ready_ = is_ready;
    status_.term = raft.term();
    status_.leader = raft.leader();
    status_.commit = raft.commit();
    // Who joins and does not know yet as what answers as little as a learner.
    status_.is_learner = !raft::IsVoter(configuration, raft.id());
    if (can_read != can_read_now_.load() && !stopping_) {
      can_read_now_.store(can_read, std::memory_order_release);
      status_changed_.SignalAll();
    }
  }
  // Asks at once whoever was just published.
  if (is_new_leader) leases_.Follow(raft.leader());
}

// --- The apply thread ---

void NodeRunner::PublishApplied(Index applied, const Applier::Result& result) {
  std::shared_ptr<const Members> changed;
  {
    base::MutexLock lock(status_mutex_);
    status_.applied = applied;
    status_changed_.SignalAll();
    if (result.members_changed) {
      changed = std::make_shared<const Members>(applier_.membership().members);
      members_ = changed;
      removed_ = std::make_shared<const std::map<MemberId, Index>>(applier_.membership().removed);
    }
    if (result.cluster != nullptr) {
      cluster_ = result.cluster;
      space_alarm_.store(HasAutomaticAlarm(*cluster_), std::memory_order_relaxed);
    }
    if (result.self_removed) removal_at_ = steady_clock::now() + kRemovalGrace;
  }
  if (changed != nullptr) options_.pins->SetAlone(changed->size() <= 1);
  if (changed != nullptr && changed->size() > 1) SyncAlwaysFromNow();
  if (changed != nullptr && options_.peers != nullptr) options_.peers->SetMembers(*changed);
  leases_.Applied(applied, result.leases);
}

void NodeRunner::OnApplied(Index applied, Applier::Result& result) {
  // Before anyone is answered: who renews a lease after its revocation was answered finds none.
  PublishApplied(applied, result);
  tracker_.Complete(std::move(result.outcomes));
  {
    base::MutexLock lock(mutex_);
    if (!result.configuration.has_value() && !inputs_.applied.empty()) {
      inputs_.applied.back().index = applied;
    } else {
      inputs_.applied.push_back({applied, std::move(result.configuration)});
    }
    if (wake_on_applied_) WakeNode();
  }
  // Whoever hears of a change and asks for the next finds consensus informed.
  change_tracker_.Complete(std::move(result.changes));
}

}  // namespace cairn::server
