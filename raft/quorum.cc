#include "raft/quorum.h"

#include <functional>
#include <limits>

namespace cairn::raft {
namespace {

bool Contains(const std::vector<MemberId>& sorted, MemberId id) {
  return std::binary_search(sorted.begin(), sorted.end(), id);
}

}  // namespace

uint64_t MajorityValue(std::span<uint64_t> values) {
  if (values.empty()) return std::numeric_limits<uint64_t>::max();
  // In descending order, the one in the middle (the later middle of an even count) is reached by
  // itself and all before it, which is more than half.
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end(), std::greater<>());
  return *middle;
}

VoteResult MajorityVote(size_t voters, size_t granted, size_t refused) {
  if (voters == 0) return VoteResult::kWon;
  const size_t needed = voters / 2 + 1;
  if (granted >= needed) return VoteResult::kWon;
  if (refused > voters - needed) return VoteResult::kLost;
  return VoteResult::kPending;
}

VoteResult JointVote(VoteResult incoming, VoteResult outgoing) {
  if (incoming == outgoing) return incoming;
  if (incoming == VoteResult::kLost || outgoing == VoteResult::kLost) return VoteResult::kLost;
  return VoteResult::kPending;
}

bool IsVoter(const Configuration& configuration, MemberId id) {
  return Contains(configuration.voters, id) || Contains(configuration.outgoing, id);
}

bool IsMember(const Configuration& configuration, MemberId id) {
  return IsVoter(configuration, id) || Contains(configuration.learners, id);
}

bool IsSoleVoter(const Configuration& configuration, MemberId id) {
  return configuration.voters.size() == 1 && configuration.voters.front() == id &&
         (configuration.outgoing.empty() ||
          (configuration.outgoing.size() == 1 && configuration.outgoing.front() == id));
}

}  // namespace cairn::raft
