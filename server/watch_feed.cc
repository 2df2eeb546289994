#include "server/watch_feed.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "mvcc/key_value.h"

namespace cairn::server {

void ChangeList::Add(const mvcc::Change& change) {
  const size_t key_offset = bytes_.size() + mvcc::EncodedKeyOffset(change.key.size());
  bytes_.append(change.key_value);
  CAIRN_CHECK(std::string_view(bytes_).substr(key_offset, change.key.size()) == change.key);
  const size_t key_value_end = bytes_.size();
  bytes_.append(change.previous_key_value);
  items_.push_back({.kind = change.kind,
                    .revision = change.revision,
                    .previous = change.previous,
                    .key_offset = key_offset,
                    .key_bytes = change.key.size(),
                    .key_value_end = key_value_end,
                    .end = bytes_.size()});
}

void ChangeList::Clear() {
  bytes_.clear();
  items_.clear();
}

std::vector<mvcc::Event> ChangeList::Events() const {
  std::vector<mvcc::Event> events;
  events.reserve(items_.size());
  const std::string_view bytes(bytes_);
  size_t begin = 0;
  for (const Item& item : items_) {
    events.push_back({.kind = item.kind,
                      .revision = item.revision,
                      .previous = item.previous,
                      .key = bytes.substr(item.key_offset, item.key_bytes),
                      .key_value = bytes.substr(begin, item.key_value_end - begin)});
    begin = item.end;
  }
  return events;
}

std::optional<std::string_view> ChangeList::Previous(RowRevision revision) const {
  const auto found = std::partition_point(
      items_.begin(), items_.end(), [&](const Item& item) { return item.revision < revision; });
  if (found == items_.end() || found->revision != revision || found->key_value_end == found->end) {
    return std::nullopt;
  }
  return std::string_view(bytes_).substr(found->key_value_end, found->end - found->key_value_end);
}

bool WatchFeed::WantsPrevious() const {
  base::MutexLock lock(mutex_);
  return wants_previous_;
}

void WatchFeed::EnablePrevious() {
  base::MutexLock lock(mutex_);
  wants_previous_ = true;
}

void WatchFeed::OnCommitted(std::span<const mvcc::Change> changes, Revision revision) {
  base::MutexLock lock(mutex_);
  const bool was_empty = through_ == fetched_;
  through_ = revision;
  if (!is_enabled_) return;
  if (!has_gap_) {
    for (const mvcc::Change& change : changes) {
      changes_.Add(change);
      if (changes_.size_bytes() <= kBytesMax) continue;
      changes_ = ChangeList();
      has_gap_ = true;
      break;
    }
  }
  if (was_empty) wake_();
}

void WatchFeed::OnReplaced(Revision revision) {
  base::MutexLock lock(mutex_);
  if (revision == through_) return;
  const bool was_empty = through_ == fetched_;
  through_ = revision;
  if (!is_enabled_) return;
  changes_.Clear();
  has_gap_ = true;
  if (was_empty) wake_();
}

Revision WatchFeed::Enable(std::function<void()> wake) {
  base::MutexLock lock(mutex_);
  wake_ = std::move(wake);
  is_enabled_ = true;
  fetched_ = through_;
  return through_;
}

void WatchFeed::Disable() {
  base::MutexLock lock(mutex_);
  is_enabled_ = false;
  wants_previous_ = false;
  has_gap_ = false;
  changes_ = ChangeList();
}

bool WatchFeed::Fetch(Batch& batch) {
  batch.changes.Clear();
  base::MutexLock lock(mutex_);
  if (!is_enabled_ || fetched_ == through_) return false;
  std::swap(batch.changes, changes_);
  batch.through = fetched_ = through_;
  batch.has_gap = std::exchange(has_gap_, false);
  return true;
}

}  // namespace cairn::server
