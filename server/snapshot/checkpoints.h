// Copies of this member's state for other members, or for clients that save it: made when one is
// asked for, shared by all who need one at the same time, gone with the last of them.
//
// A copy costs no room at first (hard links), but keeps what the state has dropped since: each at
// most its own size, once every file of it has been compacted away; so there are at most so many,
// and none lives longer than a bound. Thread-safe; building waits for the disk. As long as a copy
// is in use, and a while longer, the log behind it is pinned (LogPins): whoever gets the copy wants
// the entries after it next.
#ifndef CAIRN_SERVER_SNAPSHOT_CHECKPOINTS_H_
#define CAIRN_SERVER_SNAPSHOT_CHECKPOINTS_H_

#include <absl/base/thread_annotations.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"
#include "mvcc/store.h"
#include "server/disk_room.h"
#include "server/log_pins.h"
#include "server/snapshot/files.h"
#include "server/state_home.h"
#include "wal/fs.h"
#include "wal/pins.h"

namespace cairn::server {

struct CheckpointsOptions {
  // By default one that is being sent, and a younger one for who needs more.
  size_t copies_max = 2;
  // Whoever sends an older one gives up, and one of more than half of it is given to nobody new: it
  // would not be there for long.
  std::chrono::milliseconds age_max = std::chrono::hours(2);
  // How long after a copy's end the log behind it stays pinned: its receiver connects and asks.
  std::chrono::milliseconds pin_after{30'000};
  // Whether the files' checksums are wanted, which takes reading all of them.
  bool has_checksums = true;
  // What must be free on the disk before a copy is made, beside what its flush may write.
  uint64_t room_bytes = kFlushSpareBytes;
  // Whether the disk wants room; asked by whoever takes a copy. There is one at most then, and for
  // a shorter time.
  std::function<bool()> is_disk_low = [] { return false; };
  std::chrono::milliseconds low_disk_age_max = std::chrono::minutes(1);
  // The monotonic clock; a test brings its own.
  std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
};

struct Checkpoint {
  uint64_t id = 0;  // Drawn by chance.
  std::string path;
  // It holds at least this entry.
  mvcc::EntryApplied applied;
  std::vector<SnapshotFile> files;  // Checksums only with has_checksums.
  std::chrono::steady_clock::time_point made_at;
};

class Checkpoints {
 public:
  // All outlive this object and every copy that it gave out.
  Checkpoints(CheckpointsOptions options, wal::Fs& fs, StateHome& states, mvcc::Store& store,
              LogPins& pins);

  // A copy that holds entry `at_least`, made if there is none. `kind` is what it is for, kSnapshot
  // or kBackup: what the log kept for it is counted under the kind of who had it made.
  // RESOURCE_EXHAUSTED when as many as may be are in use, or the disk has no room for the flush;
  // FAILED_PRECONDITION when the state does not hold that entry yet.
  absl::StatusOr<std::shared_ptr<const Checkpoint>> Take(
      Index at_least, wal::PinKind kind = wal::PinKind::kSnapshot);
  bool IsTooOld(const Checkpoint& checkpoint) const;

 private:
  absl::Status CheckNumber(bool is_disk_low) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status CheckRoom() const;
  void Drop(const Checkpoint* checkpoint);
  absl::Status RemoveFiles(const std::string& path);
  // Tries again what Drop could not remove.
  void RemoveLeftOvers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(build_mutex_);

  const CheckpointsOptions options_;
  wal::Fs& fs_;
  StateHome& states_;
  mvcc::Store& store_;
  LogPins& pins_;

  // Held while one is built; before mutex_.
  base::Mutex build_mutex_;
  base::Mutex mutex_;
  // Those in use, and those whose files could not be removed, which count as well.
  struct Entry {
    uint64_t id = 0;
    std::weak_ptr<const Checkpoint> checkpoint;
    LogPins::Hold pin;
    std::string left_over = {};  // Where, of one that could not be removed.
  };
  std::vector<Entry> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SNAPSHOT_CHECKPOINTS_H_
