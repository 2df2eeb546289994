// What a hub is made of: streams, watchers, groups of equal watchers, and parcels of events.
//
// Pure: plain records, tied together by the hub alone; who points to whom is said at each field.
// One thread.
#ifndef CAIRN_WATCH_WATCHER_H_
#define CAIRN_WATCH_WATCHER_H_

#include <absl/container/btree_map.h>
#include <absl/container/inlined_vector.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/ids.h"
#include "watch/event_batch.h"
#include "watch/interval_index.h"
#include "watch/message.h"

namespace cairn::watch {

struct Cohort;
struct Group;
struct Stream;
struct Watcher;

// A doubly linked list through a member of its elements; an element is in one list per link.
struct Link {
  Watcher* previous = nullptr;
  Watcher* next = nullptr;
};

template <Link Watcher::*kLink>
class WatcherList {
 public:
  bool empty() const { return first_ == nullptr; }
  Watcher* front() const { return first_; }
  static Watcher* Next(const Watcher* watcher);
  void PushBack(Watcher* watcher);
  void Remove(Watcher* watcher);
  // Takes all of `other`, which is empty afterwards.
  void Append(WatcherList& other);

 private:
  Watcher* first_ = nullptr;
  Watcher* last_ = nullptr;
};

struct Retained;

// The events of one batch that one group wants: what its watchers are given, in one response or in
// several.
struct Parcel {
  std::shared_ptr<const EventBatch> batch;
  Group* group = nullptr;
  // Never used twice.
  uint64_t number = 0;
  // The batch's record, and the next parcel of the group (none for history).
  Retained* retained = nullptr;
  Parcel* next_in_group = nullptr;
  Parcel* previous_in_batch = nullptr;
  Parcel* next_in_batch = nullptr;
  absl::InlinedVector<Run, 1> runs;
  size_t size_bytes = 0;
  Revision first;
  Revision last;
  // History: the revision through which its taker has everything. 0: events of the present.
  Revision through;
  // Watchers that take it next. Those of the present wait for every later one of the group too,
  // which costs nothing: it lives while it, or one before it in the group, has someone waiting.
  uint32_t waiting = 0;

  bool is_history() const { return through != Revision(0); }
};

// A batch that some watcher has yet to take events of.
struct Retained {
  std::list<Retained>::iterator self;
  Parcel* first = nullptr;
  size_t size_bytes = 0;
};

// Watchers that want the same: equal ranges, filters and encoding.
struct Group {
  // What sets apart groups of one range.
  struct Variant {
    bool skips_puts = false;
    bool skips_deletions = false;
    bool wants_previous = false;

    friend bool operator==(const Variant&, const Variant&) = default;
  };

  // Its first key and limit lie behind it in the same allocation, one after the other: most groups
  // have one watcher, and a member may hold a million.
  static Group* Make(std::string_view first, std::string_view limit);
  static void Delete(Group* group);

  uint32_t first_bytes = 0;
  uint32_t limit_bytes = 0;
  bool is_single_key = false;
  bool has_limit = false;
  bool is_in_step = false;
  Variant variant;
  // The history step that looked at it last, which says `is_in_step`: whether it has members there.
  uint32_t step = 0;
  // Members that get parcels of the present, but for those that a step joins with their cohorts;
  // and members that are in cohorts.
  uint32_t joined = 0;
  uint32_t in_cohorts = 0;
  // Place in the hub's list of groups that the batch at hand touches, plus one.
  uint32_t touched = 0;
  // Other groups of the same range, in a chain that the index begins.
  Group* next_variant = nullptr;
  // Parcels of the present, oldest first.
  Parcel* first_parcel = nullptr;
  Parcel* last_parcel = nullptr;
  absl::InlinedVector<Watcher*, 1> members;

  std::string_view first() const { return {bytes(), first_bytes}; }
  std::string_view limit() const { return {bytes() + first_bytes, limit_bytes}; }
  Interval interval() const {
    return {first(), has_limit ? std::optional<std::string_view>(limit()) : std::nullopt};
  }
  size_t range_bytes() const { return size_t{first_bytes} + limit_bytes; }
  bool Contains(std::string_view key) const {
    return is_single_key ? key == first() : interval().Contains(key);
  }

 private:
  Group() = default;
  ~Group() = default;

  const char* bytes() const { return reinterpret_cast<const char*>(this + 1); }
};

// Kept small: a member may hold a million of them.
struct Watcher {
  // Where the watcher stands. Synced ones hear of the present; lagging ones read history first.
  enum class State : uint8_t {
    kFuture,   // Waits for its start: in the hub's `future`.
    kSynced,   // Joined; in its stream's `dirty` if it has anything to take.
    kLagging,  // In its stream's `lagging` and a cohort, or, with history to take, in `dirty`.
  };

