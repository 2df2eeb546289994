#include "server/watch_service.h"

#include <algorithm>
#include <random>
#include <utility>

#include "api/errors.h"
#include "base/status.h"
#include "base/thread.h"
#include "server/leader_loss.h"
#include "server/response.h"
#include "server/rpc/proto.h"
#include "server/wire.h"

namespace cairn::server {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Ranges on a page; with one more of up to two requests' size it stays within 4 MiB, which clients
// take by default.
constexpr size_t kPageRangeBytesMax = size_t{512} << 10;

using etcdserverpb::WatchCreateRequest;
using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;

// Clients choose the ranges that they watch, and must not know how the hub's index places them.
WatchOptions Seeded(WatchOptions options) {
  std::random_device device;
  options.hub.index_seed = (uint64_t{device()} << 32) | device();
  return options;
}

}  // namespace

// --- The queue ---

bool WatchService::Queue::Add(Post post) {
  base::MutexLock lock(mutex_);
  if (closed_) return false;
  posts_.push_back(std::move(post));
  mutex_.SignalBehind(wake_);
  return true;
}

void WatchService::Queue::Close() {
  base::MutexLock lock(mutex_);
  closed_ = true;
  wake_.Signal();
}

bool WatchService::Queue::Take(std::vector<Post>& posts,
                               std::optional<steady_clock::time_point> deadline) {
  posts.clear();
  base::MutexLock lock(mutex_);
  while (posts_.empty() && !closed_) {
    if (!deadline.has_value()) {
      wake_.Wait(mutex_);
    } else if (!wake_.WaitUntil(mutex_, *deadline)) {
      break;
    }
  }
  posts.swap(posts_);
  return !closed_;
}

// --- Start and stop ---

WatchService::WatchService(const ServiceContext& context, WatchFeed& feed, WatchOptions options)
    : context_(context),
      feed_(feed),
      options_(Seeded(std::move(options))),
      // The feed says where it begins, when the first watcher comes: what is published meanwhile
      // must not count as told.
      hub_(options_.hub, Revision(0), 0),
      history_(context.store,
               [queue = queue_](HistoryStep step) {
                 queue->Add({.kind = Post::Kind::kHistory, .step = std::move(step)});
               }),
      thread_([this] { Run(); }) {}

WatchService::~WatchService() { Stop(); }

void WatchService::Stop() {
  queue_->Close();
  if (thread_.joinable()) thread_.join();
  history_.Stop();
  feed_.Disable();
}

void WatchService::Register(rpc::ServiceTable& table) {
  table.AddStream("etcdserverpb.Watch", "Watch", [this](std::shared_ptr<rpc::StreamCall> call) {
    if (absl::Status status = Admit(context_, *call, OnLearner::kRefuse); !status.ok()) {
      call->Finish(std::move(status));
    } else if (!queue_->Add({.kind = Post::Kind::kOpen, .call = call})) {
      call->Finish(api::ToStatus(api::Error::kServerStopped));
    }
  });
}

void WatchService::Look(const watch::HubPlace& after, size_t items_max, LookDone done) {
  auto request = std::make_shared<LookRequest>(LookRequest{after, items_max, std::move(done)});
  if (queue_->Add({.kind = Post::Kind::kLook, .look = request})) return;
  request->done(api::ToStatus(api::Error::kServerStopped));
}

// --- The watch thread ---

void WatchService::Run() {
  base::NameThread("watch");
  std::vector<Post> posts;
  while (queue_->Take(posts, NextWake())) {
    header_ = context_.HeaderNow();
    for (Post& post : posts) Handle(post);
    TakeChanges();
    hub_.Tick(NowMs());
    BeginHistory();
    // Each gets its part of the turn: what is left waits for what has come meanwhile.
    for (const watch::StreamId id : hub_.TakeReady()) Serve(id);
    // Who has taken its history needs the next step; who was overtaken by a compaction hears it
    // with the next turn, which begins at once then.
    BeginHistory();
    for (const watch::StreamId id : std::exchange(to_read_, {})) {
      const auto found = streams_.find(id);
      if (found != streams_.end()) ReadNext(id, found->second);
    }
    if (is_feed_enabled_ && !hub_.has_watchers()) {
      feed_.Disable();
      is_feed_enabled_ = false;
    }
  }
  for (Post& post : posts) {
    if (post.call != nullptr) post.call->Finish(api::ToStatus(api::Error::kServerStopped));
    if (post.look != nullptr) post.look->done(api::ToStatus(api::Error::kServerStopped));
  }
  while (!streams_.empty()) {
    Close(streams_.begin()->first, api::ToStatus(api::Error::kServerStopped));
  }
}

int64_t WatchService::NowMs() const {
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - started_).count();
}

