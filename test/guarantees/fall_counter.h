// A look at which watchers of a server (Cairn, by its admin service) fell behind.
//
// Not thread-safe.
#ifndef CAIRN_TEST_GUARANTEES_FALL_COUNTER_H_
#define CAIRN_TEST_GUARANTEES_FALL_COUNTER_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "api/admin.grpc.pb.h"

namespace cairn::test {

// Watchers that a look finds reading history though an earlier one found them told of the present:
// they fell behind in between. Those that fell and caught up between two looks are missed.
class FallCounter {
 public:
  explicit FallCounter(const std::shared_ptr<grpc::Channel>& channel);

  // Looks; nothing if the server does not answer.
  void Look();
  // The server has started again: its streams are others.
  void Forget() {
    was_synced_.clear();
    is_all_synced_ = false;
  }
  int64_t fallen() const { return fallen_; }
  // Everyone is told of the present, as the last look found it.
  bool is_all_synced() const { return is_all_synced_; }

 private:
  const std::unique_ptr<cairn::admin::v1::Admin::Stub> stub_;
  // By stream and id: whether the last look found it told of the present.
  std::map<std::pair<uint64_t, int64_t>, bool> was_synced_;
  int64_t fallen_ = 0;
  bool is_all_synced_ = false;
};

}  // namespace cairn::test

#endif  // CAIRN_TEST_GUARANTEES_FALL_COUNTER_H_
