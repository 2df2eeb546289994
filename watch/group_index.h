// Which groups want to hear of a key: single keys by hash, ranges by the interval index.
//
// Owns the groups. Pure: one thread.
#ifndef CAIRN_WATCH_GROUP_INDEX_H_
#define CAIRN_WATCH_GROUP_INDEX_H_

#include <absl/container/flat_hash_set.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "base/text_map.h"
#include "watch/interval_index.h"
#include "watch/watcher.h"

namespace cairn::watch {

// What a watcher watches: one key, or a range that is not empty.
struct WatchedRange {
  bool is_single_key = false;
  Interval interval;  // For a single key `first` alone.
};

class GroupIndex {
 public:
  // `seed`: see IntervalIndex.
  explicit GroupIndex(uint64_t seed) : ranges_(seed) {}
  ~GroupIndex();
  GroupIndex(const GroupIndex&) = delete;
  GroupIndex& operator=(const GroupIndex&) = delete;

  // The group of this range and variant, made if there is none.
  Group* FindOrMake(const WatchedRange& range, Group::Variant variant);
  // Deletes a group, which has no members.
  void Erase(Group* group);

  // Calls `visit(Group&)` for every group whose range holds `key`.
  template <typename Visit>
  void Match(std::string_view key, Visit&& visit) {
    if (const auto found = single_keys_.find(key); found != single_keys_.end()) {
      for (Group* group = *found; group != nullptr; group = group->next_variant) visit(*group);
    }
    if (ranges_.size() == 0) return;
    ranges_.Stab(key, [&](Group* first) {
      for (Group* group = first; group != nullptr; group = group->next_variant) visit(*group);
    });
  }

  size_t size() const { return size_; }

 private:
  struct KeyHash {
    using is_transparent = void;
    size_t operator()(std::string_view key) const { return base::TextHash()(key); }
    size_t operator()(const Group* group) const { return (*this)(group->first()); }
  };
  struct KeyEqual {
    using is_transparent = void;
    static std::string_view Key(std::string_view key) { return key; }
    static std::string_view Key(const Group* group) { return group->first(); }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return Key(a) == Key(b);
    }
  };

  // Chains by their first group.
  absl::flat_hash_set<Group*, KeyHash, KeyEqual> single_keys_;
  IntervalIndex<Group*> ranges_;
  size_t size_ = 0;
};

}  // namespace cairn::watch

#endif  // CAIRN_WATCH_GROUP_INDEX_H_
