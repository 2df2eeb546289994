// What committed commands do to the cluster as a whole (cluster_state.h), and what its alarms
// refuse.
//
// Each change moves the rows in the batch of its entry, so that a restart and a snapshot know it.
// Deterministic: depends on the state and the entry alone, so that what an alarm refuses, every
// member refuses. Apply thread only.
#ifndef CAIRN_SERVER_CLUSTER_APPLY_H_
#define CAIRN_SERVER_CLUSTER_APPLY_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <memory>
#include <string_view>

#include "base/ids.h"
#include "mvcc/store.h"
#include "mvcc/write_txn.h"
#include "server/cluster_state.h"
#include "server/command.h"
#include "server/node.h"

namespace cairn::server {

class ClusterApplier {
 public:
  // Reads the rows. DATA_LOSS when one does not decode; FAILED_PRECONDITION when the cluster has a
  // newer version than this server speaks: it might not understand what comes.
  static absl::StatusOr<ClusterApplier> Open(const mvcc::Store& store);

  const ClusterState& state() const { return state_; }

  // Whether `kind` is one of this class's.
  static bool Handles(CommandKind kind);

  // Applies one command. The outcome is OK, with the fields of an AlarmResponse for what a client
  // asked: the alarm that was raised or cleared, nothing if there was nothing to do. A refusal,
  // with nothing changed: RESOURCE_EXHAUSTED beyond kAlarmsMax, for who is none of `members`. The
  // error of the StatusOr itself is final, as KvApplier's; FAILED_PRECONDITION when the cluster
  // gets a version that this server does not speak.
  absl::StatusOr<Node::Outcome> Apply(CommandKind kind, std::string_view body,
                                      const Members& members, mvcc::Batch& batch);

  // Why the alarms forbid a command: etcd's "corrupt cluster" for every write by a client,
  // "database space exceeded" for those that grow the state. OK: they do not. What the leader
  // proposes for leases that are due is never forbidden: it ends what nobody holds any more.
  absl::Status Refuses(CommandKind kind, std::string_view body) const;

  // A member is gone for ever: nobody is left to take its automatic alarms back.
  void OnRemoved(MemberId id, mvcc::Batch& batch);

  // A copy of the state if it has changed since the last call; null if not.
  std::shared_ptr<const ClusterState> TakeChange();

 private:
  absl::StatusOr<Node::Outcome> ApplyAlarm(std::string_view body, const Members& members,
                                           mvcc::Batch& batch);
  absl::Status ApplySpaceAlarm(std::string_view body, const Members& members, mvcc::Batch& batch);
  absl::Status ApplyVersion(std::string_view body, mvcc::Batch& batch);
  absl::Status ApplyDowngrade(std::string_view body, mvcc::Batch& batch);
  void Put(const Alarm& alarm, mvcc::Batch& batch);
  bool Remove(AlarmKind kind, MemberId member, mvcc::Batch& batch);

  ClusterState state_;
  bool has_changed_ = false;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_CLUSTER_APPLY_H_
