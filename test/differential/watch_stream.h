// One Watch stream of a client: sends what it is told to, and enters what comes into a book.
//
// A thread of its own reads until the stream ends. Everything else belongs to one thread. Waits are
// for a condition, with a deadline.
#ifndef CAIRN_TEST_DIFFERENTIAL_WATCH_STREAM_H_
#define CAIRN_TEST_DIFFERENTIAL_WATCH_STREAM_H_

#include <absl/base/thread_annotations.h>
#include <absl/functional/function_ref.h>

#include <chrono>
#include <memory>
#include <thread>

#include "api/rpc.grpc.pb.h"
#include "base/mutex.h"
#include "test/differential/watch_book.h"
#include "test/harness/client.h"

namespace cairn::test {

class WatchStream {
 public:
  // `client` must outlive the stream.
  explicit WatchStream(const Client& client);
  // Cancels it.
  ~WatchStream();
  WatchStream(const WatchStream&) = delete;
  WatchStream& operator=(const WatchStream&) = delete;

  void Send(const etcdserverpb::WatchRequest& request) { stream_->Write(request); }
  void HalfClose() { stream_->WritesDone(); }

  // Waits until `is_there` says so of the book, at most so long.
  bool WaitFor(absl::FunctionRef<bool(const WatchBook&)> is_there,
               std::chrono::milliseconds timeout);
  // Looks into the book; `look` must not keep references.
  void Look(absl::FunctionRef<void(const WatchBook&)> look);
  void Forget();

 private:
  using Stream = grpc::ClientReaderWriter<etcdserverpb::WatchRequest, etcdserverpb::WatchResponse>;

  void Read();

  grpc::ClientContext context_;
  const std::unique_ptr<etcdserverpb::Watch::Stub> stub_;
  const std::unique_ptr<Stream> stream_;
  base::Mutex mutex_;
  base::ConditionVariable changed_;
  WatchBook book_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace cairn::test

#endif  // CAIRN_TEST_DIFFERENTIAL_WATCH_STREAM_H_
