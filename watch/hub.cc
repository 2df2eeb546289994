#include "watch/hub.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace cairn::watch {
namespace {

// etcd's texts.
constexpr std::string_view kCompactedText =
    "etcdserver: mvcc: required revision has been compacted";
constexpr std::string_view kEmptyRangeText = "mvcc: watcher range is empty";
constexpr std::string_view kDuplicateText = "mvcc: duplicate watch ID provided on the WatchStream";

// What the ranges of a watcher may hold on average, of all and of one stream: a service's key, and
// a namespace's first key and limit. Keys of a megabyte each would hold more than everything else.
constexpr size_t kRangeBytesPerWatcher = 64;
constexpr size_t kStreamRangeBytesPerWatcher = 160;
// However few watchers are allowed: what one request can ask for (etcd's limit of 1.5 MiB and its
// 512 KiB of overhead).
constexpr size_t kRangeBytesMaxLeast = size_t{2} << 20;
// Progress requests of one stream that wait; etcd's queue holds as many responses.
constexpr size_t kProgressMarksMax = 128;

size_t RangeBytesMax(size_t watchers, size_t bytes_per_watcher) {
  return std::max(watchers * bytes_per_watcher, kRangeBytesMaxLeast);
}

// What the wire's two fields mean; the views are those of the request or static. Nothing for an
// empty range.
std::optional<WatchedRange> RangeOf(std::string_view key, std::string_view range_end) {
  constexpr std::string_view kZero("\0", 1);
  if (key.empty()) key = kZero;
  if (range_end.empty()) return WatchedRange{.is_single_key = true, .interval = {key, {}}};
  if (range_end == kZero) return WatchedRange{.interval = {key, std::nullopt}};
  if (range_end <= key) return std::nullopt;
  return WatchedRange{.interval = {key, range_end}};
}

}  // namespace

Hub::Hub(HubOptions options, Revision cursor, int64_t now_ms)
    : options_(options), cursor_(cursor), now_ms_(now_ms), index_(options.index_seed) {}

Hub::~Hub() {
  while (!streams_.empty()) CloseStream(streams_.begin()->first);
}

HubStats Hub::stats() const {
  return {.streams = streams_.size(),
          .watchers = watchers_,
          .lagging = lagging_watchers_,
          .groups = index_.size(),
          .retained_bytes = retained_bytes_,
          .fallen_behind = fallen_behind_,
          .history_steps = steps_};
}

// --- Streams and requests ---

Stream* Hub::Find(StreamId id) {
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : found->second.get();
}

StreamId Hub::OpenStream() {
  auto stream = std::make_unique<Stream>();
  stream->id = StreamId(next_stream_++);
  const StreamId id = stream->id;
  streams_.emplace(id, std::move(stream));
  return id;
}

void Hub::CloseStream(StreamId id) {
  Stream* const stream = Find(id);
  if (stream == nullptr) return;
  while (!stream->watchers.empty()) Remove(*stream->watchers.begin()->second);
  streams_.erase(id);
}

void Hub::Refuse(Stream& stream, std::string reason, Revision published) {
  Say(stream, {.id = kNoWatch,
               .revision = published,
               .created = true,
               .canceled = true,
               .cancel_reason = std::move(reason)});
}

std::optional<std::string> Hub::CheckRoom(const Stream& stream, size_t range_bytes) const {
  if (stream.watchers.size() >= options_.stream_watchers_max) {
    return fmt::format("cairn: too many watchers on this stream (--max-watchers-per-stream={})",
                       options_.stream_watchers_max);
  }
  if (watchers_ >= options_.watchers_max) {
    return fmt::format("cairn: too many watchers (--max-watchers={})", options_.watchers_max);
  }
  const size_t stream_max =
      RangeBytesMax(options_.stream_watchers_max, kStreamRangeBytesPerWatcher);
  if (stream.range_bytes + range_bytes > stream_max) {
    return fmt::format(
        "cairn: the ranges watched on this stream are too long: more than {} bytes, {} for each of "
        "--max-watchers-per-stream={}",
        stream_max, kStreamRangeBytesPerWatcher, options_.stream_watchers_max);
  }
  const size_t max = RangeBytesMax(options_.watchers_max, kRangeBytesPerWatcher);
  if (range_bytes_ + range_bytes > max) {
    return fmt::format(
        "cairn: the ranges watched are too long: more than {} bytes, {} for each of "
        "--max-watchers={}",
        max, kRangeBytesPerWatcher, options_.watchers_max);
  }
  return std::nullopt;
}

