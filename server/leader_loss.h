// Streams whose clients asked for a leader (metadata `hasleader`), and their end when there is
// none.
//
// Any thread adds a stream; the node thread ticks. A member that has known no leader for so many
// ticks in a row ends the streams with UNAVAILABLE "no leader": their clients look for another
// member, instead of waiting at one that hears of nothing. Holds no stream: one that has ended is
// forgotten by and by.
#ifndef CAIRN_SERVER_LEADER_LOSS_H_
#define CAIRN_SERVER_LEADER_LOSS_H_

#include <absl/base/thread_annotations.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "server/rpc/call.h"

namespace cairn::server {

class LeaderLoss {
 public:
  // Election timeouts without a leader after which streams end, as in etcd.
  static constexpr uint32_t kElectionTimeouts = 3;
  // Streams that one tick ends: a few milliseconds of the node thread.
  static constexpr size_t kEndsPerTickMax = 1000;

  // `limit_ticks` is above 0.
  explicit LeaderLoss(uint32_t limit_ticks) : limit_ticks_(limit_ticks) {}
  LeaderLoss(const LeaderLoss&) = delete;
  LeaderLoss& operator=(const LeaderLoss&) = delete;

  // Ends `stream` (StreamCall::Abort) when the leader is lost, if its client asked for that; its
  // service finishes it as one that was cancelled. True if so.
  bool Add(const std::shared_ptr<rpc::StreamCall>& stream);

  void Tick(bool has_leader);

  // Streams that are kept in mind.
  size_t size() const;

 private:
  // Ended streams that are not worth looking for.
  static constexpr size_t kStaleMin = 64;

  const uint32_t limit_ticks_;
  mutable base::Mutex mutex_;
  std::vector<std::weak_ptr<rpc::StreamCall>> streams_ ABSL_GUARDED_BY(mutex_);
  // How many there may be before the ended ones are dropped.
  size_t tidy_at_ ABSL_GUARDED_BY(mutex_) = kStaleMin;
  // The node thread's.
  uint32_t ticks_without_leader_ = 0;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_LEADER_LOSS_H_
