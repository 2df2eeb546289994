#include "raft/conf_change.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "base/status.h"

namespace cairn::raft {
namespace {

using Members = std::vector<MemberId>;

bool Contains(const Members& sorted, MemberId id) {
  return std::binary_search(sorted.begin(), sorted.end(), id);
}

void Insert(Members& sorted, MemberId id) {
  const auto at = std::lower_bound(sorted.begin(), sorted.end(), id);
  if (at == sorted.end() || *at != id) sorted.insert(at, id);
}

void Erase(Members& sorted, MemberId id) { std::erase(sorted, id); }

bool IsWellFormed(const Members& members) {
  return std::is_sorted(members.begin(), members.end()) &&
         std::adjacent_find(members.begin(), members.end()) == members.end() &&
         (members.empty() || members.front() != MemberId(0));
}

size_t VotesChanged(const Members& before, const Members& after) {
  Members changed;
  std::set_symmetric_difference(before.begin(), before.end(), after.begin(), after.end(),
                                std::back_inserter(changed));
  return changed.size();
}

absl::Status Illegal(std::string_view why) {
  return base::MakeStatus(absl::StatusCode::kInvalidArgument, why);
}

absl::Status NotNow(std::string_view why) {
  return base::MakeStatus(absl::StatusCode::kFailedPrecondition, why);
}

// Applies `changes` to the incoming half.
absl::StatusOr<Configuration> Changed(Configuration next, std::span<const MemberChange> changes) {
  for (const MemberChange& change : changes) {
    const MemberId id = change.id;
    if (id == MemberId(0)) return Illegal("member id 0 names nobody");
    Erase(next.learners_next, id);
    switch (change.kind) {
      case MemberChangeKind::kAddVoter:
        Erase(next.learners, id);
        Insert(next.voters, id);
        break;
      case MemberChangeKind::kAddLearner:
        Erase(next.voters, id);
        // Rule 2: who votes in the outgoing half becomes a learner only when that half is gone.
        Insert(Contains(next.outgoing, id) ? next.learners_next : next.learners, id);
        break;
      case MemberChangeKind::kRemove:
        Erase(next.voters, id);
        Erase(next.learners, id);
        break;
    }
  }
  if (next.voters.empty()) return NotNow("the last voter cannot go");
  return next;
}

}  // namespace

bool IsJoint(const Configuration& configuration) { return !configuration.outgoing.empty(); }

absl::Status ValidateConfiguration(const Configuration& configuration) {
  const auto& [voters, outgoing, learners, learners_next] = configuration;
  for (const Members* members : {&voters, &outgoing, &learners, &learners_next}) {
    if (!IsWellFormed(*members)) return Illegal("a member list is not sorted or names one twice");
  }
  if (voters.empty()) return Illegal("no voter");
  for (const MemberId id : learners) {
    if (Contains(voters, id) || Contains(outgoing, id)) {
      return base::Error(absl::StatusCode::kInvalidArgument, "learner {:x} also votes", id.value());
    }
  }
  for (const MemberId id : learners_next) {
    if (!Contains(outgoing, id) || Contains(voters, id)) {
      return base::Error(absl::StatusCode::kInvalidArgument,
                         "{:x} is to become a learner but is not a leaving voter", id.value());
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Configuration> ChangeSimply(const Configuration& configuration,
                                           std::span<const MemberChange> changes) {
  if (IsJoint(configuration)) return NotNow("the configuration is joint");
  CAIRN_ASSIGN_OR_RETURN(Configuration next, Changed(configuration, changes));
  if (VotesChanged(configuration.voters, next.voters) > 1) {
    return NotNow("more than one vote changes, which needs a joint phase");
  }
  return next;
}

absl::StatusOr<Configuration> EnterJoint(const Configuration& configuration,
                                         std::span<const MemberChange> changes) {
  if (IsJoint(configuration)) return NotNow("the configuration is joint already");
  Configuration joint = configuration;
  joint.outgoing = joint.voters;
  return Changed(std::move(joint), changes);
}

absl::StatusOr<Configuration> LeaveJoint(const Configuration& configuration) {
  if (!IsJoint(configuration)) return NotNow("the configuration is not joint");
  Configuration next = configuration;
  for (const MemberId id : next.learners_next) Insert(next.learners, id);
  next.learners_next.clear();
  next.outgoing.clear();
  return next;
}

}  // namespace cairn::raft
