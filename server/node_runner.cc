#include "server/node_runner.h"

#include <glog/logging.h>

#include <algorithm>
#include <future>

#include "api/errors.h"
#include "base/check.h"
#include "base/status.h"
#include "base/thread.h"

namespace cairn::server {

namespace {

using std::chrono::steady_clock;

size_t PayloadBytes(std::span<const raft::Entry> entries) {
  size_t bytes = 0;
  for (const raft::Entry& entry : entries) bytes += entry.data_bytes();
  return bytes;
}

}  // namespace

NodeRunner::NodeRunner(NodeRunnerOptions options, raft::RestoredState restored, wal::Wal& wal,
                       mvcc::Store& store, Applier& applier)
    : options_(std::move(options)),
      wal_(wal),
      store_(store),
      applier_(applier),
      replay_through_(std::max(restored.hard_state.commit, restored.applied.index)),
      tracker_(kWaitedBytesMax),
      read_pool_(kReadThreads, kQueuedReadsMax),
      leases_(options_.leases),
      core_(options_.core, std::move(restored)),
      lease_driver_(leases_, core_, options_.core.raft.id, options_.start_nonce,
                    options_.tick.count()),
      members_(std::make_shared<const Members>(applier.membership().members)) {
  status_.applied = core_.raft().applied();
  leases_.Applied(status_.applied, applier.leases().All());
  log_ = std::make_unique<wal::LogThread>(
      wal_, wal::LogThreadOptions{},
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
  node_thread_ = std::thread([this] { RunNode(); });
  apply_thread_ = std::thread([this] { RunApply(); });
}

NodeRunner::~NodeRunner() { Stop().IgnoreError(); }

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
  while (!can_read_now_.load() || status_.applied < replay_through_) {
    if (stopping_) return base::Error(absl::StatusCode::kUnavailable, "the server is stopping");
    if (!failure_.ok()) return failure_;
    if (!status_changed_.WaitUntil(status_mutex_, deadline)) {
      return base::Error(absl::StatusCode::kDeadlineExceeded,
                         "not ready after {} ms: applied {} of {}, leader {:x}", timeout.count(),
                         status_.applied, replay_through_, status_.leader);
    }
  }
  return absl::OkStatus();
}

absl::Status NodeRunner::Stop() {
  if (stopped_) return absl::OkStatus();
  stopped_ = true;
  std::vector<std::pair<Revision, BarrierDone>> compaction_waits;
  {
    base::MutexLock lock(status_mutex_);
    stopping_ = true;
    compaction_waits.swap(compaction_waits_);
    status_changed_.SignalAll();
  }
  can_read_now_.store(false, std::memory_order_release);
  {
    base::MutexLock lock(mutex_);
    node_stops_ = true;
    node_wake_.SignalAll();
  }
  node_thread_.join();
  {
    base::MutexLock lock(apply_mutex_);
    apply_stops_ = true;
    apply_wake_.SignalAll();
  }
  apply_thread_.join();

  const absl::Status stopped = api::ToStatus(api::Error::kServerStopped);
  tracker_.Stop(stopped);
  leases_.Stop();
  for (auto& [id, done] : reads_) std::move(done)(stopped);
  reads_.clear();
  Inputs inputs;
  {
    base::MutexLock lock(mutex_);
    std::swap(inputs, inputs_);
  }
  for (auto& [id, done] : inputs.reads) std::move(done)(stopped);
  for (auto& [revision, done] : compaction_waits) std::move(done)(stopped);
  read_pool_.Stop();

  if (failed_.load()) {
    log_->Stop().IgnoreError();
    base::MutexLock lock(status_mutex_);
    return failure_;
  }
  CAIRN_ASSIGN_OR_RETURN(const mvcc::EntryApplied durable, store_.Flush());
  if (durable.index != Index(0)) {
    log_->Submit({.marker = wal::Marker{{durable.term, durable.index}}, .commit = durable.index});
  }
  CAIRN_RETURN_IF_ERROR(log_->Stop());
  return wal_.CollectCovered(durable.index, tail_to_keep()).status();
}

wal::TailToKeep NodeRunner::tail_to_keep() const {
  return members()->size() > 1 ? wal::kFollowerTail : wal::kNoTail;
}

absl::Status NodeRunner::MarkDurable(raft::EntryId id) {
  const wal::Token token = log_->Submit({.marker = wal::Marker{id}, .commit = id.index});
  base::MutexLock lock(status_mutex_);
  while (durable_token_ < token) {
    if (stopping_ || failed_.load()) {
      return base::Error(absl::StatusCode::kCancelled, "the server is stopping");
    }
    status_changed_.WaitUntil(status_mutex_, steady_clock::now() + options_.tick);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> NodeRunner::CommitRemoval(mvcc::RemovalStep step) {
  auto result = std::make_shared<std::promise<absl::StatusOr<bool>>>();
  std::future<absl::StatusOr<bool>> outcome = result->get_future();
  {
    base::MutexLock lock(apply_mutex_);
    if (apply_stops_) {
      return base::Error(absl::StatusCode::kCancelled, "the server is stopping");
    }
    apply_tasks_.push_back(RemovalTask{std::move(step), [result](absl::StatusOr<bool> is_current) {
                                         result->set_value(std::move(is_current));
                                       }});
    apply_wake_.Signal();
  }
  return outcome.get();
}

// --- Node ---

NodeStatus NodeRunner::status() const {
  base::MutexLock lock(status_mutex_);
  return status_;
}

std::shared_ptr<const Members> NodeRunner::members() const {
  base::MutexLock lock(status_mutex_);
  return members_;
}

bool NodeRunner::IsOutOfSpace() const {
  return disk_low_.load(std::memory_order_relaxed) || log_->out_of_space();
}

void NodeRunner::Propose(CommandKind kind, std::string_view body, ProposeDone done) {
  const WaiterId id = next_sequence_.fetch_add(1, std::memory_order_relaxed);
  std::string payload = EncodeCommand(
      {.kind = kind, .proposer = member_id(), .nonce = options_.start_nonce, .sequence = id}, body);
  if (payload.size() > options_.request_bytes_max) {
    std::move(done)({.status = api::ToStatus(api::Error::kRequestTooLarge)});
    return;
  }
  if (unapplied_bytes_.load(std::memory_order_relaxed) > kUnappliedBytesMax) {
    std::move(done)({.status = api::ToStatus(api::Error::kTooManyRequests)});
    return;
  }
  if (!tracker_.Add(id, payload.size(), steady_clock::now() + options_.proposal_timeout, done)) {
    bool stopping;
    {
      base::MutexLock lock(status_mutex_);
      stopping = stopping_;
    }
    std::move(done)({.status = api::ToStatus(stopping ? api::Error::kServerStopped
                                                      : api::Error::kTooManyRequests)});
    return;
  }
  raft::Payload data = std::make_shared<const std::string>(std::move(payload));
  base::MutexLock lock(mutex_);
  inputs_.proposals.push_back({id, {raft::EntryKind::kCommand, std::move(data)}});
  WakeNode();
}

void NodeRunner::ReadBarrier(BarrierDone done) {
  api::Error refusal = api::Error::kTooManyRequests;
  {
    base::MutexLock lock(mutex_);
    if (node_stops_) {
      refusal = api::Error::kServerStopped;
    } else if (waiting_reads_ < kWaitingReadsMax) {
      ++waiting_reads_;
      inputs_.reads.emplace_back(next_sequence_.fetch_add(1, std::memory_order_relaxed),
                                 std::move(done));
      WakeNode();
      return;
    }
  }
  std::move(done)(api::ToStatus(refusal));
}

bool NodeRunner::RunInReadPool(absl::AnyInvocable<void()> work) { return read_pool_.Run(work); }

void NodeRunner::WaitCompacted(Revision revision, BarrierDone done) {
  absl::Status outcome;
  {
    base::MutexLock lock(status_mutex_);
    if (store_.removed_through() < revision) {
      if (!stopping_) {
        compaction_waits_.emplace_back(revision, std::move(done));
        return;
      }
      outcome = api::ToStatus(api::Error::kServerStopped);
    }
  }
  std::move(done)(outcome);
}

// --- The node thread ---

void NodeRunner::WakeNode() {
  if (!node_sleeps_) return;
  node_sleeps_ = false;  // One signal is enough.
  node_wake_.Signal();
}

void NodeRunner::RunNode() {
  base::NameThread("node");
  next_tick_ = steady_clock::now() + options_.tick;
  bool has_ticked = false;
  while (true) {
    lease_driver_.Run(has_ticked);
    Do(core_.TakeWork());
    PublishStatus();
    Inputs inputs;
    {
      base::MutexLock lock(mutex_);
      wake_on_applied_ = core_.WaitsForApplied() || lease_driver_.waits_for_applied();
      const auto has_input = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return !inputs_.proposals.empty() || !inputs_.reads.empty() || inputs_.durable != 0 ||
               (wake_on_applied_ && !inputs_.applied.empty());
      };
      bool is_tick = false;
      while (!node_stops_ && !has_input() && !is_tick && !lease_driver_.has_more()) {
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
  if (!inputs.proposals.empty()) core_.Propose(std::move(inputs.proposals));
  for (auto& [id, done] : inputs.reads) {
    reads_.emplace(id, std::move(done));
    core_.Read(id);
  }
}

void NodeRunner::Tick() {
  core_.Tick();
  const auto now = steady_clock::now();
  // A thread that was held up does not tick in a burst: time that nobody could use does not count
  // towards an election.
  next_tick_ = std::max(next_tick_ + options_.tick, now);
  tracker_.Expire(now,
                  api::ToStatus(core_.raft().leader() == MemberId(0) ? api::Error::kDeadlineExceeded
                                                                     : api::Error::kTimeout));
}

void NodeRunner::Do(Work work) {
  for (LogWrite& write : work.log) SubmitWrite(std::move(write));
  if (!work.apply.empty()) {
    for (const ApplyRange& range : work.apply) {
      unapplied_bytes_.fetch_add(PayloadBytes(range.entries), std::memory_order_relaxed);
    }
    base::MutexLock lock(apply_mutex_);
    for (ApplyRange& range : work.apply) apply_tasks_.push_back(std::move(range));
    apply_wake_.Signal();
  }
  for (const WaiterId id : work.reads_ready) {
    const auto read = reads_.find(id);
    auto done = std::make_shared<BarrierDone>(std::move(read->second));
    reads_.erase(read);
    WorkerPool::Task task = [done] { std::move (*done)(absl::OkStatus()); };
    // This thread waits for nobody, so it does not read either.
    if (!read_pool_.Run(task)) std::move (*done)(api::ToStatus(api::Error::kTooManyRequests));
  }
  for (const WaiterId id : work.reads_refused) {
    FailRead(id, api::ToStatus(api::Error::kLeaderChanged));
  }
  const size_t finished_reads = work.reads_ready.size() + work.reads_refused.size();
  if (finished_reads > 0) {
    base::MutexLock lock(mutex_);
    waiting_reads_ -= finished_reads;
  }
  for (const RefusedProposal& refused : work.refused) {
    switch (refused.reason) {
      case RefusalReason::kTooManyRequests:
        tracker_.Fail(refused.id, api::ToStatus(api::Error::kTooManyRequests));
        break;
      case RefusalReason::kTransferUnderWay:
        tracker_.Fail(refused.id, api::ToStatus(api::Error::kProposalDropped));
        break;
      case RefusalReason::kNoLeader:
        tracker_.Fail(refused.id, api::ToStatus(api::Error::kDeadlineExceeded));
        break;
    }
  }
  for (const raft::TraceEvent& event : work.trace) LOG(INFO) << raft::Describe(event);
  // Messages, log reads and snapshots are for peers, and a cluster of one has none.
  CAIRN_CHECK(work.messages.empty() && work.log_reads.empty() && work.snapshots.empty());
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

void NodeRunner::FailRead(WaiterId id, const absl::Status& error) {
  const auto read = reads_.find(id);
  BarrierDone done = std::move(read->second);
  reads_.erase(read);
  std::move(done)(error);
}

void NodeRunner::PublishStatus() {
  const raft::Core& raft = core_.raft();
  const bool is_ready = core_.IsSoleVoterReady();
  base::MutexLock lock(status_mutex_);
  const bool can_read = is_ready && failure_.ok();
  status_.term = raft.term();
  status_.leader = raft.leader();
  status_.commit = raft.commit();
  if (can_read != can_read_now_.load() && !stopping_) {
    can_read_now_.store(can_read, std::memory_order_release);
    status_changed_.SignalAll();
  }
}

// --- The apply thread ---

void NodeRunner::RunApply() {
  base::NameThread("apply");
  while (true) {
    ApplyTask task;
    {
      base::MutexLock lock(apply_mutex_);
      while (apply_tasks_.empty() && !apply_stops_) apply_wake_.Wait(apply_mutex_);
      if (apply_tasks_.empty()) return;
      task = std::move(apply_tasks_.front());
      apply_tasks_.pop_front();
    }
    RemovalTask* const removal = std::get_if<RemovalTask>(&task);
    const absl::Status status = removal != nullptr ? DoRemoval(std::move(*removal))
                                                   : DoApply(std::move(std::get<ApplyRange>(task)));
    if (!status.ok()) {
      Fatal(status);
      return RefuseApplyTasks();
    }
  }
}

void NodeRunner::RefuseApplyTasks() {
  std::deque<ApplyTask> tasks;
  {
    base::MutexLock lock(apply_mutex_);
    apply_stops_ = true;
    tasks.swap(apply_tasks_);
  }
  for (ApplyTask& task : tasks) {
    if (RemovalTask* removal = std::get_if<RemovalTask>(&task)) {
      removal->done(base::Error(absl::StatusCode::kCancelled, "the state has failed"));
    }
  }
}

absl::Status NodeRunner::DoApply(ApplyRange range) {
  Index next = range.range.first;
  std::vector<raft::Entry> entries = std::move(range.entries);
  unapplied_bytes_.fetch_sub(PayloadBytes(entries), std::memory_order_relaxed);
  while (next < range.range.limit) {
    if (entries.empty()) {
      CAIRN_ASSIGN_OR_RETURN(entries,
                             wal_.ReadEntries(next, range.range.limit, NodeCore::kApplyBytesMax));
    }
    CAIRN_RETURN_IF_ERROR(ApplyEntries(entries));
    next = entries.back().index + 1;
    entries.clear();
  }
  return absl::OkStatus();
}

absl::Status NodeRunner::ApplyEntries(std::span<const raft::Entry> entries) {
  CAIRN_ASSIGN_OR_RETURN(Applier::Result result, applier_.Apply(entries));
  const Index applied = entries.back().index;
  {
    base::MutexLock lock(status_mutex_);
    status_.applied = applied;
    if (result.members_changed) {
      members_ = std::make_shared<const Members>(applier_.membership().members);
    }
  }
  // Before anyone is answered: who renews a lease after its revocation was answered finds none.
  leases_.Applied(applied, result.leases);
  tracker_.Complete(std::move(result.outcomes));
  FinishCompactionWaits();
  base::MutexLock lock(mutex_);
  if (!result.configuration.has_value() && !inputs_.applied.empty()) {
    inputs_.applied.back().index = applied;
  } else {
    inputs_.applied.push_back({applied, std::move(result.configuration)});
  }
  if (wake_on_applied_) WakeNode();
  return absl::OkStatus();
}

absl::Status NodeRunner::DoRemoval(RemovalTask task) {
  const absl::StatusOr<bool> is_current = applier_.ApplyRemoval(task.step);
  task.done(is_current);
  CAIRN_RETURN_IF_ERROR(is_current.status());
  FinishCompactionWaits();
  return absl::OkStatus();
}

void NodeRunner::FinishCompactionWaits() {
  std::vector<BarrierDone> finished;
  {
    base::MutexLock lock(status_mutex_);
    if (compaction_waits_.empty()) return;
    const Revision removed = store_.removed_through();
    const auto first_done = std::partition(compaction_waits_.begin(), compaction_waits_.end(),
                                           [&](const auto& wait) { return wait.first > removed; });
    for (auto it = first_done; it != compaction_waits_.end(); ++it) {
      finished.push_back(std::move(it->second));
    }
    compaction_waits_.erase(first_done, compaction_waits_.end());
  }
  for (BarrierDone& done : finished) std::move(done)(absl::OkStatus());
}

}  // namespace cairn::server
