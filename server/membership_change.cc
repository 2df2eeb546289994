#include "server/membership_change.h"

#include <algorithm>
#include <utility>

#include "api/errors.h"
#include "api/internal.pb.h"
#include "base/check.h"
#include "base/status.h"
#include "raft/conf_change.h"
#include "raft/quorum.h"
#include "server/membership_rows.h"

namespace cairn::server {

namespace {

using api::Error;
using api::ToStatus;

static_assert(static_cast<int>(ChangeKind::kAddVoter) == internal::ConfigurationChange::ADD_VOTER);
static_assert(static_cast<int>(ChangeKind::kAddLearner) ==
              internal::ConfigurationChange::ADD_LEARNER);
static_assert(static_cast<int>(ChangeKind::kPromoteLearner) ==
              internal::ConfigurationChange::PROMOTE_LEARNER);
static_assert(static_cast<int>(ChangeKind::kRemove) == internal::ConfigurationChange::REMOVE);
static_assert(static_cast<int>(ChangeKind::kUpdatePeerUrls) ==
              internal::ConfigurationChange::UPDATE_PEER_URLS);

bool HasUnknownFields(const google::protobuf::Message& message) {
  return !message.GetReflection()->GetUnknownFields(message).empty();
}

absl::Status CheckIsKnown(const internal::ConfigurationChange& change) {
  bool is_known = !HasUnknownFields(change);
  for (const internal::ConfigurationChange::Step& step : change.steps()) {
    is_known = is_known && !HasUnknownFields(step) && !HasUnknownFields(step.member());
    if (step.kind() == internal::ConfigurationChange::UNSPECIFIED) {
      return base::Error(absl::StatusCode::kDataLoss, "a configuration entry that says nothing");
    }
    if (step.kind() > internal::ConfigurationChange::UPDATE_PEER_URLS || step.kind() < 0) {
      return base::Error(absl::StatusCode::kUnimplemented,
                         "a configuration entry of kind {}, which this version does not know",
                         static_cast<int>(step.kind()));
    }
  }
  if (is_known) return absl::OkStatus();
  return base::Error(absl::StatusCode::kUnimplemented,
                     "a configuration entry with fields that this version does not know");
}

// Of the first member whose id is not below `id`.
template <typename MembersOrConst>
auto Position(MembersOrConst& members, MemberId id) {
  return std::lower_bound(members.begin(), members.end(), id,
                          [](const Member& member, MemberId at) { return member.id < at; });
}

template <typename MembersOrConst>
auto* Find(MembersOrConst& members, MemberId id) {
  const auto at = Position(members, id);
  return at != members.end() && at->id == id ? &*at : nullptr;
}

bool IsPeerUrlTaken(const Members& members, const Member& by) {
  return std::any_of(members.begin(), members.end(), [&](const Member& other) {
    return other.id != by.id &&
           std::any_of(by.peer_urls.begin(), by.peer_urls.end(), [&](const std::string& url) {
             return std::find(other.peer_urls.begin(), other.peer_urls.end(), url) !=
                    other.peer_urls.end();
           });
  });
}

// One change on its way to `after`. Steps see what those before them did.
struct Draft {
  const MembershipChange& change;
  Membership& after;
  std::vector<raft::MemberChange> votes;
  std::vector<MemberId> changed;
};

absl::Status Add(const ChangeStep& step, Draft& draft) {
  Members& members = draft.after.members;
  if (Find(members, step.member.id) != nullptr) return ToStatus(Error::kMemberExists);
  if (IsPeerUrlTaken(members, step.member)) return ToStatus(Error::kPeerUrlExists);
  const bool is_learner = step.kind == ChangeKind::kAddLearner;
  if (is_learner && draft.change.learners_max.has_value()) {
    const auto learners =
        std::count_if(members.begin(), members.end(), [](const Member& m) { return m.is_learner; });
    if (learners + 1 > int64_t{*draft.change.learners_max}) {
      return ToStatus(Error::kTooManyLearners);
    }
  }
  const auto added = members.insert(Position(members, step.member.id), step.member);
  added->is_learner = is_learner;
  draft.votes.push_back(
      {is_learner ? raft::MemberChangeKind::kAddLearner : raft::MemberChangeKind::kAddVoter,
       step.member.id});
  return absl::OkStatus();
}

absl::Status Take(const ChangeStep& step, Draft& draft) {
  // What has gone does not come back, not even to be removed again (etcd's order of errors).
  if (draft.after.removed.contains(step.member.id)) return ToStatus(Error::kMemberNotFound);
  draft.changed.push_back(step.member.id);
  if (step.kind == ChangeKind::kAddVoter || step.kind == ChangeKind::kAddLearner) {
    return Add(step, draft);
  }
  Member* const member = Find(draft.after.members, step.member.id);
  if (member == nullptr) return ToStatus(Error::kMemberNotFound);
  if (step.kind == ChangeKind::kUpdatePeerUrls) {
    if (IsPeerUrlTaken(draft.after.members, step.member)) return ToStatus(Error::kPeerUrlExists);
    member->peer_urls = step.member.peer_urls;
    return absl::OkStatus();
  }
  if (step.kind == ChangeKind::kPromoteLearner) {
    if (!member->is_learner) return ToStatus(Error::kMemberNotLearner);
    member->is_learner = false;
    draft.votes.push_back({raft::MemberChangeKind::kAddVoter, member->id});
    return absl::OkStatus();
  }
  draft.votes.push_back({raft::MemberChangeKind::kRemove, member->id});
  return absl::OkStatus();
}

// The configuration after all steps. A joint phase is entered only where the votes ask for it.
absl::StatusOr<raft::Configuration> NextConfiguration(
    const MembershipChange& change, const raft::Configuration& before,
    const std::vector<raft::MemberChange>& votes) {
  if (change.leave_joint) return raft::LeaveJoint(before);
  absl::StatusOr<raft::Configuration> simple = raft::ChangeSimply(before, votes);
  return simple.ok() || change.steps.size() == 1 ? simple : raft::EnterJoint(before, votes);
}

absl::Status Draw(Draft& draft) {
  const MembershipChange& change = draft.change;
  // Nothing but its end is taken in a joint phase, whatever a member thinks of itself meanwhile.
  if (raft::IsJoint(draft.after.configuration) != change.leave_joint) {
    return ToStatus(Error::kUnhealthyCluster);
  }
  for (const ChangeStep& step : change.steps) CAIRN_RETURN_IF_ERROR(Take(step, draft));
  absl::StatusOr<raft::Configuration> next =
      NextConfiguration(change, draft.after.configuration, draft.votes);
  // What is left to be refused is a cluster without a voter.
  if (!next.ok()) return ToStatus(Error::kNotEnoughStartedMembers);
  draft.after.configuration = *std::move(next);
  return absl::OkStatus();
}

// Members are those whom the configuration names; who is named no more has left for ever.
void Settle(Index index, Draft& draft, ChangeEffect& effect) {
  Membership& after = draft.after;
  std::erase_if(after.members, [&](const Member& member) {
    if (raft::IsMember(after.configuration, member.id)) return false;
    effect.removed.push_back(member.id);
    return true;
  });
  for (const MemberId id : effect.removed) after.removed[id] = index;
  while (after.removed.size() > kRemovedMembersMax) {
    const auto oldest =
        std::min_element(after.removed.begin(), after.removed.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    effect.forgotten.push_back(oldest->first);
    after.removed.erase(oldest);
  }
  for (const MemberId id : draft.changed) {
    if (Find(after.members, id) != nullptr) effect.changed.push_back(id);
  }
}

}  // namespace

std::string EncodeChange(const MembershipChange& change) {
  internal::ConfigurationChange message;
  for (const ChangeStep& step : change.steps) {
    internal::ConfigurationChange::Step& added = *message.add_steps();
    added.set_kind(static_cast<internal::ConfigurationChange::Kind>(step.kind));
    ToMessage(step.member, *added.mutable_member());
  }
  message.set_leave_joint(change.leave_joint);
  message.set_proposer_member_id(change.proposer.id.value());
  message.set_proposer_nonce(change.proposer.nonce);
  message.set_proposer_sequence(change.proposer.sequence);
  if (change.learners_max.has_value()) message.set_learners_max(*change.learners_max);
  std::string bytes;
  CAIRN_CHECK(message.SerializeToString(&bytes));
  return bytes;
}

absl::StatusOr<MembershipChange> DecodeChange(std::string_view data) {
  internal::ConfigurationChange message;
  if (!message.ParseFromArray(data.data(), static_cast<int>(data.size()))) {
    return base::Error(absl::StatusCode::kDataLoss, "a configuration entry does not parse");
  }
  CAIRN_RETURN_IF_ERROR(CheckIsKnown(message));
  MembershipChange change;
  for (const internal::ConfigurationChange::Step& step : message.steps()) {
    CAIRN_ASSIGN_OR_RETURN(Member member, FromMessage(step.member()));
    change.steps.push_back({static_cast<ChangeKind>(step.kind()), std::move(member)});
  }
  change.leave_joint = message.leave_joint();
  if (change.leave_joint != change.steps.empty()) {
    return base::Error(
        absl::StatusCode::kDataLoss, "a configuration entry {}",
        change.leave_joint ? "that ends a joint phase and does more" : "without a step");
  }
  change.proposer = {MemberId(message.proposer_member_id()), message.proposer_nonce(),
                     message.proposer_sequence()};
  if (message.has_learners_max()) change.learners_max = message.learners_max();
  return change;
}

ChangeEffect ApplyChange(const MembershipChange& change, Index index, Membership& membership) {
  ChangeEffect effect;
  Membership after = membership;
  Draft draft{change, after, {}, {}};
  effect.refusal = Draw(draft);
  if (!effect.refusal.ok()) return effect;
  Settle(index, draft, effect);
  CAIRN_CHECK(raft::ValidateConfiguration(after.configuration).ok());
  membership = std::move(after);
  return effect;
}

const Member* FindMember(const Members& members, MemberId id) { return Find(members, id); }

}  // namespace cairn::server