  WatchId id;
  Stream* stream = nullptr;
  Group* group = nullptr;
  // Whom it lags with, if it does without history to take.
  Cohort* cohort = nullptr;
  // Everything before it was handed out, or was not wanted. What lies between it and the present
  // may hold nothing for this watcher. Of no meaning in a cohort, which has its own.
  Revision next;
  // The oldest parcel of the present to take, if joined. Of it, and of `history`, what lies before
  // `next` was taken.
  Parcel* pending = nullptr;
  // To take before all else.
  Parcel* history = nullptr;
  Link by_stream;    // Stream::dirty or Stream::lagging.
  Link by_revision;  // Hub's future, or the cohort, or those who heard of the present in a step.
  uint32_t member_index = 0;
  State state = State::kSynced;
  // Takes part in the history step that is under way, apart from its cohort: of those who heard of
  // the present meanwhile.
  bool is_in_step : 1 = false;
  // Gets parcels of the present: every synced one, and a lagging one that is about to meet it.
  bool is_joined : 1 = false;
  bool is_dirty : 1 = false;
  bool progress_notify : 1 = false;
  bool fragment : 1 = false;
  // Was given events since the last progress tick.
  bool sent_since_tick : 1 = false;
  // Was created with a start beyond the present, and has not been given an event since.
  bool began_in_future : 1 = false;
};

// Lagging watchers that have everything before the same revision, and move on together: a step of
// history looks at none but those that it found something for.
struct Cohort {
  Revision next;
  WatcherList<&Watcher::by_revision> members;
  size_t size = 0;
  // Members that want previous values.
  size_t wanting_previous = 0;
  // Takes part in the history step that is under way. Nobody joins it then.
  bool is_in_step = false;
};

// A progress request that waits until everything before it is handed out.
struct ProgressMark {
  Revision revision;
  // Watchers to serve before it is worth looking again.
  size_t countdown = 0;
};

struct Stream {
  StreamId id;
  // By id, so that whatever goes through all of them does so in one order. Ids mostly rise, which
  // fills the nodes: no larger than a hash table.
  absl::btree_map<WatchId, std::unique_ptr<Watcher>> watchers;
  WatchId next_id;
  // What the ranges of its watchers hold, each counted for itself.
  size_t range_bytes = 0;
  // Said before any event: creations, cancellations, progress.
  std::deque<Message> control;
  // The rest of a response in fragments.
  std::deque<Message> fragments;
  std::deque<ProgressMark> progress_marks;
  WatcherList<&Watcher::by_stream> dirty;
  size_t dirty_count = 0;
  // Those that need a history step.
  WatcherList<&Watcher::by_stream> lagging;
  // Watchers in that state, with and without history to take.
  size_t lagging_count = 0;
  // Where watchers begin that began in the future and have not come there: how many by revision.
  absl::btree_map<Revision, uint32_t> future_starts;
  // Those that asked for progress, and, while there are any, when it is due.
  size_t progress_watchers = 0;
  int64_t next_progress_ms = 0;
  // While a tick's notifications are taken: the first watcher that it has not looked at.
  std::optional<WatchId> tick_place;
  // The client does not take what it was sent.
  bool is_blocked = false;
  // In the hub's list of streams to serve, and in that of streams with lagging watchers.
  bool is_listed = false;
  bool is_in_rotation = false;
};

template <Link Watcher::*kLink>
Watcher* WatcherList<kLink>::Next(const Watcher* watcher) {
  return (watcher->*kLink).next;
}

template <Link Watcher::*kLink>
void WatcherList<kLink>::PushBack(Watcher* watcher) {
  Link& link = watcher->*kLink;
  link = {last_, nullptr};
  (last_ == nullptr ? first_ : (last_->*kLink).next) = watcher;
  last_ = watcher;
}

template <Link Watcher::*kLink>
void WatcherList<kLink>::Remove(Watcher* watcher) {
  Link& link = watcher->*kLink;
  (link.previous == nullptr ? first_ : (link.previous->*kLink).next) = link.next;
  (link.next == nullptr ? last_ : (link.next->*kLink).previous) = link.previous;
  link = {};
}

template <Link Watcher::*kLink>
void WatcherList<kLink>::Append(WatcherList& other) {
  if (other.empty()) return;
  if (empty()) {
    first_ = other.first_;
  } else {
    (last_->*kLink).next = other.first_;
    (other.first_->*kLink).previous = last_;
  }
  last_ = other.last_;
  other = {};
}

}  // namespace cairn::watch

#endif  // CAIRN_WATCH_WATCHER_H_
