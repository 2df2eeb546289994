#include "server/log_trimmer.h"

#include <fmt/format.h>
#include <glog/logging.h>

#include <algorithm>

#include "base/fail_point.h"
#include "base/status.h"
#include "base/thread.h"

namespace cairn::server {

bool IsFlushDue(const LogTrimmerOptions& options, uint64_t bytes, uint64_t entries) {
  return bytes >= options.replay_bytes_max / 2 ||
         entries >= std::max<uint64_t>(1, options.replay_entries_max / 2);
}

LogTrimmer::LogTrimmer(LogTrimmerOptions options, Index marked, wal::Wal& wal, mvcc::Store& store,
                       NodeRunner& runner, const LogPins& pins)
    : options_(std::move(options)),
      wal_(wal),
      store_(store),
      runner_(runner),
      pins_(pins),
      marked_(marked) {
  LookAtDisks();
  thread_ = std::thread([this] { Run(); });
}

LogTrimmer::~LogTrimmer() { Stop(); }

void LogTrimmer::Stop() {
  {
    base::MutexLock lock(mutex_);
    stopping_ = true;
    wake_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

void LogTrimmer::Run() {
  base::NameThread("log-trimmer");
  while (true) {
    {
      const auto next = std::chrono::steady_clock::now() + options_.poll;
      base::MutexLock lock(mutex_);
      while (!stopping_ && wake_.WaitUntil(mutex_, next)) {
      }
      if (stopping_) return;
    }
    LookAtDisks();
    absl::Status status = FlushAndMarkIfDue();
    if (status.ok()) status = Collect();
    if (absl::IsCancelled(status)) return;
    if (!status.ok()) {
      options_.on_fatal(status);
      return;
    }
  }
}

absl::Status LogTrimmer::FlushAndMarkIfDue() {
  const mvcc::EntryApplied applied = store_.applied();
  // When the next entry opened a segment, the marked entry's is not counted any more.
  const uint64_t bytes = wal_.bytes_since(marked_ + 1);
  const uint64_t grown_bytes = bytes < bytes_at_mark_ ? bytes : bytes - bytes_at_mark_;
  const bool is_due =
      applied.index > marked_ && IsFlushDue(options_, grown_bytes, applied.index - marked_);
  if (!(is_due && !is_disk_full_) && !IsEarlyFlushDue()) return absl::OkStatus();
  return FlushAndMark();
}

bool LogTrimmer::IsEarlyFlushDue() {
  const auto now = std::chrono::steady_clock::now();
  if (now < next_early_flush_) return false;
  const int64_t buffered_bytes = store_.buffered_bytes();
  const bool is_worth_it = buffered_bytes >= options_.early_flush_bytes ||
                           (is_disk_full_ && store_.applied().index > marked_);
  if (!is_worth_it) return false;
  const uint64_t spare_bytes = options_.flush_spare_bytes;
  if (!is_disk_low_ && HasRoomToFlush(2 * spare_bytes + static_cast<uint64_t>(buffered_bytes))) {
    return false;
  }
  // An eighth, where what writes are refused for is a whole one.
  if (!HasRoomToFlush(spare_bytes / 8)) return false;
  next_early_flush_ = now + options_.early_flush_pause;
  return true;
}

absl::Status LogTrimmer::FlushAndMark() {
  const mvcc::EntryApplied applied = store_.applied();
  // Removal alone fills the buffers, too.
  if (applied.index <= marked_) return store_.Flush().status();
  CAIRN_ASSIGN_OR_RETURN(const mvcc::EntryApplied durable, store_.Flush());
  base::FailPoint("server.trim.flushed");
  CAIRN_RETURN_IF_ERROR(runner_.MarkDurable({durable.term, durable.index}));
  base::FailPoint("server.trim.marked");
  marked_ = durable.index;
  bytes_at_mark_ = wal_.bytes_since(marked_ + 1);
  VLOG(1) << fmt::format("state durable through index {}", durable.index);
  return absl::OkStatus();
}

absl::Status LogTrimmer::Collect() {
  CAIRN_ASSIGN_OR_RETURN(const size_t removed, wal_.CollectCovered(marked_, pins_.Now()));
  if (removed > 0) VLOG(1) << fmt::format("{} log segments removed", removed);
  return absl::OkStatus();
}

void LogTrimmer::LookAtDisks() {
  const uint64_t spare_bytes = options_.flush_spare_bytes;
  const bool is_full = !HasRoomToFlush(is_disk_full_ ? spare_bytes + spare_bytes / 2 : spare_bytes);
  // A disk at the edge must not come and go with every segment and every file of the state.
  const uint64_t wanted_bytes = options_.disk_reserve_bytes * (is_disk_low_ ? 2 : 1);
  bool is_low = is_full;
  for (const std::string& directory : options_.directories) {
    is_low = is_low || !HasDiskRoom(directory, wanted_bytes);
  }
  if (is_low != is_disk_low_) {
    LOG(WARNING) << (is_low ? fmt::format("less than {} MiB free on the disk: writes that grow the "
                                          "state are refused",
                                          options_.disk_reserve_bytes >> 20)
                            : fmt::format("{} MiB are free on the disk again: writes are accepted",
                                          wanted_bytes >> 20));
  }
  is_disk_low_ = is_low;
  if (is_full != is_disk_full_) {
    LOG(WARNING) << (is_full ? "hardly room on the disk for the state's next flush: all writes "
                               "are refused, and what is compacted is not removed"
                             : "room on the disk for the state's next flush again: deletions are "
                               "accepted");
  }
  is_disk_full_ = is_full;
  runner_.SetDiskRoom(is_full ? DiskRoom::kFull : is_low ? DiskRoom::kLow : DiskRoom::kEnough);
}

bool LogTrimmer::HasRoomToFlush(uint64_t spare_bytes) const {
  if (options_.state_directory.empty()) return true;
  return HasDiskRoom(options_.state_directory,
                     spare_bytes + static_cast<uint64_t>(store_.buffered_bytes()));
}

}  // namespace cairn::server
