#include "raft/progress.h"

#include <algorithm>

#include "base/check.h"

namespace cairn::raft {

std::string_view ProgressStateName(ProgressState state) {
  switch (state) {
    case ProgressState::kProbe:
      return "probe";
    case ProgressState::kReplicate:
      return "replicate";
    case ProgressState::kSnapshot:
      return "snapshot";
  }
  CAIRN_CHECK(false, "no such progress state");
}

void Progress::BecomeProbe() {
  state_ = ProgressState::kProbe;
  next_ = std::max(match_, pending_snapshot_) + 1;
  pending_snapshot_ = Index(0);
  is_waiting_ = false;
  inflights_.Clear();
}

void Progress::BecomeReplicate() {
  state_ = ProgressState::kReplicate;
  next_ = match_ + 1;
  pending_snapshot_ = Index(0);
  is_waiting_ = false;
  inflights_.Clear();
}

void Progress::BecomeSnapshot(Index pending) {
  state_ = ProgressState::kSnapshot;
  pending_snapshot_ = pending;
  is_waiting_ = false;
  inflights_.Clear();
}

void Progress::SnapshotEnded(Index installed) {
  pending_snapshot_ = installed;
  BecomeProbe();
}

bool Progress::Acknowledge(Index index) {
  const bool is_news = index > match_;
  match_ = std::max(match_, index);
  next_ = std::max(next_, match_ + 1);
  inflights_.FreeThrough(match_);
  return is_news;
}

void Progress::Sent(Index last, size_t bytes) {
  CAIRN_CHECK(state_ != ProgressState::kSnapshot);
  if (state_ == ProgressState::kProbe) {
    // `next` stays: if the answer never comes, the same is sent again.
    is_waiting_ = true;
    return;
  }
  if (last < next_) return;
  next_ = last + 1;
  inflights_.Add(last, bytes);
}

bool Progress::Reject(Index rejected, Index retry_after) {
  if (state_ == ProgressState::kSnapshot) return false;
  if (state_ == ProgressState::kReplicate) {
    // Something sent ahead got lost. What is acknowledged stays true, so nothing to search for.
    if (rejected <= match_) return false;
    BecomeProbe();
    return true;
  }
  // While probing only one append is out, at next - 1: any other answer is an old one.
  if (next_ - 1 != rejected) return false;
  next_ = std::max(std::min(rejected, retry_after + 1), match_ + 1);
  is_waiting_ = false;
  return true;
}

void Progress::Postpone() {
  if (state_ != ProgressState::kProbe) BecomeProbe();
  is_waiting_ = true;
}

bool Progress::IsPaused() const {
  switch (state_) {
    case ProgressState::kProbe:
      return is_waiting_;
    case ProgressState::kReplicate:
      return inflights_.IsFull();
    case ProgressState::kSnapshot:
      return true;
  }
  CAIRN_CHECK(false, "no such progress state");
}

}  // namespace cairn::raft