void Hub::Create(StreamId stream_id, const CreateRequest& request, mvcc::Published published) {
  Stream* const stream = Find(stream_id);
  if (stream == nullptr) return;
  const Revision now = published.revision;
  if (request.start < Revision(0)) return Refuse(*stream, std::string(kCompactedText), now);
  const std::optional<WatchedRange> range = RangeOf(request.key, request.range_end);
  if (!range.has_value()) return Refuse(*stream, std::string(kEmptyRangeText), now);
  WatchId id = request.id;
  if (id == WatchId(0)) {
    while (stream->watchers.contains(stream->next_id)) ++stream->next_id;
    id = stream->next_id;
  } else if (stream->watchers.contains(id)) {
    return Refuse(*stream, std::string(kDuplicateText), now);
  }
  const size_t range_bytes = request.key.size() + request.range_end.size();
  if (std::optional<std::string> full = CheckRoom(*stream, range_bytes); full.has_value()) {
    return Refuse(*stream, *std::move(full), now);
  }
  if (request.id == WatchId(0)) ++stream->next_id;

  Say(*stream, {.id = id, .revision = now, .created = true});
  if (request.start != Revision(0) && request.start < published.watermark) {
    // Also where the cursor is not there yet and might still bring what it asks for: whether a
    // start is compacted must not depend on how busy the hub is.
    return Say(*stream, {.id = id, .canceled = true, .compact_revision = published.watermark});
  }
  auto& owned = stream->watchers[id];
  owned = std::make_unique<Watcher>();
  Watcher& watcher = *owned;
  watcher.id = id;
  watcher.stream = stream;
  watcher.group = index_.FindOrMake(*range, {.skips_puts = request.skips_puts,
                                             .skips_deletions = request.skips_deletions,
                                             .wants_previous = request.wants_previous});
  watcher.member_index = static_cast<uint32_t>(watcher.group->members.size());
  watcher.group->members.push_back(&watcher);
  watcher.fragment = request.fragment;
  watcher.next = request.start == Revision(0) ? now + 1 : request.start;
  ++watchers_;
  if (watcher.group->members.size() == 1) range_bytes_ += watcher.group->range_bytes();
  stream->range_bytes += watcher.group->range_bytes();
  if (request.start > now) {
    watcher.began_in_future = true;
    ++stream->future_starts[watcher.next];
  }
  if (request.progress_notify) {
    watcher.progress_notify = true;
    if (++stream->progress_watchers == 1) ScheduleProgress(*stream);
  }
  Place(watcher);
}

void Hub::Cancel(StreamId stream_id, WatchId id, Revision published) {
  Stream* const stream = Find(stream_id);
  if (stream == nullptr) return;
  const auto found = stream->watchers.find(id);
  if (found == stream->watchers.end()) return;
  Remove(*found->second);
  Say(*stream, {.id = id, .revision = published, .canceled = true});
}

void Hub::RequestProgress(StreamId stream_id, Revision published) {
  Stream* const stream = Find(stream_id);
  if (stream == nullptr || stream->watchers.empty() || stream->lagging_count > 0 ||
      IsWithheld(*stream, published) || stream->progress_marks.size() >= kProgressMarksMax) {
    return;
  }
  stream->progress_marks.push_back({published, stream->dirty_count});
  List(*stream);
}

void Hub::Say(Stream& stream, Message message) {
  stream.control.push_back(std::move(message));
  List(stream);
}

void Hub::List(Stream& stream) {
  if (stream.is_listed || stream.is_blocked) return;
  stream.is_listed = true;
  ready_.push_back(stream.id);
}

std::vector<StreamId> Hub::TakeReady() {
  for (const StreamId id : ready_) {
    if (Stream* const stream = Find(id); stream != nullptr) stream->is_listed = false;
  }
  return std::exchange(ready_, {});
}

void Hub::ListAgain(StreamId id) {
  if (Stream* const stream = Find(id); stream != nullptr) List(*stream);
}

void Hub::SetBlocked(StreamId id, bool is_blocked) {
  Stream* const stream = Find(id);
  if (stream == nullptr) return;
  stream->is_blocked = is_blocked;
  if (is_blocked) return;
  List(*stream);
  if (!stream->lagging.empty() && !stream->is_in_rotation) {
    stream->is_in_rotation = true;
    rotation_.push_back(stream->id);
  }
}

// --- Watchers in and out of their lists ---

void Hub::Place(Watcher& watcher) {
  if (watcher.next > cursor_ + 1) {
    watcher.state = Watcher::State::kFuture;
    future_[watcher.next].PushBack(&watcher);
  } else if (watcher.next == cursor_ + 1) {
    watcher.state = Watcher::State::kSynced;
    Join(watcher);
  } else {
    AddLagging(watcher);
  }
}

