// The sending side of snapshots: one thread and one connection for each member that needs one.
//
// A connection of its own is the lane: heartbeats and entries travel on another and are never
// behind a snapshot. All transfers together keep to a rate. A break costs nothing but time: the
// receiver says where to go on. A transfer ends when the snapshot is in force, when it makes no
// progress for long, or when this member leads no more; the core is told once, and asks again if
// it must.
#ifndef CAIRN_SERVER_SNAPSHOT_SENDER_H_
#define CAIRN_SERVER_SNAPSHOT_SENDER_H_

#include <absl/base/thread_annotations.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <google/protobuf/message_lite.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"
#include "raft/ready.h"
#include "server/peer/greeting.h"
#include "server/rpc/client.h"
#include "server/snapshot/checkpoints.h"
#include "server/snapshot/incoming.h"
#include "wal/fs.h"

namespace cairn::server {

struct SnapshotSenderOptions {
  PeerIdentity identity;
  rpc::Connector connect;
  // Of all transfers together; 0: as fast as it goes.
  uint64_t bytes_per_second = 0;
  // "host:port" of a member, one or several; none: it is no member any more. Any thread.
  std::function<std::vector<std::string>(MemberId id)> addresses_of;
  // Whether this member still leads in `term`. Any thread.
  std::function<bool(Term term)> leads_in;
  // raft::Core::SnapshotStatus. Any thread.
  std::function<void(MemberId peer, Index index, bool is_installed)> on_status;
  // Small enough that the rate is even and a break costs little; a round trip each.
  size_t part_bytes = size_t{1} << 20;
  // One call; the installation is asked for again until it is there.
  std::chrono::milliseconds call_timeout{30'000};
  // The pause after a break.
  std::chrono::milliseconds retry_pause{1000};
  // A transfer without progress for so long has failed ...
  std::chrono::milliseconds stall_max = std::chrono::minutes(5);
  // ... and the core hears of a failure only after this, because it then asks again at once.
  std::chrono::milliseconds failure_pause{5000};
};

class SnapshotSender {
 public:
  // `checkpoints` and `fs` outlive this object.
  SnapshotSender(SnapshotSenderOptions options, wal::Fs& fs, Checkpoints& checkpoints);
  // Stops.
  ~SnapshotSender();
  SnapshotSender(const SnapshotSender&) = delete;
  SnapshotSender& operator=(const SnapshotSender&) = delete;

  // Sends a snapshot, unless one is on its way to that member already. Any thread; never blocks.
  void Send(const raft::SnapshotWanted& wanted);

  // Ends all transfers; the core hears nothing more. Idempotent.
  void Stop();

 private:
  struct Transfer {
    std::thread thread;
    bool is_done = false;
  };

  void Run(const raft::SnapshotWanted& wanted);
  // Returns the last entry of what was installed.
  absl::StatusOr<Index> SendSnapshot(const raft::SnapshotWanted& wanted);
  // One connection's life: sends what the peer does not have, then has it installed. `position` is
  // how far the peer has got.
  absl::StatusOr<Index> SendAll(const raft::SnapshotWanted& wanted, const Checkpoint& checkpoint,
                                rpc::ClientConnection& connection, SnapshotPosition& position);
  absl::Status SendPart(const Checkpoint& checkpoint, rpc::ClientConnection& connection,
                        SnapshotPosition& position);
  absl::Status CallPeer(rpc::ClientConnection& connection, std::string_view method,
                        const google::protobuf::MessageLite& request,
                        google::protobuf::MessageLite& response);
  // Waits until `bytes` more may leave.
  void Pace(size_t bytes);
  // Waits for `time`; false when it must end.
  bool Rest(std::chrono::milliseconds time);
  bool stopping() const {
    base::MutexLock lock(mutex_);
    return stopping_;
  }

  const SnapshotSenderOptions options_;
  wal::Fs& fs_;
  Checkpoints& checkpoints_;

  mutable base::Mutex mutex_;
  base::ConditionVariable wake_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<MemberId, Transfer> transfers_ ABSL_GUARDED_BY(mutex_);
  // When the next byte may leave.
  std::chrono::steady_clock::time_point next_byte_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SNAPSHOT_SENDER_H_
