#include "server/leader_loss.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "api/errors.h"

namespace cairn::server {

bool LeaderLoss::Add(const std::shared_ptr<rpc::StreamCall>& stream) {
  if (stream->Find("hasleader") != std::optional<std::string_view>("true")) return false;
  base::MutexLock lock(mutex_);
  if (streams_.size() >= tidy_at_) {
    std::erase_if(streams_, [](const auto& held) { return held.expired(); });
    tidy_at_ = std::max(kStaleMin, 2 * streams_.size());
  }
  streams_.push_back(stream);
  return true;
}

void LeaderLoss::Tick(bool has_leader) {
  if (has_leader) {
    ticks_without_leader_ = 0;
    return;
  }
  if (ticks_without_leader_ < limit_ticks_) ++ticks_without_leader_;
  if (ticks_without_leader_ < limit_ticks_) return;
  std::vector<std::weak_ptr<rpc::StreamCall>> ended;
  {
    base::MutexLock lock(mutex_);
    const size_t count = std::min(streams_.size(), kEndsPerTickMax);
    const auto first = streams_.end() - static_cast<ptrdiff_t>(count);
    ended.assign(std::make_move_iterator(first), std::make_move_iterator(streams_.end()));
    streams_.erase(first, streams_.end());
  }
  for (const std::weak_ptr<rpc::StreamCall>& held : ended) {
    if (const auto stream = held.lock()) stream->Abort(api::ToStatus(api::Error::kNoLeader));
  }
}

size_t LeaderLoss::size() const {
  base::MutexLock lock(mutex_);
  return streams_.size();
}

}  // namespace cairn::server
