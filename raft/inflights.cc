#include "raft/inflights.h"

#include "base/check.h"

namespace cairn::raft {

void Inflights::Add(Index last, size_t bytes) {
  CAIRN_CHECK(window_.empty() || window_.back().last < last);
  window_.push_back({last, bytes});
  bytes_ += bytes;
}

void Inflights::FreeThrough(Index match) {
  while (!window_.empty() && window_.front().last <= match) {
    bytes_ -= window_.front().bytes;
    window_.pop_front();
  }
}

void Inflights::Clear() {
  window_.clear();
  bytes_ = 0;
}

}  // namespace cairn::raft
