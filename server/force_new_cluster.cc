#include "server/force_new_cluster.h"

#include <absl/status/statusor.h>
#include <glog/logging.h>

#include <memory>
#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "raft/conf_change.h"
#include "raft/types.h"

namespace cairn::server {

namespace {

// What is read of the log at once.
constexpr size_t kReadBytes = size_t{8} << 20;

MembershipChange OneStep(ChangeKind kind, MemberId id) {
  MembershipChange change;
  change.steps = {{kind, {.id = id}}};
  return change;
}

// `membership` with the changes that are in the log and not applied yet.
absl::Status Advance(const wal::Wal& wal, Index applied, Index last, Membership& membership) {
  for (Index next = applied + 1; next <= last;) {
    CAIRN_ASSIGN_OR_RETURN(const std::vector<raft::Entry> entries,
                           wal.ReadEntries(next, last + 1, kReadBytes));
    for (const raft::Entry& entry : entries) {
      if (entry.kind != raft::EntryKind::kConfiguration) continue;
      CAIRN_ASSIGN_OR_RETURN(const MembershipChange change, DecodeChange(*entry.data));
      ApplyChange(change, entry.index, membership);
    }
    next = entries.back().index + 1;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<MembershipChange>> ChangesToAlone(Membership membership, MemberId self) {
  std::vector<MembershipChange> changes;
  const auto make = [&](MembershipChange change) {
    const ChangeEffect effect = ApplyChange(change, Index(), membership);
    CAIRN_CHECK(effect.refusal.ok(), std::string(base::Message(effect.refusal)));
    changes.push_back(std::move(change));
  };
  if (raft::IsJoint(membership.configuration)) {
    MembershipChange leave;
    leave.leave_joint = true;
    make(std::move(leave));
  }
  const Member* const own = FindMember(membership.members, self);
  if (own == nullptr) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "--force-new-cluster: member {:x} was removed from its cluster and cannot "
                       "go on with its data; take another member's directory, or restore a backup",
                       self);
  }
  if (own->is_learner) make(OneStep(ChangeKind::kPromoteLearner, self));
  const Members everyone = membership.members;
  for (const Member& member : everyone) {
    if (member.id != self) make(OneStep(ChangeKind::kRemove, member.id));
  }
  return changes;
}

absl::Status ForceNewCluster(Membership membership, Index applied, wal::Wal& wal,
                             wal::Recovered& recovered) {
  CAIRN_RETURN_IF_ERROR(Advance(wal, applied, recovered.last.index, membership));
  CAIRN_ASSIGN_OR_RETURN(const std::vector<MembershipChange> changes,
                         ChangesToAlone(std::move(membership), recovered.identity.member));
  if (changes.empty()) {
    LOG(INFO) << "--force-new-cluster has nothing to do: this member is alone";
    return absl::OkStatus();
  }
  wal::Append append;
  // A term of its own: no entry that another member may still hold can be taken for one of these.
  const Term term = recovered.hard_state.term + 1;
  for (const MembershipChange& change : changes) {
    append.entries.push_back({.term = term,
                              .index = recovered.last.index + append.entries.size() + 1,
                              .kind = raft::EntryKind::kConfiguration,
                              .data = std::make_shared<const std::string>(EncodeChange(change))});
  }
  const raft::EntryId last{term, append.entries.back().index};
  append.commit = last.index;
  append.hard_state = raft::HardState{.term = term, .commit = last.index};
  const raft::HardState hard_state = *append.hard_state;
  CAIRN_RETURN_IF_ERROR(wal.Write({&append, 1}));
  CAIRN_RETURN_IF_ERROR(wal.Sync());
  LOG(WARNING) << fmt::format(
      "--force-new-cluster: {} changes behind entry {} make member {:x} a cluster of one",
      changes.size(), recovered.last.index, recovered.identity.member);
  recovered.last = last;
  recovered.hard_state = hard_state;
  return absl::OkStatus();
}

}  // namespace cairn::server
