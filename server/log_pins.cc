#include "server/log_pins.h"

#include <iterator>

#include "base/check.h"

namespace cairn::server {

void LogPins::Hold::Release(std::chrono::milliseconds after) {
  if (pins_ == nullptr) return;
  LogPins& pins = *std::exchange(pins_, nullptr);
  base::MutexLock lock(pins.mutex_);
  copy_->until = pins.options_.now() + after;
}

LogPins::Hold LogPins::Add(wal::PinKind kind, uint64_t id, Index from) {
  CAIRN_CHECK(kind == wal::PinKind::kSnapshot || kind == wal::PinKind::kBackup);
  base::MutexLock lock(mutex_);
  copies_.push_back({.pin = {kind, id, from}});
  return {this, std::prev(copies_.end())};
}

void LogPins::SetFollowers(const std::vector<raft::PeerStatus>& peers) {
  std::vector<wal::Pin> followers;
  followers.reserve(peers.size());
  for (const raft::PeerStatus& peer : peers) {
    followers.push_back({peer.is_learner ? wal::PinKind::kLearner : wal::PinKind::kFollower,
                         peer.id.value(), peer.match + 1});
  }
  base::MutexLock lock(mutex_);
  followers_ = std::move(followers);
}

void LogPins::SetAlone(bool is_alone) {
  base::MutexLock lock(mutex_);
  is_alone_ = is_alone;
}

wal::Pins LogPins::Now() const {
  base::MutexLock lock(mutex_);
  const auto now = options_.now();
  copies_.remove_if([&](const Copy& copy) { return copy.until <= now; });
  wal::Pins pins{.tail = is_alone_ ? wal::kNoTail : options_.tail,
                 .copy_bytes_max = options_.copy_bytes_max,
                 .pins = followers_};
  for (const Copy& copy : copies_) pins.pins.push_back(copy.pin);
  return pins;
}

}  // namespace cairn::server
