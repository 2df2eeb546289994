#include "test/sim/history.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace cairn::sim {

std::string History::Saw(std::span<const mvcc::Change> changes) {
  for (size_t first = 0; first < changes.size();) {
    const Revision revision = changes[first].revision.main;
    std::vector<Change> made;
    for (; first < changes.size() && changes[first].revision.main == revision; ++first) {
      const mvcc::Change& change = changes[first];
      // Where the row before it lies is a member's own affair: removal has its own pace.
      made.push_back(
          {change.kind, change.revision, std::string(change.key), std::string(change.key_value)});
    }
    if (revision > last() + 1) {
      return fmt::format("revision {} is made, but the last one anywhere is {}", revision, last());
    }
    if (revision == last() + 1) {
      revisions_.push_back(std::move(made));
    } else if (!std::ranges::equal(made, At(revision))) {
      return fmt::format("the changes of revision {} differ from another member's", revision);
    }
  }
  return {};
}

const History::Change* History::Find(std::string_view key, Revision revision) const {
  for (Revision at = std::min(revision, last()); at >= Revision(2); at = at - 1) {
    const std::span<const Change> changes = At(at);
    for (auto change = changes.rbegin(); change != changes.rend(); ++change) {
      if (change->key == key) return &*change;
    }
  }
  return nullptr;
}

}  // namespace cairn::sim
