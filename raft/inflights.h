// The window of appends that are under way to one peer, bounded in bytes.
//
// Owned by a Progress. Knows nothing of messages: each element is the last index of one append and
// its payload in bytes. Never refuses: asking IsFull() first is the caller's part, so that one
// append larger than the whole window can still travel, alone.
#ifndef CAIRN_RAFT_INFLIGHTS_H_
#define CAIRN_RAFT_INFLIGHTS_H_

#include <cstddef>
#include <deque>

#include "base/ids.h"

namespace cairn::raft {

class Inflights {
 public:
  explicit Inflights(size_t bytes_max) : bytes_max_(bytes_max) {}

  // Records an append that ends in `last` (above every earlier one).
  void Add(Index last, size_t bytes);

  // The peer holds everything through `match`: forgets the appends that end at or below it.
  void FreeThrough(Index match);

  void Clear();

  bool IsFull() const { return bytes_ >= bytes_max_ || window_.size() >= kAppendsMax; }
  bool empty() const { return window_.empty(); }
  size_t bytes() const { return bytes_; }
  size_t count() const { return window_.size(); }

 private:
  // Bounds the window of small appends too: each costs the peer a message and a reply.
  static constexpr size_t kAppendsMax = 512;

  struct Append {
    Index last;
    size_t bytes;
  };

  size_t bytes_max_;
  size_t bytes_ = 0;
  std::deque<Append> window_;  // Ascending by `last`.
};

}  // namespace cairn::raft

#endif  // CAIRN_RAFT_INFLIGHTS_H_
