#include "wal/log_thread.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "base/thread.h"
#include "wal/format.h"

namespace cairn::wal {

namespace {

using Clock = std::chrono::steady_clock;

// Whether it must be durable before anybody acts on it, whatever the mode.
bool MustSync(const Append& append) {
  return append.hard_state || append.configuration || append.marker || append.snapshot_installed ||
         append.sync_mode;
}

// The spare gets the processor when nobody else wants it.
constexpr int kSpareNiceness = 10;

}  // namespace

class LogThread::Impl {
 public:
  Impl(Wal& wal, LogThreadOptions options, Callbacks callbacks)
      : wal_(wal),
        options_(options),
        callbacks_(std::move(callbacks)),
        writer_([this] { RunWriter(); }),
        spare_maker_([this] { RunSpareMaker(); }) {}

  ~Impl() { Stop().IgnoreError(); }

  Token Submit(Append append) {
    const size_t bytes = EncodedBytesMax(append);
    base::MutexLock lock(mutex_);
    ++figures_.submissions;
    if (!is_stopping_ && failure_.ok()) {
      queue_.push_back({.append = std::move(append), .bytes = bytes});
      // A writer at work looks at the queue by itself.
      if (writer_waits_) mutex_.SignalBehind(writer_wakes_);
    }
    return figures_.submissions;
  }

  absl::Status SyncCompleted() {
    const Token target = completed_.load(std::memory_order_acquire);
    if (synced_.load(std::memory_order_acquire) >= target) return absl::OkStatus();
    base::MutexLock lock(mutex_);
    while (failure_.ok() && synced_.load(std::memory_order_acquire) < target) {
      sync_is_wanted_ = true;
      if (writer_waits_) writer_wakes_.Signal();
      synced_changed_.Wait(mutex_);
    }
    return failure_;
  }

  absl::Status Stop() {
    {
      base::MutexLock lock(mutex_);
      is_stopping_ = true;
      writer_wakes_.SignalAll();
      spare_maker_wakes_.SignalAll();
    }
    base::MutexLock join_lock(join_mutex_);
    if (writer_.joinable()) writer_.join();
    if (spare_maker_.joinable()) spare_maker_.join();
    base::MutexLock lock(mutex_);
    return failure_;
  }

  bool out_of_space() const { return out_of_space_.load(std::memory_order_relaxed); }

  LogThreadFigures figures() const {
    base::MutexLock lock(mutex_);
    return figures_;
  }

 private:
  struct Submission {
    Append append;
    size_t bytes = 0;
  };

  enum class Work { kBatch, kSync, kProof, kFailure, kEnd };

