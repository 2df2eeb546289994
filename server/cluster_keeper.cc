#include "server/cluster_keeper.h"

#include <fmt/format.h>
#include <glog/logging.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "api/internal.pb.h"
#include "api/version.h"
#include "base/thread.h"
#include "server/cluster_state.h"
#include "server/cluster_version.h"
#include "server/lease_manager.h"
#include "server/service_context.h"
#include "server/space_alarm.h"

namespace cairn::server {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

ClusterKeeper::ClusterKeeper(ClusterKeeperOptions options, const mvcc::Store& store, Node& node)
    : options_(std::move(options)), store_(store), node_(node), thread_([this] { Run(); }) {}

ClusterKeeper::~ClusterKeeper() { Stop(); }

void ClusterKeeper::Stop() {
  {
    base::MutexLock lock(mutex_);
    stopping_ = true;
    wake_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

void ClusterKeeper::RefusedGrowth(int64_t cost_bytes) {
  base::MutexLock lock(mutex_);
  // Only the first refusal is news: the alarm holds until there is room.
  if (refused_bytes_ == 0) {
    has_news_ = true;
    wake_.Signal();
  }
  refused_bytes_ = std::max(refused_bytes_, cost_bytes);
}

void ClusterKeeper::Run() {
  base::NameThread("cluster-keeper");
  while (true) {
    {
      const Time next = steady_clock::now() + options_.poll;
      base::MutexLock lock(mutex_);
      while (!stopping_ && !has_news_ && wake_.WaitUntil(mutex_, next)) {
      }
      if (stopping_) return;
      has_news_ = false;
    }
    const Time now = steady_clock::now();
    LookAtSpace(now);
    LookAtVersions(now);
  }
}

void ClusterKeeper::LookAtSpace(Time now) {
  const std::shared_ptr<const ClusterState> cluster = node_.cluster_state();
  const Alarm* alarm = FindAlarm(*cluster, AlarmKind::kNoSpace, node_.member_id());
  if (alarm == nullptr) {
    raised_since_.reset();
  } else if (!raised_since_.has_value()) {
    raised_since_ = now;
  }
  SpaceView view;
  view.is_raised = alarm != nullptr;
  view.is_automatic = view.is_raised && alarm->is_automatic;
  if (view.is_raised) {
    view.raised_for_ms = std::chrono::duration_cast<milliseconds>(now - *raised_since_).count();
  }
  view.is_disk_full = node_.IsOutOfSpace();
  view.quota_bytes = options_.quota_backend_bytes;
  if (view.quota_bytes > 0) view.used_bytes = UsedBytes(store_, node_.leases());
  {
    base::MutexLock lock(mutex_);
    view.refused_bytes = refused_bytes_;
  }
  const SpaceDecision decision = DecideSpaceAlarm(view);
  const bool has_room = view.is_raised ? decision == SpaceDecision::kClear : !IsFull(view);
  if (has_room && view.refused_bytes > 0) {
    base::MutexLock lock(mutex_);
    // Unless more was refused meanwhile.
    if (refused_bytes_ == view.refused_bytes) refused_bytes_ = 0;
  }
  if (decision == SpaceDecision::kNone || !MayPropose(CommandKind::kSpaceAlarm)) return;
  LOG(WARNING) << fmt::format(
      "{}: {} bytes used, quota {} (0: none), disk {}",
      decision == SpaceDecision::kRaise ? "the space is used up, the alarm NOSPACE is raised"
                                        : "there is room again, the alarm NOSPACE is taken back",
      view.used_bytes, view.quota_bytes, view.is_disk_full ? "full" : "not full");
  internal::SpaceAlarm body;
  body.set_member_id(node_.member_id().value());
  body.set_is_full(decision == SpaceDecision::kRaise);
  Propose(CommandKind::kSpaceAlarm, body.SerializeAsString());
}

void ClusterKeeper::LookAtVersions(Time now) {
  if (node_.status().leader != node_.member_id()) {
    leads_since_.reset();
    return;
  }
  if (!leads_since_.has_value()) leads_since_ = now;
  std::vector<std::optional<Version>> versions;
  for (const Member& member : *node_.members()) {
    const std::optional<std::string> text = member.id == node_.member_id()
                                                ? std::string(api::kEtcdVersion)
                                                : options_.version_of(member.id);
    versions.push_back(text.has_value() ? ParseVersion(*text) : std::nullopt);
  }
  const bool all_are_known = std::all_of(versions.begin(), versions.end(),
                                         [](const auto& version) { return version.has_value(); });
  if (!all_are_known && now - *leads_since_ < options_.settle) return;
  const std::shared_ptr<const ClusterState> cluster = node_.cluster_state();
  if (cluster->downgrade_target.has_value() &&
      IsDowngradeDone(versions, *cluster->downgrade_target)) {
    if (!MayPropose(CommandKind::kDowngrade)) return;
    return Propose(CommandKind::kDowngrade, internal::Downgrade().SerializeAsString());
  }
  const std::optional<Version> version =
      DecideClusterVersion(cluster->version, versions, cluster->downgrade_target);
  if (!version.has_value() || !MayPropose(CommandKind::kClusterVersion)) return;
  LOG(INFO) << "the version of the cluster becomes " << ShortText(*version);
  internal::ClusterVersion body;
  body.set_version(FullText(*version));
  Propose(CommandKind::kClusterVersion, body.SerializeAsString());
}

bool ClusterKeeper::MayPropose(CommandKind kind) const {
  base::MutexLock lock(pending_->mutex);
  const auto next = pending_->next.find(kind);
  return next == pending_->next.end() || steady_clock::now() >= next->second;
}

void ClusterKeeper::Propose(CommandKind kind, std::string_view body) {
  {
    base::MutexLock lock(pending_->mutex);
    pending_->next[kind] = Time::max();
  }
  node_.Propose(kind, body, [pending = pending_, kind](const Node::Outcome& outcome) {
    LOG_IF(WARNING, !outcome.status.ok())
        << "a note of this member's (command " << static_cast<int>(kind)
        << ") did not get into the log yet: " << outcome.status;
    const Time now = steady_clock::now();
    base::MutexLock lock(pending->mutex);
    pending->next[kind] = outcome.status.ok() ? now : now + kRetryPause;
  });
}

}  // namespace cairn::server
