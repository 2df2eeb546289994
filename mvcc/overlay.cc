#include "mvcc/overlay.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace cairn::mvcc {

size_t Overlay::Touch(std::string_view key) {
  if (const auto found = index_.find(key); found != index_.end()) return found->second;
  const size_t index = entries_.size();
  const std::string_view own_key = arena_.Copy(key);
  entries_.push_back({.key = own_key, .row = {}});
  index_.emplace(own_key, index);
  return index;
}

const Overlay::KeyEntry* Overlay::Find(std::string_view key) const {
  const auto found = index_.find(key);
  if (found == index_.end()) return nullptr;
  const KeyEntry& entry = entries_[found->second];
  return entry.knowledge == Knowledge::kNone ? nullptr : &entry;
}

void Overlay::SetClean(size_t index, std::string_view row) {
  KeyEntry& entry = entries_[index];
  CAIRN_CHECK(entry.knowledge == Knowledge::kNone);
  entry.row = row;
  entry.knowledge = Knowledge::kClean;
}

void Overlay::SetDirty(size_t index, std::string_view row) {
  KeyEntry& entry = entries_[index];
  undo_.push_back({index, entry.row, entry.knowledge});
  entry.row = row;
  entry.knowledge = Knowledge::kDirty;
}

void Overlay::Order() {
  const size_t sorted = order_.size();
  if (sorted == entries_.size()) return;
  order_.resize(entries_.size());
  const auto middle = order_.begin() + static_cast<ptrdiff_t>(sorted);
  std::iota(middle, order_.end(), sorted);
  const auto by_key = [this](size_t a, size_t b) { return entries_[a].key < entries_[b].key; };
  std::sort(middle, order_.end(), by_key);
  std::inplace_merge(order_.begin(), middle, order_.end(), by_key);
}

size_t Overlay::LowerBound(std::string_view key) const {
  CAIRN_CHECK_EQ(order_.size(), entries_.size());
  const auto at = std::lower_bound(
      order_.begin(), order_.end(), key,
      [this](size_t index, std::string_view bound) { return entries_[index].key < bound; });
  return static_cast<size_t>(at - order_.begin());
}

void Overlay::AddRevision(RowRevision revision, std::string_view row) {
  CAIRN_CHECK(revisions_.empty() || revisions_.back().revision < revision);
  revisions_.push_back({revision, row});
}

const Overlay::RevisionEntry* Overlay::FindRevision(RowRevision revision) const {
  if (revisions_.empty() || revision < revisions_.front().revision) return nullptr;
  const auto at = std::lower_bound(
      revisions_.begin(), revisions_.end(), revision,
      [](const RevisionEntry& entry, RowRevision bound) { return entry.revision < bound; });
  return at != revisions_.end() && at->revision == revision ? &*at : nullptr;
}

void Overlay::BeginTxn() {
  undo_.clear();
  revisions_before_txn_ = revisions_.size();
}

void Overlay::RollBackTxn() {
  for (auto undo = undo_.rbegin(); undo != undo_.rend(); ++undo) {
    entries_[undo->index].row = undo->row;
    entries_[undo->index].knowledge = undo->knowledge;
  }
  undo_.clear();
  revisions_.resize(revisions_before_txn_);
}

void Overlay::Reset() {
  index_.clear();
  entries_.clear();
  order_.clear();
  revisions_.clear();
  meta_.clear();
  undo_.clear();
  revisions_before_txn_ = 0;
  arena_.Reset();
}

}  // namespace cairn::mvcc
