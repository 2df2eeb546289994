// What an open batch holds so far, as reads must see it before it is written.
//
// Rows of all three families: a hash for points, an order made on demand for ranges. It holds the
// last word on each key only, so a key put many times in one batch is written once. Rows read from
// below are remembered too (clean), which spares a compare-and-put its second read. A transaction
// can be rolled back. Apply thread only; views are valid until Reset.
#ifndef CAIRN_MVCC_OVERLAY_H_
#define CAIRN_MVCC_OVERLAY_H_

#include <absl/container/flat_hash_map.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/text_map.h"
#include "mvcc/arena.h"

namespace cairn::mvcc {

class Overlay {
 public:
  enum class Knowledge : uint8_t {
    kNone,   // Ask below.
    kClean,  // Read from below, not changed.
    kDirty,  // Changed by this batch.
  };
  struct KeyEntry {
    std::string_view key;
    // Empty: there is no such row. A row is never empty.
    std::string_view row;
    Knowledge knowledge = Knowledge::kNone;
  };
  struct RevisionEntry {
    RowRevision revision;
    std::string_view row;
  };

  Arena& arena() { return arena_; }

  // -- Rows of `keys`.
  // The entry's index for `key`, made (knowing nothing) if there is none.
  size_t Touch(std::string_view key);
  // The same for a key that stands in the arena: it is not copied.
  size_t TouchOwned(std::string_view key);
  // Null when nothing is known about `key`.
  const KeyEntry* Find(std::string_view key) const;
  const KeyEntry& entry(size_t index) const { return entries_[index]; }
  // `row` is in the arena, or empty for "no such row".
  void SetClean(size_t index, std::string_view row);
  void SetDirty(size_t index, std::string_view row);
  std::span<const KeyEntry> entries() const { return entries_; }

  // The entries in key order: positions 0..ordered_size()-1. Valid until the next Touch.
  void Order();
  size_t ordered_size() const { return order_.size(); }
  const KeyEntry& ordered(size_t position) const { return entries_[order_[position]]; }
  // The first position whose key is >= `key`. After Order().
  size_t LowerBound(std::string_view key) const;

  // -- Rows of `revisions`, which come in ascending order.
  void AddRevision(RowRevision revision, std::string_view row);
  const RevisionEntry* FindRevision(RowRevision revision) const;
  std::span<const RevisionEntry> revisions() const { return revisions_; }

  // -- Rows of `meta`; nullopt: removed by this batch.
  using MetaRows = std::map<std::string, std::optional<std::string>, std::less<>>;
  MetaRows& meta() { return meta_; }
  const MetaRows& meta() const { return meta_; }

  // -- One transaction at a time. Meta rows are not part of it, nor is what is clean; of what was
  // read in a transaction that is rolled back nothing need be known any more.
  void BeginTxn();
  void CommitTxn() { undo_.clear(); }
  void RollBackTxn();

  // About what all this takes in memory.
  size_t held_bytes() const;
  // Gives back everything but the arena, once the rows stand in a batch of the backend: nothing may
  // be looked up any more.
  void DropRows();
  // Keeps the memory of a usual batch for the next.
  void Reset();

 private:
  struct Undo {
    size_t index;
    std::string_view row;
    Knowledge knowledge;
  };

  Arena arena_;
  absl::flat_hash_map<std::string_view, size_t, base::TextHash, std::equal_to<>> index_;
  std::vector<KeyEntry> entries_;
  std::vector<size_t> order_;
  std::vector<RevisionEntry> revisions_;
  MetaRows meta_;
  // Of entries that are older than the transaction; a newer one had nothing before.
  std::vector<Undo> undo_;
  size_t entries_before_txn_ = 0;
  size_t revisions_before_txn_ = 0;
};

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_OVERLAY_H_
