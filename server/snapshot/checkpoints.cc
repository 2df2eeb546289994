#include "server/snapshot/checkpoints.h"

#include <glog/logging.h>

#include <filesystem>
#include <random>
#include <system_error>
#include <utility>

#include "base/fail_point.h"
#include "base/status.h"

namespace cairn::server {

namespace {

uint64_t DrawId() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace

Checkpoints::Checkpoints(CheckpointsOptions options, wal::Fs& fs, StateHome& states,
                         mvcc::Store& store, LogPins& pins)
    : options_(std::move(options)), fs_(fs), states_(states), store_(store), pins_(pins) {}

bool Checkpoints::IsTooOld(const Checkpoint& checkpoint) const {
  return options_.now() - checkpoint.made_at > options_.age_max;
}

absl::Status Checkpoints::CheckRoomToFlush() const {
  if (store_.durable_applied().index >= store_.applied().index) return absl::OkStatus();
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(states_.current_path(), error);
  if (error || space.available >= options_.flush_room_bytes) return absl::OkStatus();
  return base::Error(absl::StatusCode::kResourceExhausted,
                     "no copy of the state {} is made: {} MiB free on its disk, of which a flush "
                     "may need {}; free some and try again",
                     states_.current_path(), space.available >> 20,
                     options_.flush_room_bytes >> 20);
}

absl::StatusOr<std::shared_ptr<const Checkpoint>> Checkpoints::Take(Index at_least,
                                                                    wal::PinKind kind) {
  base::MutexLock build_lock(build_mutex_);
  // Let go of without the lock: the last user's letting go takes it.
  std::vector<std::shared_ptr<const Checkpoint>> in_use;
  {
    base::MutexLock lock(mutex_);
    for (const Entry& entry : entries_) in_use.push_back(entry.checkpoint.lock());
  }
  for (const std::shared_ptr<const Checkpoint>& shared : in_use) {
    if (shared != nullptr && shared->applied.index >= at_least && !IsTooOld(*shared)) return shared;
  }
  if (in_use.size() >= options_.copies_max) {
    return base::Error(absl::StatusCode::kResourceExhausted,
                       "{} copies of the state are being sent already", in_use.size());
  }
  if (store_.applied().index < at_least) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "the state is applied through {}, not yet {}", store_.applied().index,
                       at_least);
  }
  CAIRN_RETURN_IF_ERROR(CheckRoomToFlush());
  auto made = std::make_unique<Checkpoint>();
  made->id = DrawId();
  made->path = states_.checkpoint_path(fmt::format("{:016x}", made->id));
  made->made_at = options_.now();
  // Before the copy is made, so that the log cannot be cut behind it meanwhile.
  LogPins::Hold pin = pins_.Add(kind, made->id, store_.applied().index + 1);
  {
    base::MutexLock lock(mutex_);
    entries_.push_back({.id = made->id, .checkpoint = {}, .pin = std::move(pin)});
  }
  absl::Status status;
  if (auto applied = store_.Checkpoint(made->path); applied.ok()) {
    made->applied = *applied;
    base::FailPoint("server.snapshot.checkpoint_made");
    auto files =
        options_.has_checksums ? DescribeFiles(fs_, made->path) : ListFiles(fs_, made->path);
    status = files.status();
    if (files.ok()) made->files = *std::move(files);
  } else {
    status = applied.status();
  }
  if (!status.ok()) {
    Drop(made.get());
    return status;
  }
  const uint64_t id = made->id;
  std::shared_ptr<const Checkpoint> shared(made.release(), [this](const Checkpoint* done) {
    Drop(done);
    delete done;
  });
  base::MutexLock lock(mutex_);
  for (Entry& entry : entries_) {
    if (entry.id == id) entry.checkpoint = shared;
  }
  return shared;
}

void Checkpoints::Drop(const Checkpoint* checkpoint) {
  const absl::Status removed = states_.Remove(checkpoint->path);
  if (!removed.ok()) LOG(WARNING) << "a copy of the state: " << removed;
  base::FailPoint("server.snapshot.checkpoint_removed");
  base::MutexLock lock(mutex_);
  for (Entry& entry : entries_) {
    if (entry.id == checkpoint->id) entry.pin.Release(options_.pin_after);
  }
  std::erase_if(entries_, [&](const Entry& entry) { return entry.id == checkpoint->id; });
}

}  // namespace cairn::server
