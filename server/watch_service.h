// The Watch service: streams in, events out.
//
// One thread, the watch thread, owns the hub (watch/hub.h) and every stream. gRPC threads only post
// to its queue what they read and that a stream ended or has room again; the apply thread hands
// over changes through WatchFeed; the history reader hands back its steps. The watch thread never
// waits for a client or consensus, and for a disk only where somebody wants what an event replaced
// and that was large (mvcc::kInlineValueBytesLimit): the rest comes along with the changes. A
// stream is asked for its next request only when it takes its answers, so its share of the queue is
// one message.
#ifndef CAIRN_SERVER_WATCH_SERVICE_H_
#define CAIRN_SERVER_WATCH_SERVICE_H_

#include <absl/base/thread_annotations.h>
#include <absl/container/flat_hash_map.h>
#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "api/rpc.pb.h"
#include "base/mutex.h"
#include "server/history_reader.h"
#include "server/rpc/call.h"
#include "server/rpc/service_table.h"
#include "server/service_context.h"
#include "server/watch_feed.h"
#include "watch/hub.h"

namespace cairn::server {

struct WatchOptions {
  // The service draws `index_seed` itself.
  watch::HubOptions hub;
  // Called at most once, on the watch thread, when the state cannot be read.
  std::function<void(const absl::Status&)> on_fatal;
};

// A page of streams and watchers, for inspection.
struct WatchPage {
  struct Stream {
    watch::StreamView view;
    std::string peer;
    std::chrono::steady_clock::time_point opened;
    int64_t queued_bytes = 0;
  };

  std::vector<Stream> streams;
  std::optional<watch::HubPlace> next;
  watch::HubStats stats;
  // The hub's cursor.
  Revision told;
};

class WatchService {
 public:
  // What a stream may queue beyond the hub: this over the number of streams, within the two bounds
  // below. Half of its share is the mark at which it is asked to stop, and half the largest
  // response (watch::Hub::Take), so that a client that stops is sent a share and an eighth at the
  // most, or half a share and one revision that is larger.
  //
  // All together this much, then, for up to 8,192 streams, and kStreamQueuedBytesMin for each
  // beyond that. What was queued while there were fewer stays: streams that come and stop one by
  // one hold up to four times as much.
  static constexpr int64_t kQueuedBytesMax = int64_t{64} << 20;
  // Twice the hub's batches: enough to keep a fast client busy.
  static constexpr int64_t kStreamQueuedBytesMax = int64_t{128} << 10;
  // Responses of some 20 events.
  static constexpr int64_t kStreamQueuedBytesMin = int64_t{8} << 10;

  // What a stream is sent in one turn of the thread; the rest comes in the next, behind the other
  // streams and what they asked for meanwhile. About a millisecond, so that a stream whose client
  // takes as fast as it is sent delays the others by no more.
  static constexpr int kMessagesPerTurn = 100;

  // Starts the threads. What `context` refers to and `feed` must outlive this object.
  WatchService(const ServiceContext& context, WatchFeed& feed, WatchOptions options);
  // Stops.
  ~WatchService();
  WatchService(const WatchService&) = delete;
  WatchService& operator=(const WatchService&) = delete;

  // Adds the service to `table`, whose handlers may be called until this object dies.
  void Register(rpc::ServiceTable& table);

  // Has `done` called once, on the watch thread or before this returns, with the streams and
  // watchers behind `after`, `items_max` at most (watch::Hub::Look); UNAVAILABLE "server stopped".
  using LookDone = absl::AnyInvocable<void(absl::StatusOr<WatchPage>)>;
  void Look(const watch::HubPlace& after, size_t items_max, LookDone done);

  // Ends every stream with UNAVAILABLE "server stopped", and the threads. Idempotent.
  void Stop();

 private:
  struct Stream {
    std::shared_ptr<rpc::StreamCall> call;
    std::chrono::steady_clock::time_point opened;
    // As its call was told.
    int64_t share_bytes = 0;
    bool is_blocked = false;
    // The next request may be asked for once what was said is on its way.
    bool wants_read = true;
  };
  struct LookRequest {
    watch::HubPlace after;
    size_t items_max = 0;
    LookDone done;
  };
  // What other threads have for the watch thread.
  struct Post {
    enum class Kind { kOpen, kRequest, kClosed, kWritable, kChanges, kHistory, kLook };
    Kind kind;
    watch::StreamId stream;
    std::shared_ptr<rpc::StreamCall> call;
    std::string request;
    HistoryStep step;
    std::shared_ptr<LookRequest> look;
  };
  // Outlives the service where callbacks hold it.
  class Queue {
   public:
    // False once the queue is closed.
    bool Add(Post post);
    void Close();
    // Everything posted; waits until there is something, the queue is closed, or `deadline`. False
    // once closed.
    bool Take(std::vector<Post>& posts,
              std::optional<std::chrono::steady_clock::time_point> deadline);

   private:
    base::Mutex mutex_;
    base::ConditionVariable wake_;
    std::vector<Post> posts_ ABSL_GUARDED_BY(mutex_);
    bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  };

  void Run();
  void Handle(Post& post);
  void Open(std::shared_ptr<rpc::StreamCall> call);
  void Close(watch::StreamId id, absl::Status status);
  void OnRequest(watch::StreamId id, std::string_view bytes);
  void Create(watch::StreamId id, const etcdserverpb::WatchCreateRequest& request);
  void OnHistory(const HistoryStep& step);
  WatchPage MakePage(const LookRequest& request) const;
  void TakeChanges();
  void BeginHistory();
  void Serve(watch::StreamId id);
  void SetShare(Stream& stream) const;
  void ReadNext(watch::StreamId id, Stream& stream);
  void Fatal(const absl::Status& error);
  int64_t NowMs() const;
  std::optional<std::chrono::steady_clock::time_point> NextWake() const;
  rpc::SliceList Encode(const watch::Message& message) const;

  const ServiceContext context_;
  WatchFeed& feed_;
  const WatchOptions options_;
  const std::shared_ptr<Queue> queue_ = std::make_shared<Queue>();
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();

  // The watch thread's.
  watch::Hub hub_;
  bool is_feed_enabled_ = false;
  WatchFeed::Batch batch_;
  absl::flat_hash_map<watch::StreamId, Stream> streams_;
  // Streams that may be asked for their next request, after what there is to say was said.
  std::vector<watch::StreamId> to_read_;
  ResponseHeader header_;
  bool has_failed_ = false;

  HistoryReader history_;
  std::thread thread_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_WATCH_SERVICE_H_
