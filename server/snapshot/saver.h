// Maintenance.Snapshot: the member's state as one file, sent to clients that save it.
//
// A copy of the state (checkpoints.h) leaves as an archive (archive_stream.h) in messages that are
// smaller while others are served, and the SHA-256 of everything behind them. One thread of its own
// reads and hashes, at a lower priority than what serves, and goes from stream to stream: a stream
// whose client is slow waits for room and costs no time meanwhile. It counts as one of those that
// may be until its client has taken everything, so that what is queued is bounded too. The state is
// read and written as always. Copies are made and removed by a second thread at the process's own
// priority: it enters the state's queue of writers and the file system's transactions, where a
// thread that the scheduler passes over would keep everybody waiting.
//
// Clients have copies of their own, apart from those for members: one who saves slowly must never
// keep a follower from its snapshot. They share one if nothing was written meanwhile. They pin the
// log behind them as backups do (LogPins).
#ifndef CAIRN_SERVER_SNAPSHOT_SAVER_H_
#define CAIRN_SERVER_SNAPSHOT_SAVER_H_

#include <absl/base/thread_annotations.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"
#include "mvcc/store.h"
#include "server/log_pins.h"
#include "server/rpc/call.h"
#include "server/snapshot/checkpoints.h"
#include "server/state_home.h"
#include "wal/fs.h"

namespace cairn::server {

struct SnapshotSaverOptions {
  // Large enough that a message costs little beside its bytes, and far below the 4 MiB that gRPC's
  // clients accept by default. A multiple of 512.
  size_t message_bytes = size_t{256} << 10;
  // The same while others are served. A kernel without preemption, which servers often have,
  // switches to no other thread while it copies: a put that comes while a message is sent waits,
  // some 50 us for so many bytes. With fewer the stream would be slow, by what each message costs.
  size_t busy_message_bytes = size_t{64} << 10;
  // What a stream queues before it stops, a message more at most: three large ones, so that one is
  // left when the thread is told to go on, at half. Not more, because gRPC's threads send what is
  // queued, and none of them is of lower priority. Also a stream's turn.
  int64_t queue_bytes = int64_t{640} << 10;
  // How many calls clients have made so far; asked by the thread that sends until Stop. Others are
  // served when more have come, or entries have been applied, wherever those came from. What goes
  // on in streams that began earlier is not counted.
  std::function<uint64_t()> calls_begun = [] { return 0; };
  // Streams at a time, and copies: together they queue 7 MiB, and keep on the disk what the state
  // has dropped since the oldest of them began.
  size_t saves_max = 8;
  // A client that takes nothing for so long is given up: its copy keeps what the state drops, and
  // what is queued keeps memory.
  std::chrono::milliseconds stall_max = std::chrono::minutes(10);
  // The same where all places are taken, for the one that has waited longest: another may want its
  // own. What is taken is counted in whole messages: 256 KiB in 30 s are 8.7 KB/s.
  std::chrono::milliseconds full_stall_max = std::chrono::seconds(30);
  // How long one copy may be in use: 100 GB at 1.2 MB/s.
  std::chrono::milliseconds age_max = std::chrono::hours(24);
  // Whether the disk wants room; asked by both threads until Stop, by the one that sends once a
  // second. There is one copy at most then, and for a shorter time: 10 GB at 170 MB/s.
  std::function<bool()> is_disk_low = [] { return false; };
  std::chrono::milliseconds low_disk_age_max = std::chrono::minutes(1);
  // Copies are taken so long after the last ones, or ten times what taking those took, up to
  // `copy_pause_max`: each may be a flush, and whoever writes, begins and goes in a loop must not
  // have the state flushed all the time. Who comes meanwhile waits, and shares.
  std::chrono::milliseconds copy_pause_min = std::chrono::seconds(1);
  std::chrono::milliseconds copy_pause_max = std::chrono::seconds(10);
  // The monotonic clock by which ages are judged and who stalls; a test brings its own. Both of the
  // saver's threads ask it.
  std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
};

class SnapshotSaver {
 public:
  // All outlive this object.
  SnapshotSaver(SnapshotSaverOptions options, wal::Fs& fs, StateHome& states, mvcc::Store& store,
                LogPins& pins);
  // Stops. The transports whose calls it served have stopped before.
  ~SnapshotSaver();
  SnapshotSaver(const SnapshotSaver&) = delete;
  SnapshotSaver& operator=(const SnapshotSaver&) = delete;

