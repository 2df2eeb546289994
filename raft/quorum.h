// The arithmetic of majorities, simple and joint (thesis 3.4, 3.6.2, 4.3).
//
// Pure functions over a Configuration and a lookup. The same one decides the commit index (values
// are match indexes), confirmed reads and leadership (values are heartbeat rounds) and, in its
// yes/no form, elections. Learners never count. An empty majority agrees to everything: it is the
// absent half of a configuration that is not joint.
#ifndef CAIRN_RAFT_QUORUM_H_
#define CAIRN_RAFT_QUORUM_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/ids.h"
#include "raft/types.h"

namespace cairn::raft {

enum class VoteResult : uint8_t { kPending, kWon, kLost };

// The largest value that more than half of `values` reach; UINT64_MAX for none. Reorders `values`.
uint64_t MajorityValue(std::span<uint64_t> values);

// Of `voters`, so many said yes and so many no.
VoteResult MajorityVote(size_t voters, size_t granted, size_t refused);

// Both halves must agree: lost if either lost, won if both won.
VoteResult JointVote(VoteResult incoming, VoteResult outgoing);

bool IsVoter(const Configuration& configuration, MemberId id);  // Of either half.
bool IsMember(const Configuration& configuration, MemberId id);
// `id` alone is a quorum.
bool IsSoleVoter(const Configuration& configuration, MemberId id);

// Calls `visit` once for each member, voters of either half first.
template <typename Visit>
void ForEachMember(const Configuration& configuration, Visit visit) {
  const auto in = [](const std::vector<MemberId>& list, MemberId id) {
    return std::find(list.begin(), list.end(), id) != list.end();
  };
  for (const MemberId id : configuration.voters) visit(id);
  for (const MemberId id : configuration.outgoing) {
    if (!in(configuration.voters, id)) visit(id);
  }
  for (const MemberId id : configuration.learners) visit(id);
}

// As above, once for each voter of either half.
template <typename Visit>
void ForEachVoter(const Configuration& configuration, Visit visit) {
  ForEachMember(configuration, [&](MemberId id) {
    if (IsVoter(configuration, id)) visit(id);
  });
}

// The largest value that a quorum reaches, where `value_of(id)` is what one voter has reached.
template <typename ValueOf>
uint64_t QuorumValue(const Configuration& configuration, ValueOf value_of) {
  const auto half = [&](const std::vector<MemberId>& voters) {
    // Clusters are small; only an absurd one pays for an allocation.
    std::array<uint64_t, 16> few;
    std::vector<uint64_t> many;
    std::span<uint64_t> values(few.data(), std::min(voters.size(), few.size()));
    if (voters.size() > few.size()) {
      many.resize(voters.size());
      values = many;
    }
    std::transform(voters.begin(), voters.end(), values.begin(), value_of);
    return MajorityValue(values);
  };
  return std::min(half(configuration.voters), half(configuration.outgoing));
}

// Whether the quorum has decided, where `vote_of(id)` is a std::optional<bool>.
template <typename VoteOf>
VoteResult QuorumVote(const Configuration& configuration, VoteOf vote_of) {
  const auto half = [&](const std::vector<MemberId>& voters) {
    size_t granted = 0;
    size_t refused = 0;
    for (const MemberId id : voters) {
      const std::optional<bool> vote = vote_of(id);
      if (!vote.has_value()) continue;
      (*vote ? granted : refused) += 1;
    }
    return MajorityVote(voters.size(), granted, refused);
  };
  return JointVote(half(configuration.voters), half(configuration.outgoing));
}

}  // namespace cairn::raft

#endif  // CAIRN_RAFT_QUORUM_H_
