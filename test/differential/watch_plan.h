// Random requests of the Watch service, valid and invalid, and what a watcher is owed.
//
// Pure: what it makes depends on the seed and on what it is told. One thread.
#ifndef CAIRN_TEST_DIFFERENTIAL_WATCH_PLAN_H_
#define CAIRN_TEST_DIFFERENTIAL_WATCH_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "api/rpc.pb.h"
#include "test/differential/generator.h"
#include "test/harness/random.h"

namespace cairn::test {

// True if the watcher wants to hear of this event, whatever its revision.
bool IsWanted(const etcdserverpb::WatchCreateRequest& request, const mvccpb::Event& event);

// What to ask for next. `knowledge` is as in generator.h.
class WatchPlan {
 public:
  WatchPlan(uint64_t seed, const Knowledge* knowledge);

  // `live_ids` are those of the stream; some of them are asked for again.
  etcdserverpb::WatchCreateRequest Create(const std::vector<int64_t>& live_ids);
  // Of a live watcher, of one that ended, or of one that never was.
  int64_t CancelId(const std::vector<int64_t>& live_ids);

  // Everything else that the run draws.
  Random& random() { return random_; }

 private:
  void SetRange(etcdserverpb::WatchCreateRequest& request);
  int64_t Start();
  int64_t Id(const std::vector<int64_t>& live_ids);

  Random random_;
  const Knowledge* const knowledge_;
  const std::vector<std::string> keys_;
};

}  // namespace cairn::test

#endif  // CAIRN_TEST_DIFFERENTIAL_WATCH_PLAN_H_
