#include "server/member_changer.h"

#include <absl/status/statusor.h>

#include <chrono>
#include <memory>
#include <utility>

#include "server/membership.h"
#include "server/membership_rules.h"

namespace cairn::server {

namespace {

int64_t UnixSeconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

}  // namespace

template <typename Check>
absl::Status MemberChanger::Judge(const Check& check) const {
  if (!options_.strict_reconfig_check) return absl::OkStatus();
  const std::shared_ptr<const Members> members = node_.members();
  const auto connected_ms = [this](MemberId id) { return node_.ConnectedMs(id); };
  return check(ClusterView{*members, node_.member_id(), connected_ms});
}

void MemberChanger::Propose(ChangeKind kind, Member member, Done done) {
  MembershipChange change;
  change.steps = {{kind, std::move(member)}};
  if (kind == ChangeKind::kAddLearner) change.learners_max = options_.learners_max;
  node_.ProposeChange(change, std::move(done));
}

void MemberChanger::Add(const std::vector<std::string>& peer_urls, bool is_learner, Done done) {
  absl::StatusOr<std::vector<std::string>> urls = CheckPeerUrls(peer_urls);
  absl::Status status = urls.status();
  if (status.ok()) {
    status = Judge([&](const ClusterView& view) { return CheckAddition(view, is_learner); });
  }
  if (!status.ok()) {
    std::move(done)({.status = std::move(status)});
    return;
  }
  Member member;
  member.id = DeriveAddedMemberId(*urls, UnixSeconds());
  member.peer_urls = *std::move(urls);
  Propose(is_learner ? ChangeKind::kAddLearner : ChangeKind::kAddVoter, std::move(member),
          std::move(done));
}

void MemberChanger::Remove(MemberId id, Done done) {
  absl::Status status = Judge([&](const ClusterView& view) { return CheckRemoval(view, id); });
  if (!status.ok()) {
    std::move(done)({.status = std::move(status)});
    return;
  }
  Propose(ChangeKind::kRemove, {.id = id}, std::move(done));
}

void MemberChanger::UpdatePeerUrls(MemberId id, std::vector<std::string> peer_urls, Done done) {
  Propose(ChangeKind::kUpdatePeerUrls, {.id = id, .peer_urls = std::move(peer_urls)},
          std::move(done));
}

void MemberChanger::Promote(MemberId id, Done done) {
  node_.LookAtRaft(
      [this, id, done = std::move(done)](const absl::StatusOr<raft::CoreStatus>& raft) mutable {
        absl::Status status = raft.ok() ? CheckLearnerReady(*raft, id) : raft.status();
        if (status.ok()) status = Judge(CheckPromotion);
        if (!status.ok()) {
          std::move(done)({.status = std::move(status)});
          return;
        }
        Propose(ChangeKind::kPromoteLearner, {.id = id}, std::move(done));
      });
}

}  // namespace cairn::server
