#include <algorithm>
#include <utility>

#include "watch/hub.h"

namespace cairn::watch {
namespace {

WatcherView ViewOf(const Watcher& watcher, Revision cursor) {
  const Group& group = *watcher.group;
  WatcherView view = {.id = watcher.id,
                      .key = std::string(group.first()),
                      .next = watcher.next,
                      .skips_puts = group.variant.skips_puts,
                      .skips_deletions = group.variant.skips_deletions,
                      .wants_previous = group.variant.wants_previous,
                      .progress_notify = watcher.progress_notify,
                      .fragment = watcher.fragment};
  if (!group.is_single_key) {
    view.range_end = group.has_limit ? std::string(group.limit()) : std::string(1, '\0');
  }
  switch (watcher.state) {
    case Watcher::State::kFuture:
      view.state = WatcherView::State::kFuture;
      break;
    case Watcher::State::kSynced:
      // Between its last event and the oldest that it has to take nothing was meant for it.
      if (watcher.history == nullptr) {
        view.next = watcher.pending == nullptr ? cursor + 1
                                               : std::max(watcher.next, watcher.pending->first);
      }
      break;
    case Watcher::State::kLagging:
      view.state = WatcherView::State::kLagging;
      if (watcher.cohort != nullptr) view.next = watcher.cohort->next;
      break;
  }
  return view;
}

}  // namespace

HubPage Hub::Look(const HubPlace& after, size_t items_max, size_t range_bytes_max) const {
  HubPage page;
  HubPlace last = after;
  size_t items = 0;
  size_t range_bytes = 0;
  const auto is_full = [&] {
    return items > 0 && (items >= items_max || range_bytes >= range_bytes_max);
  };
  for (auto at = streams_.lower_bound(after.stream); at != streams_.end(); ++at) {
    const Stream& stream = *at->second;
    const bool is_shown = stream.id == after.stream;
    auto next = is_shown && after.watcher.has_value() ? stream.watchers.upper_bound(*after.watcher)
                                                      : stream.watchers.begin();
    if (is_shown && next == stream.watchers.end()) continue;
    if (is_full()) {
      page.next = last;
      return page;
    }
    page.streams.push_back({.id = stream.id,
                            .watchers = stream.watchers.size(),
                            .lagging = stream.lagging_count,
                            .waiting = stream.dirty_count,
                            .is_blocked = stream.is_blocked});
    // One that was shown before is there for its watchers' sake.
    if (!is_shown) {
      ++items;
      last = {.stream = stream.id};
    }
    for (; next != stream.watchers.end(); ++next) {
      if (is_full()) {
        page.next = last;
        return page;
      }
      const Watcher& watcher = *next->second;
      page.streams.back().shown.push_back(ViewOf(watcher, cursor_));
      range_bytes += watcher.group->range_bytes();
      ++items;
      last = {.stream = stream.id, .watcher = watcher.id};
    }
  }
  return page;
}

}  // namespace cairn::watch
