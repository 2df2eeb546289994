// The thread that writes the log: group commit, sync modes, the spare segment, the proof of
// idleness.
//
// Owns the writing side of a Wal. The node thread submits; everything that was queued while the
// previous sync ran becomes the next batch, bounded by bytes and never by a timer. Completions come
// in the order of submission. The queue is bounded by the caller: the raft core limits what is in
// flight. A failed write or sync ends the thread for good, the spare's too unless the disk is only
// full: nothing later is completed, `failed` is called once, and the member must stop.
//
// It begins in SyncMode::kAlways; an Append with another mode changes that from there on, once it
// is durable. In the other modes submissions complete when they are written, but what carries a
// term or vote, a configuration, a marker, the record of a snapshot or a mode is synced before,
// with all that came before it.
#ifndef CAIRN_WAL_LOG_THREAD_H_
#define CAIRN_WAL_LOG_THREAD_H_

#include <absl/status/status.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "wal/types.h"
#include "wal/wal.h"

namespace cairn::wal {

// Names a submission; 1, 2, 3, ... in the order of Submit.
using Token = uint64_t;

struct LogThreadOptions {
  // One batch, one sync: beyond this a batch is slower without being cheaper. One larger submission
  // goes alone.
  size_t batch_bytes_max = size_t{8} << 20;
  // After so long without work an empty batch proves the last one durable.
  std::chrono::milliseconds idle_before_proof{100};
  // The wait after each piece of a spare (types.h, kSparePieceBytes): about 64 MiB a second, so
  // that the disk is the log's most of the time. A writer that needs the spare before it is there
  // does not wait for the pauses, nor for a thread of low priority: it makes the rest itself.
  std::chrono::microseconds spare_pause{4000};
  // How long after a failure to make a spare (disk full) the next try is made.
  std::chrono::milliseconds spare_retry{1000};
  // With SyncMode::kInterval: so long after something was written it is synced.
  std::chrono::milliseconds sync_interval{100};
  // Whether the disk has room for a spare and for what else must not fail there. Asked before one
  // is begun, on the thread that makes it; where not, that counts as a full disk, and nothing is
  // written: filling the disk to find out would take the room from others.
  std::function<bool()> has_room_for_spare = [] { return true; };
};

class LogThread {
 public:
  struct Callbacks {
    // All submissions up to `last`, and since the previous call, are durable, or as durable as the
    // mode asks for. Called on the log thread, once a batch: hand over and return.
    std::function<void(Token last)> durable;
    // The log failed for good. Called on the log thread, at most once; `durable` is not called
    // again.
    std::function<void(const absl::Status&)> failed;
  };

  // Starts the threads. `wal` must outlive this object, and nobody else may write to it meanwhile
  // (reading and CollectCovered are free).
  LogThread(Wal& wal, LogThreadOptions options, Callbacks callbacks);
  // Stops.
  ~LogThread();
  LogThread(const LogThread&) = delete;
  LogThread& operator=(const LogThread&) = delete;

  // Queues `append` (see Wal::Write) and returns its token. Any thread; the order of calls is the
  // order in the log. After a failure or Stop the submission is dropped and never completed.
  Token Submit(Append append);

  // Waits until everything that was completed before the call is synced: at once in kAlways. The
  // error that ended the log, if it has failed. Any thread but a callback's.
  absl::Status SyncCompleted();

  // Writes and syncs what is queued, proves it durable, ends the threads. Returns the first error.
  // Idempotent; not from a callback.
  absl::Status Stop();

  // True while no next segment can be made because the disk is full. The current segment still has
  // room: refuse new writes now, before they are proposed. Any thread, no lock.
  bool out_of_space() const;

  LogThreadFigures figures() const;

 private:
  class Impl;

  std::unique_ptr<Impl> impl_;
};

}  // namespace cairn::wal

#endif  // CAIRN_WAL_LOG_THREAD_H_