std::optional<steady_clock::time_point> WatchService::NextWake() const {
  if (hub_.has_ready()) return started_;
  std::optional<steady_clock::time_point> wake;
  if (const std::optional<int64_t> tick = hub_.next_tick_ms(); tick.has_value()) {
    wake = started_ + milliseconds(*tick);
  }
  return wake;
}

void WatchService::Handle(Post& post) {
  switch (post.kind) {
    case Post::Kind::kOpen:
      Open(std::move(post.call));
      break;
    case Post::Kind::kRequest:
      OnRequest(post.stream, post.request);
      break;
    case Post::Kind::kClosed:
      Close(post.stream, api::ToStatus(api::Error::kWatchCanceled));
      break;
    case Post::Kind::kWritable: {
      const auto found = streams_.find(post.stream);
      if (found == streams_.end()) break;
      found->second.is_blocked = false;
      hub_.SetBlocked(post.stream, false);
      to_read_.push_back(post.stream);
      break;
    }
    case Post::Kind::kChanges:
      break;
    case Post::Kind::kHistory:
      OnHistory(post.step);
      break;
    case Post::Kind::kLook:
      post.look->done(MakePage(*post.look));
      break;
  }
}

void WatchService::Open(std::shared_ptr<rpc::StreamCall> call) {
  const watch::StreamId id = hub_.OpenStream();
  Stream& stream = streams_[id];
  stream.call = std::move(call);
  stream.opened = steady_clock::now();
  context_.node.leader_loss().Add(stream.call);
  to_read_.push_back(id);
  stream.call->OnCancel(
      [queue = queue_, id] { queue->Add({.kind = Post::Kind::kClosed, .stream = id}); });
}

void WatchService::Close(watch::StreamId id, absl::Status status) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  hub_.CloseStream(id);
  const std::shared_ptr<rpc::StreamCall> call = std::move(found->second.call);
  streams_.erase(found);
  call->Finish(std::move(status));
}

void WatchService::ReadNext(watch::StreamId id, Stream& stream) {
  if (!stream.wants_read || stream.is_blocked) return;
  stream.wants_read = false;
  stream.call->Read([queue = queue_, id](rpc::ReadResult result, std::string_view message) {
    switch (result) {
      case rpc::ReadResult::kMessage:
        queue->Add({.kind = Post::Kind::kRequest, .stream = id, .request = std::string(message)});
        break;
      case rpc::ReadResult::kEnd:
        // A client that has nothing more to ask still wants its events.
        break;
      case rpc::ReadResult::kCancelled:
        queue->Add({.kind = Post::Kind::kClosed, .stream = id});
        break;
    }
  });
}

void WatchService::OnRequest(watch::StreamId id, std::string_view bytes) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  WatchRequest request;
  if (absl::Status status = rpc::Parse(bytes, request); !status.ok()) {
    Close(id, std::move(status));
    return;
  }
  found->second.wants_read = true;
  to_read_.push_back(id);
  switch (request.request_union_case()) {
    case WatchRequest::kCreateRequest:
      Create(id, request.create_request());
      break;
    case WatchRequest::kCancelRequest:
      hub_.Cancel(id, watch::WatchId(request.cancel_request().watch_id()),
                  context_.store.published().revision);
      break;
    case WatchRequest::kProgressRequest:
      hub_.RequestProgress(id, context_.store.published().revision);
      break;
    case WatchRequest::REQUEST_UNION_NOT_SET:
      break;
  }
}

void WatchService::Create(watch::StreamId id, const WatchCreateRequest& request) {
  if (!is_feed_enabled_) {
    is_feed_enabled_ = true;
    hub_.Skip(feed_.Enable([queue = queue_] { queue->Add({.kind = Post::Kind::kChanges}); }));
  }
  if (request.prev_kv()) feed_.EnablePrevious();
  watch::CreateRequest create = {.id = watch::WatchId(request.watch_id()),
                                 .key = request.key(),
                                 .range_end = request.range_end(),
                                 .start = Revision(request.start_revision()),
                                 .wants_previous = request.prev_kv(),
                                 .progress_notify = request.progress_notify(),
                                 .fragment = request.fragment()};
  for (const int filter : request.filters()) {
    create.skips_puts |= filter == WatchCreateRequest::NOPUT;
    create.skips_deletions |= filter == WatchCreateRequest::NODELETE;
  }
  hub_.Create(id, create, context_.store.published());
}

