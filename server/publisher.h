// Tells the cluster what this member is called and where its clients find it.
//
// One thread of its own, started by the server: the telling is a write, so it needs a quorum, and
// is tried again until it has succeeded. When the cluster knows already, a read takes the place of
// the write: either way the member has then caught up with what was acknowledged before it came.
#ifndef CAIRN_SERVER_PUBLISHER_H_
#define CAIRN_SERVER_PUBLISHER_H_

#include <absl/base/thread_annotations.h>

#include <chrono>
#include <thread>

#include "base/mutex.h"
#include "server/membership_rows.h"
#include "server/node.h"

namespace cairn::server {

class Publisher {
 public:
  // Starts the thread. `node` outlives this object.
  Publisher(Node& node, PublishedAttributes attributes);
  // Stops.
  ~Publisher();

  // Waits until the cluster knows, and this member is of use to clients, at most `timeout`. Whether
  // that is so.
  bool Wait(std::chrono::milliseconds timeout);
  // Gives up; the node must have been stopped, or must answer what is under way. Idempotent.
  void Stop();

 private:
  void Run();
  bool IsKnown() const;

  Node& node_;
  const PublishedAttributes attributes_;
  base::Mutex mutex_;
  base::ConditionVariable changed_;
  bool published_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_PUBLISHER_H_
