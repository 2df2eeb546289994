// What a member does unasked for the cluster as a whole: says that its space is used up, and takes
// that back; as leader, keeps the cluster's version at what all members speak and ends a downgrade
// that is done.
//
// Owned by the server; one thread of its own, which looks ten times a second and at once when
// growth was refused. Decisions are pure (space_alarm.h, cluster_version.h); what is decided goes
// through the log, one proposal of a kind at a time. Never blocks on a proposal.
#ifndef CAIRN_SERVER_CLUSTER_KEEPER_H_
#define CAIRN_SERVER_CLUSTER_KEEPER_H_

#include <absl/base/thread_annotations.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "base/mutex.h"
#include "mvcc/store.h"
#include "server/command.h"
#include "server/node.h"

namespace cairn::server {

struct ClusterKeeperOptions {
  // As ServiceLimits'.
  int64_t quota_backend_bytes = 0;
  // How often to look.
  std::chrono::milliseconds poll{100};
  // The version of etcd that another member answers as; none: not known now.
  std::function<std::optional<std::string>(MemberId id)> version_of =
      [](MemberId) -> std::optional<std::string> { return std::nullopt; };
  // So long a new leader waits for the versions of all before it decides without them.
  std::chrono::milliseconds settle{1000};
};

class ClusterKeeper {
 public:
  // Starts the thread. `store` and `node` outlive this object, and proposals under way are done
  // before they go.
  ClusterKeeper(ClusterKeeperOptions options, const mvcc::Store& store, Node& node);
  // Stops.
  ~ClusterKeeper();

  // Growth by so much was refused here. Any thread; does not block.
  void RefusedGrowth(int64_t cost_bytes);

  void Stop();

 private:
  using Time = std::chrono::steady_clock::time_point;

  // What was refused is tried again after this.
  static constexpr std::chrono::milliseconds kRetryPause{1000};

  // Which proposals are under way, or have to wait; outlives this object if need be.
  struct Pending {
    base::Mutex mutex;
    // When the next may follow; the end of time while one is under way.
    std::map<CommandKind, Time> next ABSL_GUARDED_BY(mutex);
  };

  void Run();
  void LookAtSpace(Time now);
  void LookAtVersions(Time now);
  // None of its kind is under way, and none was refused just now.
  bool MayPropose(CommandKind kind) const;
  void Propose(CommandKind kind, std::string_view body);

  const ClusterKeeperOptions options_;
  const mvcc::Store& store_;
  Node& node_;
  const std::shared_ptr<Pending> pending_ = std::make_shared<Pending>();
  // The thread only: since when this member's alarm has been seen.
  std::optional<Time> raised_since_;
  // Likewise: since when this member leads.
  std::optional<Time> leads_since_;

  base::Mutex mutex_;
  base::ConditionVariable wake_;
  int64_t refused_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool has_news_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_CLUSTER_KEEPER_H_