void Hub::Join(Watcher& watcher) {
  CAIRN_CHECK(!watcher.is_joined && watcher.pending == nullptr);
  watcher.is_joined = true;
  ++watcher.group->joined;
}

void Hub::Leave(Watcher& watcher) {
  CAIRN_CHECK(watcher.is_joined);
  watcher.is_joined = false;
  --watcher.group->joined;
  SetPending(watcher, nullptr);
}

void Hub::MarkDirty(Watcher& watcher) {
  if (watcher.is_dirty) return;
  watcher.is_dirty = true;
  watcher.stream->dirty.PushBack(&watcher);
  ++watcher.stream->dirty_count;
  List(*watcher.stream);
}

void Hub::Unmark(Watcher& watcher) {
  if (!watcher.is_dirty) return;
  watcher.is_dirty = false;
  watcher.stream->dirty.Remove(&watcher);
  --watcher.stream->dirty_count;
}

void Hub::RemoveFuture(Watcher& watcher) {
  const auto found = future_.find(watcher.next);
  found->second.Remove(&watcher);
  if (found->second.empty()) future_.erase(found);
}

void Hub::ClearFuture(Watcher& watcher) {
  if (!watcher.began_in_future) return;
  watcher.began_in_future = false;
  const auto found = watcher.stream->future_starts.find(watcher.next);
  if (--found->second == 0) watcher.stream->future_starts.erase(found);
}

void Hub::ActivateFuture() {
  while (!future_.empty() && future_.begin()->first <= cursor_ + 1) {
    Watcher& watcher = *future_.begin()->second.front();
    RemoveFuture(watcher);
    Place(watcher);
  }
}

void Hub::Remove(Watcher& watcher) {
  Stream& stream = *watcher.stream;
  if (watcher.is_joined) Leave(watcher);
  Unmark(watcher);
  if (watcher.state == Watcher::State::kFuture) RemoveFuture(watcher);
  if (watcher.state == Watcher::State::kLagging) {
    if (watcher.history == nullptr) RemoveLagging(watcher);
    --stream.lagging_count;
    --lagging_watchers_;
  }
  if (watcher.history != nullptr) Release(std::exchange(watcher.history, nullptr));
  ClearFuture(watcher);
  if (watcher.progress_notify && --stream.progress_watchers == 0) UnscheduleProgress(stream);

  Group& group = *watcher.group;
  stream.range_bytes -= group.range_bytes();
  group.members.back()->member_index = watcher.member_index;
  std::swap(group.members[watcher.member_index], group.members.back());
  group.members.pop_back();
  // A group may have had many for a moment.
  if (group.members.size() < group.members.capacity() / 4) group.members.shrink_to_fit();
  if (group.members.empty()) {
    range_bytes_ -= group.range_bytes();
    index_.Erase(&group);
  }
  --watchers_;
  stream.watchers.erase(watcher.id);
}

// --- Time ---

int64_t Hub::ProgressPauseMs(const Stream& stream) const {
  // Spread by stream; no two neighbours alike.
  constexpr uint64_t kSpread = 0x9e3779b97f4a7c15;
  const auto tenths = static_cast<int64_t>((stream.id.value() * kSpread) >> 54);  // 0..1023
  return options_.progress_interval_ms + options_.progress_interval_ms * tenths / 10240;
}

void Hub::ScheduleProgress(Stream& stream) {
  stream.next_progress_ms = now_ms_ + std::max<int64_t>(1, ProgressPauseMs(stream));
  progress_due_.emplace(stream.next_progress_ms, stream.id);
}

void Hub::UnscheduleProgress(const Stream& stream) {
  progress_due_.erase({stream.next_progress_ms, stream.id});
}

std::optional<int64_t> Hub::next_tick_ms() const {
  if (progress_due_.empty()) return std::nullopt;
  return progress_due_.begin()->first;
}

void Hub::Tick(int64_t now_ms) {
  now_ms_ = std::max(now_ms_, now_ms);
  // Called with every turn of the thread: who is not due is not looked at.
  while (!progress_due_.empty() && progress_due_.begin()->first <= now_ms_) {
    Stream& stream = *Find(progress_due_.begin()->second);
    UnscheduleProgress(stream);
    ScheduleProgress(stream);
    // Who does not take what it was sent gets no more of it, and one tick after the other.
    if (stream.is_blocked || stream.tick_place.has_value()) continue;
    stream.tick_place = stream.watchers.begin()->first;
    List(stream);
  }
}

}  // namespace cairn::watch
