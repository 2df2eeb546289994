// Snapshots of one member, both ways: what the server builds and takes apart.
//
// Owns the copies, the sender, the receiver and the installation's way to the node. Made before the
// node runs, because streams and the node may ask for something at once; what they ask before
// Start waits or is refused. Made, started and stopped by one thread; asked by any.
#ifndef CAIRN_SERVER_SNAPSHOT_LANE_H_
#define CAIRN_SERVER_SNAPSHOT_LANE_H_

#include <absl/base/thread_annotations.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"
#include "mvcc/store.h"
#include "raft/ready.h"
#include "server/log_pins.h"
#include "server/node_install.h"
#include "server/node_runner.h"
#include "server/peer/greeting.h"
#include "server/rpc/client.h"
#include "server/rpc/service_table.h"
#include "server/snapshot/checkpoints.h"
#include "server/snapshot/receiver.h"
#include "server/snapshot/sender.h"
#include "server/state_home.h"
#include "wal/fs.h"

namespace cairn::server {

struct SnapshotLaneOptions {
  PeerIdentity identity;
  rpc::Connector connect;
  uint64_t send_bytes_per_second = 0;  // 0: no bound.
  std::function<bool(MemberId id)> is_removed;
};

class SnapshotLane {
 public:
  // All outlive this object.
  SnapshotLane(SnapshotLaneOptions options, wal::Fs& fs, StateHome& states, mvcc::Store& store,
               LogPins& pins);
  // Stops.
  ~SnapshotLane();

  // Before the transport starts.
  void Register(rpc::ServiceTable& table) { receiver_.Register(table); }
  // `runner` works until Stop has returned.
  void Start(NodeRunner& runner);
  // Ends transfers and installations. Idempotent.
  void Stop();

  // SnapshotReceiver::lacks_room. Any thread.
  bool lacks_room() const { return receiver_.lacks_room(); }

  // Sends a snapshot; its end is told to the runner. Node thread; never blocks.
  void Send(const raft::SnapshotWanted& wanted);

 private:
  NodeRunner* runner() const {
    base::MutexLock lock(mutex_);
    return runner_;
  }
  SnapshotSenderOptions SenderOptions(const SnapshotLaneOptions& options);

  Checkpoints checkpoints_;
  SnapshotSender sender_;
  SnapshotReceiver receiver_;
  std::unique_ptr<NodeInstall> install_;

  mutable base::Mutex mutex_;
  NodeRunner* runner_ ABSL_GUARDED_BY(mutex_) = nullptr;
  // What was asked for before Start.
  std::vector<raft::SnapshotWanted> early_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SNAPSHOT_LANE_H_
