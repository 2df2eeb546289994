#include "mvcc/overlay.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace cairn::mvcc {
namespace {

// Elements whose memory stays: more than a usual batch has.
constexpr size_t kElementsKept = 16'384;
// What a key takes beside its bytes: an entry, its places in the hash and in the order, a row's
// revision.
constexpr size_t kEntryHeldBytes = 160;
// What a row of `meta` takes in a tree, with some bytes of its own.
constexpr size_t kMetaHeldBytes = 256;

template <typename T>
void ClearVector(std::vector<T>& vector) {
  vector.clear();
  if (vector.capacity() > kElementsKept) vector.shrink_to_fit();
}

}  // namespace

size_t Overlay::Touch(std::string_view key) {
  if (const auto found = index_.find(key); found != index_.end()) return found->second;
  return TouchOwned(arena_.Copy(key));
}

size_t Overlay::TouchOwned(std::string_view key) {
  const auto [found, is_new] = index_.try_emplace(key, entries_.size());
  if (is_new) entries_.push_back({.key = key, .row = {}});
  return found->second;
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
  if (index < entries_before_txn_) undo_.push_back({index, entry.row, entry.knowledge});
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
  entries_before_txn_ = entries_.size();
  revisions_before_txn_ = revisions_.size();
}

void Overlay::RollBackTxn() {
  for (auto undo = undo_.rbegin(); undo != undo_.rend(); ++undo) {
    entries_[undo->index].row = undo->row;
    entries_[undo->index].knowledge = undo->knowledge;
  }
  undo_.clear();
  for (size_t index = entries_before_txn_; index < entries_.size(); ++index) {
    entries_[index].row = {};
    entries_[index].knowledge = Knowledge::kNone;
  }
  revisions_.resize(revisions_before_txn_);
}

size_t Overlay::held_bytes() const {
  return arena_.used_bytes() + entries_.size() * kEntryHeldBytes + meta_.size() * kMetaHeldBytes;
}

void Overlay::DropRows() {
  index_.clear();
  ClearVector(entries_);
  ClearVector(order_);
  ClearVector(revisions_);
  ClearVector(undo_);
  meta_.clear();
}

void Overlay::Reset() {
  DropRows();
  entries_before_txn_ = 0;
  revisions_before_txn_ = 0;
  arena_.Reset();
}

}  // namespace cairn::mvcc
