// Changes on their way from the apply thread to the watch thread.
//
// The apply thread never waits here: it copies a batch's changes while somebody watches, and does
// nothing but note the revision while nobody does. What the watch thread does not fetch in time is
// bounded: beyond the bound the changes are dropped and the gap is told, and watchers read it from
// history. Thread-safe.
#ifndef CAIRN_SERVER_WATCH_FEED_H_
#define CAIRN_SERVER_WATCH_FEED_H_

#include <absl/base/thread_annotations.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"
#include "mvcc/event_reader.h"
#include "server/change_sink.h"

namespace cairn::server {

// Changes and the bytes they refer to.
class ChangeList {
 public:
  void Add(const mvcc::Change& change);
  void Clear();
  bool empty() const { return items_.empty(); }
  size_t size_bytes() const { return bytes_.size() + items_.size() * sizeof(Item); }
  // The views are valid until the list changes.
  std::vector<mvcc::Event> Events() const;
  // The encoded KeyValue that the change of this revision replaced, if it came along; a view.
  std::optional<std::string_view> Previous(RowRevision revision) const;

 private:
  struct Item {
    mvcc::ChangeKind kind;
    RowRevision revision;
    RowRevision previous;
    size_t key_offset;
    size_t key_bytes;
    size_t key_value_end;
    size_t end;  // Of what it replaced, which is empty if that did not come along.
  };

  std::string bytes_;
  std::vector<Item> items_;
};

class WatchFeed final : public ChangeSink {
 public:
  // About half of what the hub keeps: the feed is short unless the watch thread has no time at all.
  static constexpr size_t kBytesMax = size_t{32} << 20;

  // `through`: the revision of the state before the first call of OnCommitted.
  explicit WatchFeed(Revision through) : through_(through) {}

  bool WantsPrevious() const override;
  void OnCommitted(std::span<const mvcc::Change> changes, Revision revision) override;
  void OnRaised(Revision revision) override { OnCommitted({}, revision); }
  void OnReplaced(Revision revision) override;

  // Collects from here on, and calls `wake` (on the apply thread; must not block) when there is
  // something to fetch after there was nothing. Returns the revision that the first batch follows.
  Revision Enable(std::function<void()> wake);
  // Also collects what changes replaced, from some change on.
  void EnablePrevious();
  // Collects no more; what was collected is dropped.
  void Disable();

  struct Batch {
    ChangeList changes;
    Revision through;
    // Some changes through `through` were dropped; `changes` is empty.
    bool has_gap = false;
  };
  // Fetches what was collected since the last call into `batch`, whose memory is used again. False
  // when there is nothing.
  bool Fetch(Batch& batch);

 private:
  mutable base::Mutex mutex_;
  std::function<void()> wake_ ABSL_GUARDED_BY(mutex_);
  bool is_enabled_ ABSL_GUARDED_BY(mutex_) = false;
  bool wants_previous_ ABSL_GUARDED_BY(mutex_) = false;
  Revision through_ ABSL_GUARDED_BY(mutex_);
  Revision fetched_ ABSL_GUARDED_BY(mutex_);
  bool has_gap_ ABSL_GUARDED_BY(mutex_) = false;
  ChangeList changes_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_WATCH_FEED_H_
