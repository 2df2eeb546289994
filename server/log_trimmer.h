// Keeps log and restart short: makes the state durable, marks that in the log, removes what is
// covered. Watches the room on the disk, too.
//
// One thread of its own. The order is fixed: flush, marker (synced), plan, delete, sync the
// directory; each arrow is a fail point. Never removes above what RocksDB has made durable.
#ifndef CAIRN_SERVER_LOG_TRIMMER_H_
#define CAIRN_SERVER_LOG_TRIMMER_H_

#include <absl/base/thread_annotations.h>
#include <absl/status/status.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "mvcc/store.h"
#include "server/disk_room.h"
#include "server/log_pins.h"
#include "server/node_runner.h"
#include "wal/wal.h"

namespace cairn::server {

struct LogTrimmerOptions {
  // What a restart after a crash replays at most, as bytes of log on disk (padding included) and as
  // entries. A flush starts at half of it: as much again may arrive while it runs.
  uint64_t replay_bytes_max = uint64_t{64} << 20;
  uint64_t replay_entries_max = 400'000;
  // How often to look. At 50 MB of log a second a tenth of a second is 5 MB.
  std::chrono::milliseconds poll{100};
  // Directories whose file systems must keep `disk_reserve_bytes` free. Below it, growth is refused
  // while what was already accepted can still be flushed and logged: a segment and the write
  // buffers. It is accepted again when twice as much is free.
  std::vector<std::string> directories;
  uint64_t disk_reserve_bytes = wal::kSegmentBytes + kFlushReserveBytes;
  // Where the state is flushed to; empty: nowhere that could be full. What must be free there is
  // what is buffered and `flush_spare_bytes`; with less every write is refused, until there is half
  // of the spare more: a flush that finds no room is the end of the member. With less than twice as
  // much, or on a disk that is low, a flush begins as soon as `early_flush_bytes` are buffered, so
  // that what is buffered goes on to fit; where writes are refused with any, since what is durable
  // lets the log shrink. None begins without room for itself, and one a second is enough.
  std::string state_directory;
  int64_t early_flush_bytes = int64_t{8} << 20;
  uint64_t flush_spare_bytes = kFlushSpareBytes;
  std::chrono::milliseconds early_flush_pause{1000};
  // Called at most once, on the trimmer's thread.
  std::function<void(const absl::Status&)> on_fatal;
};

// Whether so much lies between the last marker and the end that a flush is due.
bool IsFlushDue(const LogTrimmerOptions& options, uint64_t bytes, uint64_t entries);

class LogTrimmer {
 public:
  // Starts the thread. `marked` is the marker that the log has, `pins` what must stay of what it
  // covers.
  LogTrimmer(LogTrimmerOptions options, Index marked, wal::Wal& wal, mvcc::Store& store,
             NodeRunner& runner, const LogPins& pins);
  // Stops.
  ~LogTrimmer();

  void Stop();

 private:
  void Run();
  absl::Status FlushAndMarkIfDue();
  absl::Status FlushAndMark();
  // Whether one is due because room is short.
  bool IsEarlyFlushDue();
  // Whether so much more than what is buffered is free, as far as is known.
  bool HasRoomToFlush(uint64_t spare_bytes) const;
  // Removes what is covered and not pinned any more: pins end between two markers, too.
  absl::Status Collect();
  void LookAtDisks();

  const LogTrimmerOptions options_;
  wal::Wal& wal_;
  mvcc::Store& store_;
  NodeRunner& runner_;
  const LogPins& pins_;
  // The trimmer's thread only.
  Index marked_;
  // What the segment of the marked entry held when it was marked, and what lies before that entry
  // in it: covered, but not yet removable.
  uint64_t bytes_at_mark_ = 0;
  bool is_disk_low_ = false;
  bool is_disk_full_ = false;
  std::chrono::steady_clock::time_point next_early_flush_;

  base::Mutex mutex_;
  base::ConditionVariable wake_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_LOG_TRIMMER_H_
