#include "server/snapshot/checkpoints.h"

#include <glog/logging.h>

#include <algorithm>
#include <random>
#include <utility>

#include "base/fail_point.h"
#include "base/status.h"

namespace cairn::server {

namespace {

using std::chrono::milliseconds;

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

absl::Status Checkpoints::CheckRoom() const {
  const uint64_t needed_bytes =
      options_.room_bytes + static_cast<uint64_t>(store_.buffered_bytes());
  const uint64_t free_bytes = FreeDiskBytes(states_.directory()).value_or(needed_bytes);
  if (free_bytes >= needed_bytes) return absl::OkStatus();
  return base::Error(absl::StatusCode::kResourceExhausted,
                     "no copy of the state in {} is made: {} MiB free on its disk, of which its "
                     "flush may need {}; free some and try again",
                     states_.directory(), free_bytes >> 20, needed_bytes >> 20);
}

absl::Status Checkpoints::CheckNumber(bool is_disk_low) {
  base::MutexLock lock(mutex_);
  const auto left_over = std::count_if(entries_.begin(), entries_.end(),
                                       [](const Entry& entry) { return !entry.left_over.empty(); });
  if (entries_.size() >= options_.copies_max) {
    return base::Error(
        absl::StatusCode::kResourceExhausted, "there are {} copies of the state already{}",
        entries_.size(),
        left_over == 0 ? "" : fmt::format(", {} of which could not be removed", left_over));
  }
  if (is_disk_low && !entries_.empty()) {
    return base::MakeStatus(absl::StatusCode::kResourceExhausted,
                            "there is a copy of the state already, and the disk is nearly full");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const Checkpoint>> Checkpoints::Take(Index at_least,
                                                                    wal::PinKind kind) {
  base::MutexLock build_lock(build_mutex_);
  RemoveLeftOvers();
  // Let go of without the lock: the last user's letting go takes it.
  std::vector<std::shared_ptr<const Checkpoint>> in_use;
  {
    base::MutexLock lock(mutex_);
    for (const Entry& entry : entries_) in_use.push_back(entry.checkpoint.lock());
  }
  const bool is_disk_low = options_.is_disk_low();
  const milliseconds age_max = is_disk_low ? options_.low_disk_age_max : options_.age_max;
  for (const std::shared_ptr<const Checkpoint>& shared : in_use) {
    if (shared == nullptr || shared->applied.index < at_least) continue;
    if (options_.now() - shared->made_at <= age_max / 2) return shared;
  }
  in_use.clear();
  CAIRN_RETURN_IF_ERROR(CheckNumber(is_disk_low));
  if (store_.applied().index < at_least) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "the state is applied through {}, not yet {}", store_.applied().index,
                       at_least);
  }
  CAIRN_RETURN_IF_ERROR(CheckRoom());
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
  const absl::Status removed = RemoveFiles(checkpoint->path);
  if (!removed.ok()) {
    LOG(WARNING) << "a copy of the state stays until another one is made: " << removed;
  }
  base::FailPoint("server.snapshot.checkpoint_removed");
  base::MutexLock lock(mutex_);
  for (Entry& entry : entries_) {
    if (entry.id != checkpoint->id) continue;
    entry.pin.Release(options_.pin_after);
    if (!removed.ok()) entry.left_over = checkpoint->path;
  }
  if (!removed.ok()) return;
  std::erase_if(entries_, [&](const Entry& entry) { return entry.id == checkpoint->id; });
}

absl::Status Checkpoints::RemoveFiles(const std::string& path) {
  // RocksDB makes it there, and renames it.
  absl::Status removed = states_.Remove(path + ".tmp");
  removed.Update(states_.Remove(path));
  return removed;
}

void Checkpoints::RemoveLeftOvers() {
  std::vector<std::string> paths;
  {
    base::MutexLock lock(mutex_);
    for (const Entry& entry : entries_) {
      if (!entry.left_over.empty()) paths.push_back(entry.left_over);
    }
  }
  for (const std::string& path : paths) {
    if (!RemoveFiles(path).ok()) continue;
    base::MutexLock lock(mutex_);
    std::erase_if(entries_, [&](const Entry& entry) { return entry.left_over == path; });
  }
}

}  // namespace cairn::server