  void RunWriter();
  absl::Status Do(Work work, const std::vector<Append>& batch, Token last);
  // Waits for work and takes it: kBatch fills `batch` and `last`.
  Work NextWork(std::vector<Append>& batch, Token& last);
  void TakeBatch(std::vector<Append>& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // When the writer has something to do unasked, if nothing comes before.
  std::optional<Clock::time_point> NextDeadline() const;
  absl::Status WriteBatch(const std::vector<Append>& batch, Token last);
  // Tells the node of a batch, and syncs what has waited for that long enough.
  absl::Status CompleteBatch(Token last);
  absl::Status Sync();
  bool IsSyncDue() const;
  absl::Status WriteProof();
  void Fail(const absl::Status& status);

  void RunSpareMaker();
  // Waits until a spare is wanted; false at the end.
  bool WaitUntilSpareIsWanted();
  // Waits for `time` or the end; false at the end.
  bool Rest(std::chrono::microseconds time);

  Wal& wal_;
  const LogThreadOptions options_;
  const Callbacks callbacks_;

  mutable base::Mutex mutex_;
  base::ConditionVariable writer_wakes_;
  base::ConditionVariable spare_maker_wakes_;
  base::ConditionVariable synced_changed_;
  std::deque<Submission> queue_ ABSL_GUARDED_BY(mutex_);
  Token taken_ ABSL_GUARDED_BY(mutex_) = 0;  // The last one that left the queue.
  bool writer_waits_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool spare_is_wanted_ ABSL_GUARDED_BY(mutex_) = true;
  bool sync_is_wanted_ ABSL_GUARDED_BY(mutex_) = false;
  // Why no spare could be made, where that is the end of the log.
  absl::Status spare_failure_ ABSL_GUARDED_BY(mutex_);
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  LogThreadFigures figures_ ABSL_GUARDED_BY(mutex_);

  // The writer's own.
  bool proof_is_due_ = true;  // Also after a start: what was recovered is not proven.
  Clock::time_point idle_since_ = Clock::now();
  SyncMode mode_ = SyncMode::kAlways;
  Token written_ = 0;
  // When the first of what is written and not synced was written.
  std::optional<Clock::time_point> unsynced_since_;

  // Stored by the writer: `synced_` first, so that whoever reads them in the other order never
  // takes something synced for unsynced.
  std::atomic<Token> completed_ = 0;
  std::atomic<Token> synced_ = 0;

  std::atomic<bool> out_of_space_ = false;

  base::Mutex join_mutex_;  // Before mutex_; two calls of Stop must not join twice.
  std::thread writer_;
  std::thread spare_maker_;
};

void LogThread::Impl::RunWriter() {
  base::NameThread("wal-writer");
  std::vector<Append> batch;
  while (true) {
    Token last = 0;
    const Work work = NextWork(batch, last);
    if (absl::Status status = Do(work, batch, last); !status.ok()) return Fail(status);
    if (work == Work::kEnd) return;
    batch.clear();
  }
}

absl::Status LogThread::Impl::Do(Work work, const std::vector<Append>& batch, Token last) {
  switch (work) {
    case Work::kBatch:
      CAIRN_RETURN_IF_ERROR(WriteBatch(batch, last));
      return CompleteBatch(last);
    case Work::kSync:
      return Sync();
    case Work::kProof:
    case Work::kEnd:
      return WriteProof();
    case Work::kFailure:
      break;
  }
  base::MutexLock lock(mutex_);
  return spare_failure_;
}

LogThread::Impl::Work LogThread::Impl::NextWork(std::vector<Append>& batch, Token& last) {
  base::MutexLock lock(mutex_);
  if (!spare_failure_.ok()) return Work::kFailure;
  if (std::exchange(sync_is_wanted_, false)) return Work::kSync;
  while (queue_.empty()) {
    if (is_stopping_) return Work::kEnd;
    const std::optional<Clock::time_point> deadline = NextDeadline();
    writer_waits_ = true;
    bool is_due = false;
    if (deadline.has_value()) {
      is_due = !writer_wakes_.WaitUntil(mutex_, *deadline);
    } else {
      writer_wakes_.Wait(mutex_);
    }
    writer_waits_ = false;
    if (!spare_failure_.ok()) return Work::kFailure;
    if (std::exchange(sync_is_wanted_, false)) return Work::kSync;
    if (is_due && queue_.empty()) return IsSyncDue() ? Work::kSync : Work::kProof;
  }
  // Where cores are few, the writer was woken ahead of the threads that have the next submissions
  // in hand: they go first, and one sync serves them too. Where cores are free, nobody is waited
  // for.
  mutex_.Unlock();
  sched_yield();
  mutex_.Lock();
  TakeBatch(batch);
  last = taken_;
  return Work::kBatch;
}

void LogThread::Impl::TakeBatch(std::vector<Append>& batch) {
  size_t bytes = 0;
  while (!queue_.empty()) {
    bytes += queue_.front().bytes;
    if (!batch.empty() && bytes > options_.batch_bytes_max) break;
    batch.push_back(std::move(queue_.front().append));
    queue_.pop_front();
    ++taken_;
  }
  ++figures_.batches;
}

std::optional<Clock::time_point> LogThread::Impl::NextDeadline() const {
  if (mode_ == SyncMode::kInterval && unsynced_since_.has_value()) {
    return *unsynced_since_ + options_.sync_interval;
  }
  // A proof syncs: not in kNever.
  if (proof_is_due_ && mode_ != SyncMode::kNever) return idle_since_ + options_.idle_before_proof;
  return std::nullopt;
}

bool LogThread::Impl::IsSyncDue() const {
  return mode_ == SyncMode::kInterval && unsynced_since_.has_value() &&
         Clock::now() >= *unsynced_since_ + options_.sync_interval;
}

absl::Status LogThread::Impl::WriteBatch(const std::vector<Append>& batch, Token last) {
  CAIRN_RETURN_IF_ERROR(wal_.Write(batch));
  written_ = last;
  proof_is_due_ = true;
  idle_since_ = Clock::now();
  const bool must_sync =
      mode_ == SyncMode::kAlways || std::any_of(batch.begin(), batch.end(), MustSync);
  if (must_sync) {
    CAIRN_RETURN_IF_ERROR(Sync());
  } else if (!unsynced_since_.has_value()) {
    unsynced_since_ = idle_since_;
  }
  for (const Append& append : batch) {
    if (!append.sync_mode.has_value()) continue;
    mode_ = *append.sync_mode;
    base::MutexLock lock(mutex_);
    figures_.mode = mode_;
  }
  if (!wal_.has_spare()) {
    base::MutexLock lock(mutex_);
    spare_is_wanted_ = true;
    spare_maker_wakes_.Signal();
  }
  return absl::OkStatus();
}

absl::Status LogThread::Impl::CompleteBatch(Token last) {
  completed_.store(last, std::memory_order_release);
  callbacks_.durable(last);
  return IsSyncDue() ? Sync() : absl::OkStatus();
}

absl::Status LogThread::Impl::Sync() {
  CAIRN_RETURN_IF_ERROR(wal_.Sync());
  synced_.store(written_, std::memory_order_release);
  if (!unsynced_since_.has_value()) return absl::OkStatus();
  unsynced_since_.reset();
  base::MutexLock lock(mutex_);
  synced_changed_.SignalAll();
  return absl::OkStatus();
}

absl::Status LogThread::Impl::WriteProof() {
  proof_is_due_ = false;
  CAIRN_RETURN_IF_ERROR(wal_.WriteDurableThrough());
  return Sync();
}

void LogThread::Impl::Fail(const absl::Status& status) {
  {
    base::MutexLock lock(mutex_);
    failure_ = status;
    queue_.clear();
    synced_changed_.SignalAll();
  }
  callbacks_.failed(status);
}

void LogThread::Impl::RunSpareMaker() {
  base::NameThread("wal-spare");
  // Best effort: without it the spare only competes a little more.
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kSpareNiceness);
  const auto pace = [this] { return !wal_.spare_is_urgent() && Rest(options_.spare_pause); };
  while (WaitUntilSpareIsWanted()) {
    const absl::Status made =
        wal_.has_spare() || options_.has_room_for_spare()
            ? wal_.MakeSpare(pace)
            : base::MakeStatus(absl::StatusCode::kResourceExhausted, "no room for a spare");
    out_of_space_ = made.code() == absl::StatusCode::kResourceExhausted;
    base::MutexLock lock(mutex_);
    if (made.ok()) ++figures_.spares;
    // The writer goes on with it, and says when the next one is wanted.
    if (made.ok() || made.code() == absl::StatusCode::kCancelled) continue;
    if (!out_of_space_) {
      spare_failure_ = made;
      writer_wakes_.Signal();
      return;
    }
    spare_is_wanted_ = true;
    const Clock::time_point retry = Clock::now() + options_.spare_retry;
    while (!is_stopping_ && spare_maker_wakes_.WaitUntil(mutex_, retry)) {
    }
  }
}

bool LogThread::Impl::WaitUntilSpareIsWanted() {
  base::MutexLock lock(mutex_);
  while (!is_stopping_ && !spare_is_wanted_) spare_maker_wakes_.Wait(mutex_);
  spare_is_wanted_ = false;
  return !is_stopping_;
}

bool LogThread::Impl::Rest(std::chrono::microseconds time) {
  base::MutexLock lock(mutex_);
  const Clock::time_point end = Clock::now() + time;
  while (!is_stopping_ && spare_maker_wakes_.WaitUntil(mutex_, end)) {
  }
  return !is_stopping_;
}

LogThread::LogThread(Wal& wal, LogThreadOptions options, Callbacks callbacks)
    : impl_(std::make_unique<Impl>(wal, options, std::move(callbacks))) {}
LogThread::~LogThread() = default;

Token LogThread::Submit(Append append) { return impl_->Submit(std::move(append)); }
absl::Status LogThread::SyncCompleted() { return impl_->SyncCompleted(); }
absl::Status LogThread::Stop() { return impl_->Stop(); }
bool LogThread::out_of_space() const { return impl_->out_of_space(); }
LogThreadFigures LogThread::figures() const { return impl_->figures(); }

}  // namespace cairn::wal
