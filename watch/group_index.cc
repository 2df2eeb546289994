#include "watch/group_index.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "base/check.h"

namespace cairn::watch {
namespace {

std::unique_ptr<Group> MakeGroup(const WatchedRange& range, Group::Variant variant) {
  auto group = std::make_unique<Group>();
  const std::string_view first = range.interval.first;
  const std::string_view limit = range.interval.limit.value_or(std::string_view());
  group->bytes = std::make_unique_for_overwrite<char[]>(first.size() + limit.size());
  std::copy(first.begin(), first.end(), group->bytes.get());
  std::copy(limit.begin(), limit.end(), group->bytes.get() + first.size());
  group->first_bytes = static_cast<uint32_t>(first.size());
  group->limit_bytes = static_cast<uint32_t>(limit.size());
  group->is_single_key = range.is_single_key;
  group->has_limit = range.interval.limit.has_value();
  group->variant = variant;
  return group;
}

}  // namespace

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
  Group* const group = MakeGroup(range, variant).release();
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
  const std::unique_ptr<Group> owned(group);
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
