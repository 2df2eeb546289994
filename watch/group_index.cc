#include "watch/group_index.h"

#include <algorithm>
#include <memory>
#include <new>

#include "base/check.h"

namespace cairn::watch {

Group* Group::Make(std::string_view first, std::string_view limit) {
  static_assert(alignof(Group) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
  void* const place = ::operator new(sizeof(Group) + first.size() + limit.size());
  auto* const group = new (place) Group();
  group->first_bytes = static_cast<uint32_t>(first.size());
  group->limit_bytes = static_cast<uint32_t>(limit.size());
  char* const bytes = reinterpret_cast<char*>(group + 1);
  std::copy(limit.begin(), limit.end(), std::copy(first.begin(), first.end(), bytes));
  return group;
}

void Group::Delete(Group* group) {
  group->~Group();
  ::operator delete(group);
}

GroupIndex::~GroupIndex() { CAIRN_CHECK_EQ(size_, size_t{0}); }

Group* GroupIndex::FindOrMake(const WatchedRange& range, Group::Variant variant) {
  Group* chain = nullptr;
  if (range.is_single_key) {
    const auto found = single_keys_.find(range.interval.first);
    if (found != single_keys_.end()) chain = *found;
  } else if (Group** const found = ranges_.Find(range.interval); found != nullptr) {
    chain = *found;
  }
  for (Group* group = chain; group != nullptr; group = group->next_variant) {
    if (group->variant == variant) return group;
  }
  const std::optional<std::string_view>& limit = range.interval.limit;
  Group* const group = Group::Make(range.interval.first, limit.value_or(std::string_view()));
  group->is_single_key = range.is_single_key;
  group->has_limit = limit.has_value();
  group->variant = variant;
  ++size_;
  if (chain != nullptr) {
    // Behind the first, whose bytes the index refers to.
    group->next_variant = chain->next_variant;
    chain->next_variant = group;
  } else if (group->is_single_key) {
    single_keys_.insert(group);
  } else {
    ranges_.Insert(group->interval(), group);
  }
  return group;
}

void GroupIndex::Erase(Group* group) {
  CAIRN_CHECK(group->members.empty() && group->first_parcel == nullptr);
  const std::unique_ptr<Group, decltype(&Group::Delete)> owned(group, &Group::Delete);
  --size_;
  Group* first = nullptr;
  if (group->is_single_key) {
    first = *single_keys_.find(group->first());
  } else {
    first = *ranges_.Find(group->interval());
  }
  if (first != group) {
    while (first->next_variant != group) first = first->next_variant;
    first->next_variant = group->next_variant;
    return;
  }
  // The index refers to the bytes of the first: the next one takes its place.
  Group* const next = group->next_variant;
  if (group->is_single_key) {
    single_keys_.erase(group);
    if (next != nullptr) single_keys_.insert(next);
  } else {
    ranges_.Erase(group->interval());
    if (next != nullptr) ranges_.Insert(next->interval(), next);
  }
}

}  // namespace cairn::watch
