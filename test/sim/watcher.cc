#include "test/sim/watcher.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/rpc.pb.h"

namespace cairn::sim {
namespace {

bool IsSame(const mvccpb::Event& event, const History::Change& change) {
  const bool is_deletion = event.type() == mvccpb::Event::DELETE;
  if (is_deletion != change.is_deletion() || event.kv().key() != change.key ||
      event.kv().mod_revision() != change.revision.main.value()) {
    return false;
  }
  return is_deletion || event.kv().SerializeAsString() == change.key_value;
}

}  // namespace

watch::CreateRequest Watcher::Request() const {
  return {.id = watch::WatchId(0),
          .key = key,
          .range_end = range_end,
          .start = next,
          .skips_puts = skips_puts,
          .skips_deletions = skips_deletions,
          .wants_previous = wants_previous,
          .progress_notify = progress_notify};
}

bool Watcher::Wants(const History::Change& change) const {
  if (change.is_deletion() ? skips_deletions : skips_puts) return false;
  if (range_end.empty()) return change.key == key;
  return change.key >= key && change.key < range_end;
}

const History::Change* Watcher::NextWanted(const History& history, Revision through) const {
  for (Revision at = std::max(next, Revision(2)); at <= std::min(through, history.last()); ++at) {
    for (const History::Change& change : history.At(at)) {
      if (Wants(change)) return &change;
    }
  }
  return nullptr;
}

bool Watcher::HasAll(const History& history, Revision revision) const {
  return is_created && NextWanted(history, revision) == nullptr;
}

std::string Watcher::Take(const watch::Message& message, const History& history, Counts& counts) {
  if (message.created && !message.canceled) {
    is_created = true;
    if (next == Revision(0)) next = message.revision + 1;
    return {};
  }
  if (message.canceled) {
    is_created = false;
    incarnation = 0;
    if (message.compact_revision == Revision(0)) return {};
    counts.Add(What::kWatchCompacted);
    if (next >= message.compact_revision) {
      return fmt::format("a watch that wants {} is cancelled as compacted at {}", next,
                         message.compact_revision);
    }
    next = message.compact_revision;
    return {};
  }
  if (!message.events.empty()) return TakeEvents(message, history, counts);
  counts.Add(What::kWatchProgress);
  if (const History::Change* missing = NextWanted(history, message.revision)) {
    return fmt::format("progress through {}, but the change of {} at {} was not delivered",
                       message.revision, missing->key, missing->revision.main);
  }
  next = std::max(next, message.revision + 1);
  return {};
}

std::string Watcher::TakeEvents(const watch::Message& message, const History& history,
                                Counts& counts) {
  std::string bytes;
  for (const watch::SharedBytes& part : message.events) bytes += part.bytes;
  etcdserverpb::WatchResponse response;
  if (!response.ParseFromString(bytes) || response.events().empty()) return "events do not parse";
  const Revision through(response.events().rbegin()->kv().mod_revision());
  if (through > history.last()) return fmt::format("an event at {}, which nobody made", through);
  int taken = 0;
  for (Revision at = std::max(next, Revision(2)); at <= through; ++at) {
    for (const History::Change& change : history.At(at)) {
      if (!Wants(change)) continue;
      if (taken == response.events_size() || !IsSame(response.events(taken), change)) {
        return fmt::format("the change of {} at {} was not delivered in its place", change.key, at);
      }
      const mvccpb::Event& event = response.events(taken++);
      if (!event.has_prev_kv()) continue;
      const History::Change* const previous = history.Find(change.key, at - 1);
      if (previous == nullptr || event.prev_kv().SerializeAsString() != previous->key_value) {
        return fmt::format("the change of {} at {} names another previous value", change.key, at);
      }
    }
  }
  if (taken != response.events_size()) {
    return fmt::format("{} events through {}, expected {} from {} on", response.events_size(),
                       through, taken, next);
  }
  counts.Add(What::kWatchEvent, static_cast<uint64_t>(taken));
  next = through + 1;
  return {};
}

}  // namespace cairn::sim