  // Sends a snapshot that holds everything applied by now, and finishes the call. `version` goes
  // with every message. Any thread; never blocks.
  //   RESOURCE_EXHAUSTED  as many as may be are being saved, or the disk has no room for the flush,
  //                       or wants the room that the copy keeps
  //   DATA_LOSS           a file of the copy cannot be read
  //   ABORTED             the client took nothing for too long, or took too long altogether
  //   UNAVAILABLE         the server stops
  void Save(std::shared_ptr<rpc::StreamCall> call, std::string version);

  // Ends all streams, and removes the copies that are left. Idempotent; one thread.
  void Stop();

 private:
  class Transfer;

  // The threads.
  void RunSending();
  void RunCopies();
  // Waits for the next one that can go on; null to end. Gives up others meanwhile.
  std::shared_ptr<Transfer> Next();
  // Ends those that stall, and those whose copy has been in use for too long.
  void GiveUp(std::chrono::steady_clock::time_point now);
  // Ok, or why the stream ends now.
  absl::Status JudgeLocked(Transfer& transfer, std::chrono::steady_clock::time_point now,
                           bool is_disk_low) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Waits for those who want none made; or, when its time has come, for all who want one: that is a
  // single one, which they share. None to end.
  std::vector<std::shared_ptr<Transfer>> NextForCopies();
  // How large the next message may be.
  size_t MessageBytes();
  // Sends until the stream is full or done, or has had its turn.
  void Advance(const std::shared_ptr<Transfer>& transfer);
  // Has the other thread let go of the copy.
  void PassToCopies(const std::shared_ptr<Transfer>& transfer);
  // Nothing follows what is queued: the stream ends with `status` when its copy is let go of and
  // its client has taken what is queued.
  void Drain(const std::shared_ptr<Transfer>& transfer, absl::Status status);
  // Until there is room.
  void Wait(const std::shared_ptr<Transfer>& transfer);
  // Any thread.
  void MakeReady(const std::shared_ptr<Transfer>& transfer);
  void End(const std::shared_ptr<Transfer>& transfer, absl::Status status);
  bool stopping() const {
    base::MutexLock lock(mutex_);
    return stopping_;
  }

  const SnapshotSaverOptions options_;
  wal::Fs& fs_;
  mvcc::Store& store_;
  Checkpoints copies_;

  mutable base::Mutex mutex_;
  base::ConditionVariable wake_;
  base::ConditionVariable wake_copies_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // All that are not finished; those of them that can go on; and those whose copy is to be made, or
  // let go of because the stream has an ending. Each has a place in one of the two queues, is with
  // a thread, or waits for its client.
  std::vector<std::shared_ptr<Transfer>> transfers_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::shared_ptr<Transfer>> ready_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::shared_ptr<Transfer>> for_copies_ ABSL_GUARDED_BY(mutex_);
  // When copies may be taken again. The own of the thread that takes them.
  std::chrono::steady_clock::time_point next_copy_;
  // When it is to be looked again at who is to be given up. The sending thread's own.
  std::chrono::steady_clock::time_point next_look_;
  // What had been done for others when it was looked last, and how long they count as served. The
  // sending thread's own too.
  uint64_t calls_seen_ = 0;
  Index applied_seen_;
  std::chrono::steady_clock::time_point busy_until_;
  std::thread sending_thread_;
  std::thread copies_thread_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SNAPSHOT_SAVER_H_
