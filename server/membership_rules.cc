#include "server/membership_rules.h"

#include <algorithm>
#include <cctype>
#include <string_view>

#include "api/errors.h"
#include "server/membership_change.h"
#include "server/url.h"

namespace cairn::server {

namespace {

using api::Error;
using api::ToStatus;

constexpr int QuorumOf(int voters) { return voters / 2 + 1; }

// Who has started has published a name.
bool HasStarted(const Member& member) { return !member.name.empty(); }

struct Voters {
  int all = 0;
  int started = 0;
};

// The voters without `left_out`, if that is one.
Voters CountVoters(const Members& members, MemberId left_out = MemberId()) {
  Voters voters;
  for (const Member& member : members) {
    if (member.is_learner || member.id == left_out) continue;
    ++voters.all;
    if (HasStarted(member)) ++voters.started;
  }
  return voters;
}

int CountHealthyVoters(const ClusterView& view) {
  return static_cast<int>(
      std::count_if(view.members.begin(), view.members.end(), [&](const Member& member) {
        if (member.is_learner) return false;
        return member.id == view.self || view.connected_ms(member.id).value_or(0) > kHealthyAfterMs;
      }));
}

std::string_view Trimmed(std::string_view text) {
  const auto is_space = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

bool IsPeerUrl(std::string_view url) {
  if (url.starts_with("unix://") || url.starts_with("unixs://")) return true;
  return !url.ends_with('/') && ParseUrl(url).ok();
}

}  // namespace

absl::Status CheckAddition(const ClusterView& view, bool is_learner) {
  const Voters voters = CountVoters(view.members);
  if (!is_learner) {
    // From one to two there is no quorum to lose that was worth more than the second member.
    const bool is_first = voters.all == 1 && voters.started == 1;
    if (!is_first && voters.started < QuorumOf(voters.all + 1)) {
      return ToStatus(Error::kNotEnoughStartedMembers);
    }
  }
  if (voters.all == 1 || CountHealthyVoters(view) >= QuorumOf(voters.all + 1)) {
    return absl::OkStatus();
  }
  return ToStatus(Error::kUnhealthyCluster);
}

absl::Status CheckRemoval(const ClusterView& view, MemberId id) {
  const Member* const member = FindMember(view.members, id);
  if (member != nullptr && member->is_learner) return absl::OkStatus();
  const Voters rest = CountVoters(view.members, id);
  if (rest.started < QuorumOf(rest.all)) return ToStatus(Error::kNotEnoughStartedMembers);
  // Who is down already takes nothing from the quorum that is up.
  if (id != view.self && !view.connected_ms(id).has_value()) return absl::OkStatus();
  const int voters = CountVoters(view.members).all;
  if (CountHealthyVoters(view) - 1 >= QuorumOf(voters - 1)) return absl::OkStatus();
  return ToStatus(Error::kUnhealthyCluster);
}

absl::Status CheckPromotion(const ClusterView& view) {
  const Voters voters = CountVoters(view.members);
  if (voters.started + 1 >= QuorumOf(voters.all + 1)) return absl::OkStatus();
  return ToStatus(Error::kNotEnoughStartedMembers);
}

absl::Status CheckLearnerReady(const raft::CoreStatus& leader, MemberId id) {
  if (leader.role != raft::RoleKind::kLeader) return ToStatus(Error::kNotLeader);
  if (id == leader.id) return absl::OkStatus();
  const auto peer = std::find_if(leader.peers.begin(), leader.peers.end(),
                                 [&](const raft::PeerStatus& status) { return status.id == id; });
  if (peer == leader.peers.end()) return ToStatus(Error::kMemberNotFound);
  const double needed = kLearnerReadyShare * static_cast<double>(leader.durable.value());
  if (static_cast<double>(peer->match.value()) >= needed) return absl::OkStatus();
  return ToStatus(Error::kLearnerNotReady);
}

std::optional<MemberId> LearnerToPromote(const raft::CoreStatus& leader, const ClusterView& view,
                                         Index commit_before) {
  if (leader.role != raft::RoleKind::kLeader || !CheckPromotion(view).ok()) return std::nullopt;
  for (const raft::PeerStatus& peer : leader.peers) {
    if (!peer.is_learner || !peer.is_recently_active || peer.match < commit_before) continue;
    const Member* const member = FindMember(view.members, peer.id);
    if (member != nullptr && HasStarted(*member)) return peer.id;
  }
  return std::nullopt;
}

absl::StatusOr<std::vector<std::string>> CheckPeerUrls(const std::vector<std::string>& urls) {
  std::vector<std::string> checked;
  for (const std::string& url : urls) {
    std::string text(Trimmed(url));
    // Schemes are the same in capitals.
    const size_t scheme_bytes = std::min(text.find("://"), text.size());
    std::transform(text.begin(), text.begin() + static_cast<ptrdiff_t>(scheme_bytes), text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (!IsPeerUrl(text)) return ToStatus(Error::kInvalidMemberUrls);
    checked.push_back(std::move(text));
  }
  if (checked.empty()) return ToStatus(Error::kInvalidMemberUrls);
  std::sort(checked.begin(), checked.end());
  return checked;
}

}  // namespace cairn::server
