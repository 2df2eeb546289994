// One RangeStream under way: reads a message at a time and lets the client's pace hold it back.
//
// Shared by whoever will continue it: a task of the read pool, or the stream's callback when there
// is room again; never two at once. Between messages it holds no view of the state. Finishes the
// call.
#ifndef CAIRN_SERVER_RANGE_STREAM_H_
#define CAIRN_SERVER_RANGE_STREAM_H_

#include <cstddef>
#include <memory>

#include "api/rpc.pb.h"
#include "server/range_reader.h"
#include "server/rpc/call.h"
#include "server/service_context.h"

namespace cairn::server {

// Half of what a stream queues (rpc::kStreamHighWaterBytes): one message leaves while the next is
// read.
inline constexpr size_t kRangeStreamMessageBytes = size_t{512} << 10;

class RangeStreamSender {
 public:
  // `context` must outlive the call. The request is valid and one that RangeStreamReader takes.
  RangeStreamSender(const ServiceContext& context, std::shared_ptr<rpc::StreamCall> call,
                    etcdserverpb::RangeRequest request);

  // Goes on in the read pool. UNKNOWN "too many requests" for the client when that is full.
  static void Schedule(std::shared_ptr<RangeStreamSender> self);

 private:
  // Sends until the queue is full, then waits for room; or to the end.
  static void Send(std::shared_ptr<RangeStreamSender> self);

  const ServiceContext& context_;
  const std::shared_ptr<rpc::StreamCall> call_;
  RangeStreamReader reader_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_RANGE_STREAM_H_
