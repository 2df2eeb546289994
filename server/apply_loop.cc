#include "server/apply_loop.h"

#include <algorithm>
#include <future>
#include <memory>

#include "api/errors.h"
#include "base/status.h"
#include "base/thread.h"

namespace cairn::server {

size_t PayloadBytes(std::span<const raft::Entry> entries) {
  size_t bytes = 0;
  for (const raft::Entry& entry : entries) bytes += entry.data_bytes();
  return bytes;
}

ApplyLoop::ApplyLoop(wal::Wal& wal, mvcc::Store& store, Applier& applier, Callbacks callbacks)
    : wal_(wal), store_(store), applier_(applier), callbacks_(std::move(callbacks)) {
  thread_ = std::thread([this] { Run(); });
}

ApplyLoop::~ApplyLoop() { Stop(); }

void ApplyLoop::Push(std::vector<ApplyRange> ranges) {
  for (const ApplyRange& range : ranges) {
    unapplied_bytes_.fetch_add(PayloadBytes(range.entries), std::memory_order_relaxed);
  }
  base::MutexLock lock(mutex_);
  for (ApplyRange& range : ranges) tasks_.push_back(std::move(range));
  mutex_.SignalBehind(wake_);
}

absl::StatusOr<bool> ApplyLoop::CommitRemoval(mvcc::RemovalStep step) {
  auto result = std::make_shared<std::promise<absl::StatusOr<bool>>>();
  std::future<absl::StatusOr<bool>> outcome = result->get_future();
  {
    base::MutexLock lock(mutex_);
    if (stops_) return base::Error(absl::StatusCode::kCancelled, "the server is stopping");
    tasks_.push_back(RemovalTask{std::move(step), [result](absl::StatusOr<bool> is_current) {
                                   result->set_value(std::move(is_current));
                                 }});
    mutex_.SignalBehind(wake_);
  }
  return outcome.get();
}

absl::Status ApplyLoop::RunBetween(const std::function<void()>& work) {
  auto result = std::make_shared<std::promise<bool>>();
  std::future<bool> has_run = result->get_future();
  {
    base::MutexLock lock(mutex_);
    if (stops_) return base::Error(absl::StatusCode::kCancelled, "the server is stopping");
    tasks_.push_back([result, &work](bool runs) {
      if (runs) work();
      result->set_value(runs);
    });
    mutex_.SignalBehind(wake_);
  }
  if (has_run.get()) return absl::OkStatus();
  return base::Error(absl::StatusCode::kCancelled, "the state has failed");
}

absl::Status ApplyLoop::Drain() {
  return RunBetween([] {});
}

absl::Status ApplyLoop::Replace(std::unique_ptr<mvcc::Store> fresh, Applier::Loaded loaded) {
  const Index applied = fresh->applied().index;
  return RunBetween([&] {
    Applier::Result result = applier_.Replace(std::move(fresh), std::move(loaded));
    callbacks_.replaced(applied, result);
    FinishCompactionWaits();
  });
}

void ApplyLoop::WaitCompacted(Revision revision, Node::BarrierDone done) {
  absl::Status outcome;
  {
    base::MutexLock lock(waits_mutex_);
    if (store_.removed_through() < revision) {
      if (!waits_stopped_) {
        compaction_waits_.emplace_back(revision, std::move(done));
        return;
      }
      outcome = api::ToStatus(api::Error::kServerStopped);
    }
  }
  std::move(done)(outcome);
}

void ApplyLoop::StopWaits() {
  std::vector<std::pair<Revision, Node::BarrierDone>> waits;
  {
    base::MutexLock lock(waits_mutex_);
    waits_stopped_ = true;
    waits.swap(compaction_waits_);
  }
  for (auto& [revision, done] : waits) std::move(done)(api::ToStatus(api::Error::kServerStopped));
}

void ApplyLoop::Stop() {
  {
    base::MutexLock lock(mutex_);
    stops_ = true;
    wake_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

void ApplyLoop::Run() {
  base::NameThread("apply");
  while (true) {
    Task task;
    {
      base::MutexLock lock(mutex_);
      while (tasks_.empty() && !stops_) wake_.Wait(mutex_);
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    absl::Status status;
    if (auto* const removal = std::get_if<RemovalTask>(&task)) {
      status = Remove(std::move(*removal));
    } else if (auto* const other = std::get_if<OtherTask>(&task)) {
      (*other)(true);
    } else {
      status = Apply(std::move(std::get<ApplyRange>(task)));
    }
    if (!status.ok()) {
      callbacks_.failed(status);
      return RefuseTasks();
    }
  }
}

void ApplyLoop::RefuseTasks() {
  std::deque<Task> tasks;
  {
    base::MutexLock lock(mutex_);
    stops_ = true;
    tasks.swap(tasks_);
  }
  for (Task& task : tasks) {
    if (RemovalTask* removal = std::get_if<RemovalTask>(&task)) {
      removal->done(base::Error(absl::StatusCode::kCancelled, "the state has failed"));
    } else if (OtherTask* other = std::get_if<OtherTask>(&task)) {
      (*other)(false);
    }
  }
}

absl::Status ApplyLoop::Apply(ApplyRange range) {
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

absl::Status ApplyLoop::ApplyEntries(std::span<const raft::Entry> entries) {
  while (!entries.empty()) {
    CAIRN_ASSIGN_OR_RETURN(Applier::Result result, applier_.Apply(entries));
    const size_t count = result.entries;
    // Everyone sees the batch now: leases are to know of it too, and who waits for it is not to
    // wait for the next one, however large that is.
    callbacks_.applied(entries[count - 1].index, result);
    entries = entries.subspan(count);
    FinishCompactionWaits();
  }
  return absl::OkStatus();
}

absl::Status ApplyLoop::Remove(RemovalTask task) {
  const absl::StatusOr<bool> is_current = applier_.ApplyRemoval(task.step);
  task.done(is_current);
  CAIRN_RETURN_IF_ERROR(is_current.status());
  FinishCompactionWaits();
  return absl::OkStatus();
}

void ApplyLoop::FinishCompactionWaits() {
  std::vector<Node::BarrierDone> finished;
  {
    base::MutexLock lock(waits_mutex_);
    if (compaction_waits_.empty()) return;
    const Revision removed = store_.removed_through();
    const auto first_done = std::partition(compaction_waits_.begin(), compaction_waits_.end(),
                                           [&](const auto& wait) { return wait.first > removed; });
    for (auto it = first_done; it != compaction_waits_.end(); ++it) {
      finished.push_back(std::move(it->second));
    }
    compaction_waits_.erase(first_done, compaction_waits_.end());
  }
  for (Node::BarrierDone& done : finished) std::move(done)(absl::OkStatus());
}

}  // namespace cairn::server
