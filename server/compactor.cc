#include "server/compactor.h"

#include <fmt/format.h>
#include <glog/logging.h>

#include <string>

#include "api/errors.h"
#include "api/rpc.pb.h"
#include "base/status.h"
#include "base/thread.h"

namespace cairn::server {

Compactor::Compactor(CompactorOptions options, mvcc::Store& store, NodeRunner& runner)
    : options_(std::move(options)),
      store_(store),
      runner_(runner),
      automatic_(options_.automatic, std::chrono::steady_clock::now()),
      thread_([this] { Run(); }) {}

Compactor::~Compactor() { Stop(); }

void Compactor::Stop() {
  {
    base::MutexLock lock(mutex_);
    stopping_ = true;
    wake_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

bool Compactor::Wait(std::chrono::milliseconds time) {
  const auto until = std::chrono::steady_clock::now() + time;
  base::MutexLock lock(mutex_);
  while (!stopping_ && wake_.WaitUntil(mutex_, until)) {
  }
  return !stopping_;
}

void Compactor::Run() {
  base::NameThread("compactor");
  std::chrono::milliseconds pause = options_.poll;
  while (Wait(pause)) {
    const absl::StatusOr<bool> removed = RemoveSome();
    if (absl::IsCancelled(removed.status())) return;
    if (!removed.ok()) {
      options_.on_fatal(removed.status());
      return;
    }
    pause = *removed ? options_.pause : options_.poll;
    CompactByItself();
  }
}

absl::StatusOr<bool> Compactor::RemoveSome() {
  // It fills the write buffers before it makes room.
  if (runner_.RefusesWrites()) return false;
  CAIRN_ASSIGN_OR_RETURN(mvcc::RemovalStep step, store_.FindRemovalStep(options_.step_rows));
  if (step.empty()) return false;
  return runner_.CommitRemoval(std::move(step)).status().ok()
             ? absl::StatusOr<bool>(true)
             : base::Error(absl::StatusCode::kCancelled, "the server is stopping");
}

void Compactor::CompactByItself() {
  const auto now = std::chrono::steady_clock::now();
  {
    base::MutexLock lock(proposed_->mutex);
    if (proposed_->is_pending) return;
    if (proposed_->succeeded.has_value()) {
      LOG(INFO) << fmt::format("compacted to revision {} by itself", *proposed_->succeeded);
      automatic_.OnCompacted(now, *proposed_->succeeded);
      proposed_->succeeded.reset();
    }
  }
  const bool leads = runner_.status().leader == runner_.member_id();
  const std::optional<Revision> revision = automatic_.Tick(now, store_.published().revision, leads);
  if (!revision.has_value()) return;
  {
    base::MutexLock lock(proposed_->mutex);
    proposed_->is_pending = true;
  }
  etcdserverpb::CompactionRequest request;
  request.set_revision(revision->value());
  runner_.Propose(
      CommandKind::kCompact, request.SerializeAsString(),
      [proposed = proposed_, revision = *revision](Node::Outcome outcome) {
        base::MutexLock lock(proposed->mutex);
        proposed->is_pending = false;
        if (outcome.status.ok() || outcome.status == api::ToStatus(api::Error::kCompacted)) {
          proposed->succeeded = revision;
        }
      });
}

}  // namespace cairn::server
