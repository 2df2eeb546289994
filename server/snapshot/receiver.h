// The receiving side of snapshots: takes their bytes, and has them installed.
//
// Made once by the server; its handlers stand in the table of the peer port and only hand over to
// one thread of its own, which does all the work, so that files and the installation hold up
// nobody. One snapshot at a time: that of a later term, or another one of the same term, replaces
// what has arrived of the one before. Nothing that arrives counts before it was verified whole
// (snapshot_install.h).
#ifndef CAIRN_SERVER_SNAPSHOT_RECEIVER_H_
#define CAIRN_SERVER_SNAPSHOT_RECEIVER_H_

#include <absl/base/thread_annotations.h>
#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "api/peer.pb.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "mvcc/store.h"
#include "raft/types.h"
#include "server/peer/greeting.h"
#include "server/rpc/call.h"
#include "server/rpc/service_table.h"
#include "server/snapshot/incoming.h"
#include "server/snapshot_install.h"
#include "server/state_home.h"
#include "wal/fs.h"

namespace cairn::server {

struct SnapshotReceiverOptions {
  PeerIdentity identity;
  // Whether a member was removed from the cluster, as far as it is applied here.
  std::function<bool(MemberId id)> is_removed;
  // What has arrived is given up when nothing more came for so long: its room is worth more than
  // the time to send it again.
  std::chrono::milliseconds idle_max = std::chrono::minutes(10);
};

class SnapshotReceiver {
 public:
  // Calls that wait for the thread. One sender has one under way.
  static constexpr size_t kWaitingCallsMax = 16;

  // Which of `states` is in force is changed by this object alone from here on; `live` is the state
  // in force.
  SnapshotReceiver(SnapshotReceiverOptions options, wal::Fs& fs, StateHome& states,
                   mvcc::Store& live);
  // Stops.
  ~SnapshotReceiver();
  SnapshotReceiver(const SnapshotReceiver&) = delete;
  SnapshotReceiver& operator=(const SnapshotReceiver&) = delete;

  // Before the transport starts. Calls are answered UNAVAILABLE until Start.
  void Register(rpc::ServiceTable& table);
  // From here on snapshots are taken. `host` outlives the thread.
  void Start(InstallHost& host);
  // Ends what is under way (an installation is finished first) and refuses the rest. `host` must
  // still work. Idempotent.
  void Stop();
  // Whether a snapshot was refused within the last minute because the disk had no room for it: what
  // keeps room and can be given up should be. Any thread.
  bool lacks_room() const;

 private:
  using Task = absl::AnyInvocable<void(const absl::Status& status)>;
  // The one that is arriving.
  struct Transfer {
    uint64_t id = 0;
    Term term;
    std::unique_ptr<IncomingSnapshot> incoming;
  };
  // The last one that was installed or not wanted.
  struct Finished {
    uint64_t id = 0;
    size_t files = 0;
    raft::EntryId applied;
  };

  // Hands a call to the thread; `handle` gets its parsed request.
  template <typename Request, typename Response>
  void Add(rpc::ServiceTable& table, std::string_view method,
           absl::StatusOr<Response> (SnapshotReceiver::*handle)(const Request&));
  void Queue(Task task);
  void Run();
  // Removes what has arrived. An error when nobody knows whether it is in force: an installation
  // failed half way, and the member is about to stop.
  absl::Status DropTransfer();
  // After an answer that leaves the old state behind.
  void CleanUp();

  absl::StatusOr<peer::SnapshotPosition> Begin(const peer::BeginSnapshotRequest& request);
  absl::StatusOr<peer::SnapshotPosition> Take(const peer::SnapshotPart& part);
  absl::StatusOr<peer::FinishSnapshotResponse> Finish(const peer::FinishSnapshotRequest& request);

  const SnapshotReceiverOptions options_;
  wal::Fs& fs_;
  StateHome& states_;
  mvcc::Store& live_;

  // The thread's own.
  InstallHost* host_ = nullptr;
  std::optional<Transfer> transfer_;
  std::optional<Finished> finished_;
  bool has_previous_ = false;  // A state that was replaced and not yet removed.

  mutable base::Mutex mutex_;
  base::ConditionVariable wake_;
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mutex_);
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<std::chrono::steady_clock::time_point> lacked_room_at_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SNAPSHOT_RECEIVER_H_
