// The hub's way from history to the present: lagging watchers, steps, and the meeting.
//
// Lagging watchers near each other share a step: one bounded read of history, its events encoded
// once. A step that reaches the cursor is begun with its watchers joined, so that what happens
// meanwhile waits for them as parcels: nothing is lost in between and nothing comes twice.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "watch/hub.h"

namespace cairn::watch {
namespace {

// More ranges than this are not worth testing row by row: the hub's own index does it better.
constexpr size_t kStepRangesMax = 16;

}  // namespace

void Hub::AddLagging(Watcher& watcher) {
  CAIRN_CHECK(watcher.next <= cursor_ && watcher.history == nullptr);
  Stream& stream = *watcher.stream;
  // Its start, wherever it lay, is behind the cursor.
  ClearFuture(watcher);
  if (watcher.state != Watcher::State::kLagging) {
    watcher.state = Watcher::State::kLagging;
    ++stream.lagging_count;
    ++lagging_watchers_;
  }
  watcher.is_in_step = false;
  lagging_[watcher.next].PushBack(&watcher);
  stream.lagging.PushBack(&watcher);
  if (!stream.is_blocked && !stream.is_in_rotation) {
    stream.is_in_rotation = true;
    rotation_.push_back(stream.id);
  }
}

void Hub::RemoveLagging(Watcher& watcher) {
  const auto found = lagging_.find(watcher.next);
  found->second.Remove(&watcher);
  if (found->second.empty()) lagging_.erase(found);
  watcher.stream->lagging.Remove(&watcher);
}

void Hub::CancelCompacted(Revision watermark) {
  while (!lagging_.empty() && lagging_.begin()->first < watermark) {
    Watcher& watcher = *lagging_.begin()->second.front();
    Stream& stream = *watcher.stream;
    const WatchId id = watcher.id;
    Remove(watcher);
    Say(stream, {.id = id, .canceled = true, .compact_revision = watermark});
  }
}

std::optional<HistoryRequest> Hub::NextHistory(Revision watermark) {
  CancelCompacted(watermark);
  if (step_ != 0) return std::nullopt;
  while (!rotation_.empty()) {
    Stream* const stream = Find(rotation_.front());
    rotation_.pop_front();
    if (stream == nullptr) continue;
    if (stream->is_blocked || stream->lagging.empty()) {
      stream->is_in_rotation = false;
      continue;
    }
    // To the back, stream and watcher: everyone has a turn.
    rotation_.push_back(stream->id);
    Watcher& watcher = *stream->lagging.front();
    stream->lagging.Remove(&watcher);
    stream->lagging.PushBack(&watcher);
    return BeginStep(watcher.next);
  }
  return std::nullopt;
}

HistoryRequest Hub::BeginStep(Revision first) {
  step_ = ++last_step_ == 0 ? ++last_step_ : last_step_;
  ++steps_;
  step_first_ = first;
  step_last_ = std::min(cursor_, first + (options_.step_revisions - 1));
  HistoryRequest request = {.first = step_first_, .last = step_last_};
  bool has_few_ranges = true;
  for (auto at = lagging_.lower_bound(step_first_); at != lagging_.end() && at->first <= step_last_;
       ++at) {
    for (Watcher* watcher = at->second.front(); watcher != nullptr;
         watcher = WatcherList<&Watcher::by_revision>::Next(watcher)) {
      if (watcher->stream->is_blocked) continue;
      watcher->is_in_step = true;
      Group& group = *watcher->group;
      if (group.step != step_) {
        group.step = step_;
        request.wants_previous |= group.variant.wants_previous;
        if (request.ranges.size() == kStepRangesMax) has_few_ranges = false;
        if (has_few_ranges) request.ranges.push_back({group.is_single_key, group.interval()});
      }
      if (step_last_ == cursor_) Join(*watcher);
    }
  }
  if (!has_few_ranges) request.ranges.clear();
  return request;
}

std::vector<Watcher*> Hub::StepWatchers(Revision through) const {
  std::vector<Watcher*> watchers;
  for (auto at = lagging_.lower_bound(step_first_); at != lagging_.end() && at->first <= through;
       ++at) {
    for (Watcher* watcher = at->second.front(); watcher != nullptr;
         watcher = WatcherList<&Watcher::by_revision>::Next(watcher)) {
      if (watcher->is_in_step) watchers.push_back(watcher);
    }
  }
  return watchers;
}

void Hub::TouchHistory(std::span<const HistoryRow> rows, EventBatch& batch) {
  for (const HistoryRow& row : rows) {
    bool wants_plain = false;
    bool wants_previous = false;
    const bool is_deletion = row.event.kind == mvcc::ChangeKind::kDeletion;
    index_.Match(row.event.key, [&](Group& group) {
      if (group.step != step_) return;
      if (is_deletion ? group.variant.skips_deletions : group.variant.skips_puts) return;
      (group.variant.wants_previous ? wants_previous : wants_plain) = true;
      Touch(group, batch.size());
    });
    if (wants_plain || wants_previous) {
      batch.Add(row.event, wants_plain, wants_previous, row.previous);
    }
  }
}

void Hub::OnHistory(std::span<const HistoryRow> rows, Revision through) {
  if (step_ == 0) return;
  CAIRN_CHECK(through >= step_first_ && through <= step_last_);
  auto batch = std::make_shared<EventBatch>();
  TouchHistory(rows, *batch);
  Retained* retained = nullptr;
  for (Watcher* const watcher : StepWatchers(through)) {
    FinishStep(*watcher, HistoryParcel(*watcher, batch, retained, through), through);
  }
  for (const Touched& touched : touched_) touched.group->touched = 0;
  touched_.clear();
  EndStep();
  DropRetained();
}

Parcel* Hub::HistoryParcel(Watcher& watcher, const std::shared_ptr<const EventBatch>& batch,
                           Retained*& retained, Revision through) {
  if (watcher.group->touched == 0) return nullptr;
  Touched& touched = touched_[watcher.group->touched - 1];
  // One for all of the group, wherever in it they begin.
  if (batch->revision(touched.runs.back().end - 1) < watcher.next) return nullptr;
  if (touched.history == nullptr) {
    if (retained == nullptr) retained = &Retain(*batch);
    touched.history = MakeParcel(batch, *retained, *watcher.group, touched.runs, through);
  }
  return touched.history;
}

void Hub::FinishStep(Watcher& watcher, Parcel* parcel, Revision through) {
  RemoveLagging(watcher);
  watcher.is_in_step = false;
  const bool has_met = watcher.is_joined && through == step_last_;
  if (watcher.is_joined && !has_met) Leave(watcher);
  if (has_met) {
    watcher.state = Watcher::State::kSynced;
    --watcher.stream->lagging_count;
    --lagging_watchers_;
  }
  if (parcel != nullptr) {
    ++parcel->waiting;
    watcher.history = parcel;
    MarkDirty(watcher);
    return;
  }
  watcher.next = through + 1;
  if (!has_met) {
    AddLagging(watcher);
  } else if (watcher.pending != nullptr) {
    MarkDirty(watcher);
  }
}

void Hub::OnHistoryFailed() {
  if (step_ != 0) EndStep();
}

void Hub::EndStep() {
  for (Watcher* const watcher : StepWatchers(step_last_)) {
    watcher->is_in_step = false;
    if (watcher->is_joined) Leave(*watcher);
  }
  step_ = 0;
}

}  // namespace cairn::watch