void WatchService::TakeChanges() {
  if (!is_feed_enabled_ || !feed_.Fetch(batch_)) return;
  if (batch_.has_gap) {
    hub_.Skip(batch_.through);
    return;
  }
  const auto find_previous = [&](const mvcc::Event& event, std::string& previous) {
    if (const auto at_hand = batch_.changes.Previous(event.revision); at_hand.has_value()) {
      previous = *at_hand;
      return true;
    }
    // Large, or older than the first who asked.
    const absl::StatusOr<bool> found =
        context_.store.ReadPrevious(event.kind, event.revision, event.previous, previous);
    if (!found.ok()) Fatal(found.status());
    return found.ok() && *found;
  };
  hub_.Notify(batch_.changes.Events(), batch_.through, find_previous);
}

void WatchService::BeginHistory() {
  if (has_failed_) return;
  const std::optional<watch::HistoryRequest> request =
      hub_.NextHistory(context_.store.published().watermark);
  if (request.has_value()) history_.Begin(*request);
}

void WatchService::OnHistory(const HistoryStep& step) {
  if (step.status.ok()) {
    hub_.OnHistory(step.Rows(), step.through);
    return;
  }
  hub_.OnHistoryFailed();
  if (!mvcc::IsCompacted(step.status)) Fatal(step.status);
}

WatchPage WatchService::MakePage(const LookRequest& request) const {
  WatchPage page = {.stats = hub_.stats(), .told = hub_.cursor()};
  watch::HubPage found = hub_.Look(request.after, request.items_max, kPageRangeBytesMax);
  page.next = found.next;
  for (watch::StreamView& view : found.streams) {
    const Stream& stream = streams_.find(view.id)->second;
    page.streams.push_back({.view = std::move(view),
                            .peer = std::string(stream.call->peer()),
                            .opened = stream.opened,
                            .queued_bytes = stream.call->queued_bytes()});
  }
  return page;
}

void WatchService::Fatal(const absl::Status& error) {
  if (std::exchange(has_failed_, true)) return;
  if (options_.on_fatal) options_.on_fatal(error);
}

void WatchService::Serve(watch::StreamId id) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  Stream& stream = found->second;
  if (stream.is_blocked) return;
  SetShare(stream);
  const auto events_bytes_max = static_cast<size_t>(stream.share_bytes / 2);
  for (int i = 0; i < kMessagesPerTurn; ++i) {
    const std::optional<watch::Message> message = hub_.Take(id, events_bytes_max);
    if (!message.has_value()) return;
    if (stream.call->Write(Encode(*message))) continue;
    stream.is_blocked = true;
    hub_.SetBlocked(id, true);
    stream.call->OnWritable(
        [queue = queue_, id] { queue->Add({.kind = Post::Kind::kWritable, .stream = id}); });
    return;
  }
  hub_.ListAgain(id);
}

void WatchService::SetShare(Stream& stream) const {
  const int64_t share_bytes = std::clamp(kQueuedBytesMax / static_cast<int64_t>(streams_.size()),
                                         kStreamQueuedBytesMin, kStreamQueuedBytesMax);
  if (share_bytes == stream.share_bytes) return;
  stream.share_bytes = share_bytes;
  stream.call->SetHighWaterBytes(share_bytes / 2);
}

rpc::SliceList WatchService::Encode(const watch::Message& message) const {
  const size_t events_bytes = message.events_bytes();
  std::string bytes;
  bytes.reserve(kHeaderFieldBytesMax + 32 + message.cancel_reason.size() +
                (events_bytes < options_.hub.shared_bytes_min ? events_bytes : 0));
  ResponseHeader header = header_;
  header.revision = message.revision;
  AppendHeaderField(bytes, header);
  wire::AppendNumberField(bytes, WatchResponse::kWatchIdFieldNumber,
                          static_cast<uint64_t>(message.id.value()));
  wire::AppendNumberField(bytes, WatchResponse::kCreatedFieldNumber, message.created);
  wire::AppendNumberField(bytes, WatchResponse::kCanceledFieldNumber, message.canceled);
  wire::AppendNumberField(bytes, WatchResponse::kCompactRevisionFieldNumber,
                          static_cast<uint64_t>(message.compact_revision.value()));
  if (!message.cancel_reason.empty()) {
    wire::AppendFieldStart(bytes, WatchResponse::kCancelReasonFieldNumber,
                           message.cancel_reason.size());
    bytes += message.cancel_reason;
  }
  wire::AppendNumberField(bytes, WatchResponse::kFragmentFieldNumber, message.fragment);
  // A few hundred bytes are cheaper copied than shared, and so the transport has it.
  if (events_bytes < options_.hub.shared_bytes_min) {
    for (const watch::SharedBytes& part : message.events) bytes += part.bytes;
    return rpc::SliceList(std::move(bytes));
  }
  rpc::SliceList list(std::move(bytes));
  for (const watch::SharedBytes& part : message.events) {
    list.Append(rpc::Slice(part.owner, part.bytes));
  }
  return list;
}

}  // namespace cairn::server
