// The hub's way from changes to responses: batches, parcels, what a stream takes.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "watch/hub.h"

namespace cairn::watch {
namespace {

// Newer batches that are never dropped, so that a revision of any size can be taken at all.
constexpr size_t kRetainedAlways = 4;

// Whoever has not sent a part of a batch keeps all of it: a part that is smaller than this share is
// copied, so that what clients do not take costs a few times what they are sent at the most.
constexpr size_t kPinnedFactor = 4;

// Watchers that are looked at for one progress notification before others have their turn: about
// as long as a message takes.
constexpr size_t kTickStep = 1000;

bool IsWanted(const Group& group, const mvcc::Event& event) {
  return event.kind == mvcc::ChangeKind::kDeletion ? !group.variant.skips_deletions
                                                   : !group.variant.skips_puts;
}

Encoding EncodingOf(const Group& group) {
  return group.variant.wants_previous ? Encoding::kWithPrevious : Encoding::kPlain;
}

// The first event of `run` at or behind `revision`; the run's end if there is none.
uint32_t FirstFrom(const EventBatch& batch, Run run, Revision revision) {
  while (run.first < run.end) {
    const uint32_t middle = run.first + (run.end - run.first) / 2;
    if (batch.revision(middle) < revision) {
      run.first = middle + 1;
    } else {
      run.end = middle;
    }
  }
  return run.first;
}

}  // namespace

// --- Changes ---

void Hub::Notify(std::span<const mvcc::Event> events, Revision through,
                 PreviousFinder find_previous) {
  CAIRN_CHECK(through >= cursor_);
  size_t begin = 0;
  ActivateFuture();
  while (cursor_ < through) {
    // Who waits for a revision joins right before it.
    Revision limit = through;
    if (!future_.empty()) limit = std::min(limit, future_.begin()->first - 1);
    size_t end = begin;
    size_t bytes = 0;
    while (end < events.size() && events[end].revision.main <= limit) {
      const Revision revision = events[end].revision.main;
      CAIRN_CHECK(revision > cursor_);
      if (bytes >= options_.batch_bytes && revision != events[end - 1].revision.main) {
        limit = revision - 1;
        break;
      }
      bytes += events[end++].key_value.size();
    }
    const size_t taken = Ingest(events.subspan(begin, end - begin), find_previous);
    begin += taken;
    if (begin < end) limit = events[begin].revision.main - 1;
    cursor_ = limit;
    ActivateFuture();
  }
  CAIRN_CHECK_EQ(begin, events.size());
  for (const StreamId id : std::exchange(marked_, {})) {
    if (Stream* const stream = Find(id); stream != nullptr) List(*stream);
  }
}

void Hub::Skip(Revision through) {
  CAIRN_CHECK(through >= cursor_);
  if (through == cursor_) return;
  const Revision told = std::exchange(cursor_, through);
  is_step_joined_ = false;
  for (auto& [id, stream] : streams_) {
    for (const auto& [watch_id, watcher] : stream->watchers) {
      if (!watcher->is_joined) continue;
      ClearFuture(*watcher);
      if (watcher->state == Watcher::State::kSynced && !watcher->is_dirty) {
        watcher->next = std::max(watcher->next, told + 1);
      }
      FallBehind(*watcher);
    }
  }
  ActivateFuture();
  for (const StreamId id : std::exchange(marked_, {})) {
    if (Stream* const stream = Find(id); stream != nullptr) List(*stream);
  }
}

void Hub::Touch(Group& group, uint32_t index) {
  if (group.touched == 0) {
    touched_.emplace_back().group = &group;
    group.touched = static_cast<uint32_t>(touched_.size());
  }
  auto& runs = touched_[group.touched - 1].runs;
  if (!runs.empty() && runs.back().end == index) {
    ++runs.back().end;
  } else {
    runs.push_back({index, index + 1});
  }
}

size_t Hub::Ingest(std::span<const mvcc::Event> events, PreviousFinder find_previous) {
  if (events.empty() || watchers_ == 0) return events.size();
  std::shared_ptr<EventBatch> batch;
  std::string previous;
  size_t previous_bytes = 0;
  size_t taken = 0;
  for (; taken < events.size(); ++taken) {
    const mvcc::Event& event = events[taken];
    // What events replaced may be far larger than they are, and is known only now.
    if (previous_bytes >= options_.batch_bytes &&
        event.revision.main != events[taken - 1].revision.main) {
      break;
    }
    bool wants_plain = false;
    bool wants_previous = false;
    index_.Match(event.key, [&](Group& group) {
      if (!IsWanted(group, event) || !HasJoined(group)) return;
      if (batch == nullptr) batch = std::make_shared<EventBatch>();
      (group.variant.wants_previous ? wants_previous : wants_plain) = true;
      Touch(group, batch->size());
    });
    if (!wants_plain && !wants_previous) continue;
    const bool has_previous = wants_previous && find_previous(event, previous);
    if (has_previous) previous_bytes += previous.size();
    batch->Add(event, wants_plain, wants_previous,
               has_previous ? std::optional<std::string_view>(previous) : std::nullopt);
  }
  if (batch == nullptr) return taken;
  Retained* retained = nullptr;
  for (const Touched& touched : touched_) {
    Group& group = *touched.group;
    group.touched = 0;
    if (is_step_joined_) JoinFromStep(group);
    // Whoever the step had of it has gone.
    if (group.joined == 0) continue;
    if (retained == nullptr) retained = &Retain(*batch);
    Parcel* const parcel = MakeParcel(batch, *retained, group, touched.runs, Revision(0));
    if (group.last_parcel == nullptr) {
      group.first_parcel = parcel;
    } else {
      group.last_parcel->next_in_group = parcel;
    }
    group.last_parcel = parcel;
    for (Watcher* const watcher : group.members) {
      if (!watcher->is_joined) continue;
      if (watcher->pending == nullptr) SetPending(*watcher, parcel);
      if (watcher->state == Watcher::State::kSynced) MarkDirty(*watcher);
    }
  }
  touched_.clear();
  DropRetained();
  return taken;
}

// --- Batches and parcels ---

Retained& Hub::Retain(const EventBatch& batch) {
  retained_.emplace_back();
  Retained& retained = retained_.back();
  retained.self = std::prev(retained_.end());
  retained.size_bytes = sizeof(Retained) + batch.size_bytes();
  retained_bytes_ += retained.size_bytes;
  return retained;
}

Parcel* Hub::MakeParcel(const std::shared_ptr<const EventBatch>& batch, Retained& retained,
                        Group& group, std::span<const Run> runs, Revision through) {
  auto parcel = std::make_unique<Parcel>();
  parcel->batch = batch;
  parcel->group = &group;
  parcel->number = ++last_parcel_;
  parcel->runs.assign(runs.begin(), runs.end());
  for (const Run& run : runs) parcel->size_bytes += batch->Bytes(EncodingOf(group), run).size();
  parcel->first = batch->revision(runs.front().first);
  parcel->last = batch->revision(runs.back().end - 1);
  parcel->through = through;
  parcel->retained = &retained;
  parcel->next_in_batch = retained.first;
  if (retained.first != nullptr) retained.first->previous_in_batch = parcel.get();
  retained.first = parcel.get();
  const size_t runs_bytes = runs.size() > 1 ? parcel->runs.capacity() * sizeof(Run) : 0;
  retained.size_bytes += sizeof(Parcel) + runs_bytes;
  retained_bytes_ += sizeof(Parcel) + runs_bytes;
  return parcel.release();
}

void Hub::SetPending(Watcher& watcher, Parcel* parcel) {
  // First, so that a parcel that comes later than the one before it outlives it.
  if (parcel != nullptr) ++parcel->waiting;
  if (Parcel* const before = std::exchange(watcher.pending, parcel)) Release(before);
}

void Hub::Release(Parcel* parcel) {
  CAIRN_CHECK(parcel->waiting > 0);
  if (--parcel->waiting > 0) return;
  if (parcel->is_history()) return Free(parcel);
  // Who waits for a parcel waits for every later one of the group too, so they end in order.
  Group& group = *parcel->group;
  while (group.first_parcel != nullptr && group.first_parcel->waiting == 0) {
    Free(std::exchange(group.first_parcel, group.first_parcel->next_in_group));
  }
  if (group.first_parcel == nullptr) group.last_parcel = nullptr;
}

void Hub::Free(Parcel* parcel) {
  const std::unique_ptr<Parcel> owned(parcel);
  Retained& retained = *parcel->retained;
  (parcel->previous_in_batch == nullptr ? retained.first
                                        : parcel->previous_in_batch->next_in_batch) =
      parcel->next_in_batch;
  if (parcel->next_in_batch != nullptr) {
    parcel->next_in_batch->previous_in_batch = parcel->previous_in_batch;
  }
  if (retained.first != nullptr) return;
  retained_bytes_ -= retained.size_bytes;
  retained_.erase(retained.self);
}

void Hub::DropRetained() {
  while (retained_bytes_ > options_.retained_bytes_max && retained_.size() > kRetainedAlways) {
    Parcel* parcel = retained_.front().first;
    while (parcel != nullptr) DropParcel(std::exchange(parcel, parcel->next_in_batch));
  }
}

void Hub::DropParcel(Parcel* parcel) {
  const Group& group = *parcel->group;
  // The parcel, the first one of the group if of the present, goes with the last who waits for it.
  for (uint32_t waiting = parcel->waiting, i = 0; waiting > 0; ++i) {
    CAIRN_CHECK(i < group.members.size());
    Watcher& watcher = *group.members[i];
    if (watcher.history != parcel && watcher.pending != parcel) continue;
    --waiting;
    FallBehind(watcher);
  }
}

void Hub::FallBehind(Watcher& watcher) {
  // Before its start is forgotten.
  ClearFuture(watcher);
  if (watcher.state == Watcher::State::kSynced && watcher.history == nullptr &&
      watcher.pending != nullptr) {
    // Whatever came before the oldest parcel was taken.
    watcher.next = std::max(watcher.next, watcher.pending->first);
  }
  if (watcher.is_joined) Leave(watcher);
  const bool has_history = watcher.history != nullptr;
  if (has_history) Release(std::exchange(watcher.history, nullptr));
  // Waiting for a history step already.
  if (watcher.state == Watcher::State::kLagging && !has_history) return;
  ++fallen_behind_;
  Unmark(watcher);
  AddLagging(watcher);
}

// --- Taking ---

std::optional<Message> Hub::Take(StreamId id, size_t events_bytes_max) {
  Stream* const stream = Find(id);
  if (stream == nullptr) return std::nullopt;
  // The parts of a response stay together, and what was answered comes before what happened.
  for (std::deque<Message>* const queue : {&stream->fragments, &stream->control}) {
    if (queue->empty()) continue;
    Message message = std::move(queue->front());
    queue->pop_front();
    return message;
  }
  if (!stream->progress_marks.empty()) {
    if (std::optional<Message> progress = TakeProgress(*stream); progress.has_value()) {
      return progress;
    }
  }
  if (stream->tick_place.has_value()) {
    if (std::optional<Message> progress = TakeTick(*stream); progress.has_value()) return progress;
  }
  if (stream->dirty.empty()) return std::nullopt;
  if (!stream->progress_marks.empty() && stream->progress_marks.front().countdown > 0) {
    --stream->progress_marks.front().countdown;
  }
  return TakeEvents(*stream->dirty.front(), std::min(events_bytes_max, options_.response_bytes));
}

Message Hub::TakeEvents(Watcher& watcher, size_t bytes_max) {
  Unmark(watcher);
  watcher.sent_since_tick = true;
  ClearFuture(watcher);
  Message message;
  message.id = watcher.id;
  if (watcher.history != nullptr) {
    TakeHistory(watcher, bytes_max, message);
  } else {
    TakePresent(watcher, bytes_max, message);
  }
  const bool is_lagging = watcher.state == Watcher::State::kLagging;
  if (watcher.history == nullptr && is_lagging) {
    AddLagging(watcher);
  } else if (watcher.history != nullptr || watcher.pending != nullptr) {
    MarkDirty(watcher);
  }
  return message;
}

void Hub::TakeHistory(Watcher& watcher, size_t bytes_max, Message& message) {
  Parcel* const parcel = watcher.history;
  const Portion portion = Cut(*parcel, watcher.next, bytes_max);
  // As far as the past goes: what has happened since follows with its own revision.
  message.revision = watcher.pending == nullptr ? cursor_ : watcher.pending->first - 1;
  Append(*parcel, portion, message);
  Flatten(parcel->number, portion.first, portion.last, parcel->batch->size_bytes(), message);
  Split(watcher, *parcel, portion, message);
  watcher.next = portion.is_rest ? parcel->through + 1 : portion.last + 1;
  if (portion.is_rest) Release(std::exchange(watcher.history, nullptr));
}

void Hub::TakePresent(Watcher& watcher, size_t bytes_max, Message& message) {
  const uint64_t first_parcel = watcher.pending->number;
  Revision first;
  size_t bytes = 0;
  size_t pinned_bytes = 0;
  while (watcher.pending != nullptr && !message.fragment) {
    Parcel* const parcel = watcher.pending;
    // Only the first is cut: equal watchers take equal parts.
    if (bytes > 0 && bytes + parcel->size_bytes > bytes_max) break;
    const Portion portion = Cut(*parcel, watcher.next, bytes_max);
    Append(*parcel, portion, message);
    message.revision = portion.last;
    // A response large enough for fragments is one parcel's.
    if (bytes == 0) {
      first = portion.first;
      Split(watcher, *parcel, portion, message);
    }
    bytes += portion.size_bytes;
    pinned_bytes += parcel->batch->size_bytes();
    watcher.next = portion.last + 1;
    if (!portion.is_rest) break;
    SetPending(watcher, parcel->next_in_group);
  }
  Flatten(first_parcel, first, message.revision, pinned_bytes, message);
}

Hub::Portion Hub::Cut(const Parcel& parcel, Revision next, size_t bytes_max) {
  const EventBatch& batch = *parcel.batch;
  const Encoding encoding = EncodingOf(*parcel.group);
  const auto begin = std::partition_point(parcel.runs.begin(), parcel.runs.end(), [&](Run run) {
    return batch.revision(run.end - 1) < next;
  });
  CAIRN_CHECK(begin != parcel.runs.end(), "a parcel without anything to take");
  // A response of a few events costs as much as a large one.
  const size_t bytes_enough = bytes_max + bytes_max / 4;
  Portion portion;
  portion.first = batch.revision(FirstFrom(batch, *begin, next));
  for (auto at = begin; at != parcel.runs.end(); ++at) {
    // It will be cut before this one. (A revision is taken whatever its size.)
    if (portion.size_bytes > bytes_enough && batch.revision(at->first) != portion.first) {
      portion.is_rest = false;
      break;
    }
    const Run run = {at == begin ? FirstFrom(batch, *begin, next) : at->first, at->end};
    portion.runs.push_back(run);
    portion.size_bytes += batch.Bytes(encoding, run).size();
  }
  if (portion.size_bytes > bytes_enough) Shorten(batch, encoding, bytes_max, portion);
  portion.last = batch.revision(portion.runs.back().end - 1);
  return portion;
}

void Hub::Shorten(const EventBatch& batch, Encoding encoding, size_t bytes_max, Portion& portion) {
  // Of the whole revisions that fit, and of the one at hand.
  size_t bytes = 0;
  size_t revision_bytes = 0;
  Revision revision;
  for (size_t r = 0; r < portion.runs.size(); ++r) {
    const Run run = portion.runs[r];
    for (uint32_t i = run.first; i < run.end; ++i) {
      if (batch.revision(i) != revision) {
        bytes += std::exchange(revision_bytes, 0);
        revision = batch.revision(i);
      }
      revision_bytes += batch.Bytes(encoding, {i, i + 1}).size();
      // One revision is taken whatever its size.
      if (bytes == 0 || bytes + revision_bytes <= bytes_max) continue;
      // It may have begun in an earlier run.
      auto& runs = portion.runs;
      while (batch.revision(runs.back().first) >= revision) runs.pop_back();
      runs.back().end = FirstFrom(batch, runs.back(), revision);
      portion.size_bytes = bytes;
      portion.is_rest = false;
      return;
    }
  }
}

void Hub::Append(const Parcel& parcel, const Portion& portion, Message& message) {
  for (const Run& run : portion.runs) {
    message.events.push_back({parcel.batch, parcel.batch->Bytes(EncodingOf(*parcel.group), run)});
  }
}

void Hub::Flatten(uint64_t parcel, Revision first, Revision last, size_t pinned_bytes,
                  Message& message) {
  if (message.fragment) return;
  const size_t bytes = message.events_bytes();
  const bool joins = message.events.size() > 1 && bytes <= options_.response_bytes;
  const bool unpins = bytes >= options_.shared_bytes_min && bytes < pinned_bytes / kPinnedFactor;
  if (!joins && !unpins) return;
  if (body_.parcel != parcel || body_.first != first || body_.last != last) {
    auto body = std::make_shared<std::string>();
    body->reserve(bytes);
    for (const SharedBytes& part : message.events) body->append(part.bytes);
    body_ = {parcel, first, last, std::move(body)};
  }
  message.events.clear();
  message.events.push_back({body_.bytes, *body_.bytes});
}

void Hub::Split(Watcher& watcher, const Parcel& parcel, const Portion& portion, Message& message) {
  if (!watcher.fragment || portion.size_bytes < options_.fragment_bytes) return;
  const Encoding encoding = EncodingOf(*parcel.group);
  message.events.clear();
  message.fragment = true;
  std::deque<Message> parts;
  parts.push_back(message);
  size_t bytes = 0;
  for (const Run& run : portion.runs) {
    // Where the part at hand began within the run.
    uint32_t first = run.first;
    for (uint32_t i = run.first; i < run.end; ++i) {
      const size_t event_bytes = parcel.batch->Bytes(encoding, {i, i + 1}).size();
      if (bytes > 0 && bytes + event_bytes >= options_.fragment_bytes) {
        if (first < i) {
          parts.back().events.push_back({parcel.batch, parcel.batch->Bytes(encoding, {first, i})});
        }
        parts.push_back(message);
        first = i;
        bytes = 0;
      }
      bytes += event_bytes;
    }
    parts.back().events.push_back({parcel.batch, parcel.batch->Bytes(encoding, {first, run.end})});
  }
  parts.back().fragment = false;
  message = std::move(parts.front());
  parts.pop_front();
  watcher.stream->fragments = std::move(parts);
}

// --- Progress ---

std::optional<Message> Hub::TakeTick(Stream& stream) {
  auto next = stream.watchers.lower_bound(*stream.tick_place);
  for (size_t looked_at = 0; next != stream.watchers.end(); ++next) {
    if (looked_at++ == kTickStep) {
      stream.tick_place = next->first;
      List(stream);
      return std::nullopt;
    }
    Watcher& watcher = *next->second;
    const bool was_sent = watcher.sent_since_tick;
    if (watcher.progress_notify) watcher.sent_since_tick = false;
    if (!watcher.progress_notify || was_sent) continue;
    if (watcher.state != Watcher::State::kSynced || watcher.is_dirty) continue;
    if (watcher.began_in_future && watcher.next > cursor_) continue;
    const WatchId id = next->first;
    stream.tick_place = ++next == stream.watchers.end() ? std::nullopt : std::optional(next->first);
    return Message{.id = id, .revision = cursor_};
  }
  stream.tick_place.reset();
  return std::nullopt;
}

bool Hub::IsWithheld(const Stream& stream, Revision revision) const {
  return !stream.future_starts.empty() && stream.future_starts.rbegin()->first > revision;
}

bool Hub::IsDelivered(const Stream& stream, Revision revision) const {
  for (const Watcher* watcher = stream.dirty.front(); watcher != nullptr;
       watcher = WatcherList<&Watcher::by_stream>::Next(watcher)) {
    // Of the oldest parcel a part may have been taken.
    if (watcher->history != nullptr) return false;
    if (std::max(watcher->next, watcher->pending->first) <= revision) return false;
  }
  return true;
}

std::optional<Message> Hub::TakeProgress(Stream& stream) {
  while (!stream.progress_marks.empty()) {
    ProgressMark& mark = stream.progress_marks.front();
    if (stream.watchers.empty() || stream.lagging_count > 0 || IsWithheld(stream, mark.revision)) {
      stream.progress_marks.pop_front();
      continue;
    }
    if (cursor_ < mark.revision) {
      if (stream.dirty.empty()) marked_.push_back(stream.id);
      return std::nullopt;
    }
    if (stream.dirty_count > 0 && mark.countdown > 0) return std::nullopt;
    if (!IsDelivered(stream, mark.revision)) {
      mark.countdown = stream.dirty_count;
      return std::nullopt;
    }
    const Message progress{.id = kNoWatch,
                           .revision = stream.dirty_count == 0 ? cursor_ : mark.revision};
    stream.progress_marks.pop_front();
    return progress;
  }
  return std::nullopt;
}

}  // namespace cairn::watch
