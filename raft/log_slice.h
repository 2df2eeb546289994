// A run of entries with its place in the log, as it travels in an append.
//
// Borrows its entries. The border (Core::Step, Core::EntriesRead) checks IsValid once; everything
// behind it relies on the rules:
//   1. entries are consecutive, the first right after `previous`;
//   2. terms never fall, from `previous` on;
//   3. no term is above the leader's who sent them.
#ifndef CAIRN_RAFT_LOG_SLICE_H_
#define CAIRN_RAFT_LOG_SLICE_H_

#include <span>

#include "base/ids.h"
#include "raft/types.h"

namespace cairn::raft {

struct LogSlice {
  EntryId previous;
  std::span<const Entry> entries;

  // The id of the last entry, or `previous` when there are none.
  EntryId last() const {
    if (entries.empty()) return previous;
    return {.term = entries.back().term, .index = entries.back().index};
  }

  bool IsValid(Term leader_term) const {
    EntryId before = previous;
    for (const Entry& entry : entries) {
      if (entry.index != before.index + 1 || entry.term < before.term) return false;
      before = {.term = entry.term, .index = entry.index};
    }
    return before.term <= leader_term;
  }
};

}  // namespace cairn::raft

#endif  // CAIRN_RAFT_LOG_SLICE_H_
