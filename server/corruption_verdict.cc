#include "server/corruption_verdict.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/check.h"

namespace cairn::server {

CorruptionVerdict JudgeHashes(const std::vector<MemberHash>& members) {
  CAIRN_CHECK(!members.empty() && members.front().hash.has_value());
  const StateHash& own = *members.front().hash;
  CorruptionVerdict verdict;
  struct Group {
    std::vector<MemberId> members;
    size_t voters = 0;
  };
  std::map<std::pair<uint32_t, uint32_t>, Group> by_hash;
  size_t voters = 0;
  size_t voters_compared = 0;
  for (const MemberHash& member : members) {
    const size_t votes = member.is_learner ? 0 : 1;
    voters += votes;
    const bool is_comparable = member.hash.has_value() && member.hash->revision == own.revision &&
                               member.hash->compact_revision == own.compact_revision;
    if (!is_comparable) continue;
    Group& group = by_hash[{member.hash->hash, member.hash->live_hash}];
    group.members.push_back(member.member);
    group.voters += votes;
    voters_compared += votes;
    ++verdict.compared;
  }
  const size_t quorum = voters / 2 + 1;
  verdict.has_quorum = voters_compared >= quorum;
  if (by_hash.size() == 1) return verdict;
  const auto majority = std::find_if(by_hash.begin(), by_hash.end(), [quorum](const auto& group) {
    return group.second.voters >= quorum;
  });
  if (majority == by_hash.end()) {
    verdict.corrupt = {MemberId(0)};
    return verdict;
  }
  by_hash.erase(majority);
  for (const auto& [hash, group] : by_hash) {
    verdict.corrupt.insert(verdict.corrupt.end(), group.members.begin(), group.members.end());
  }
  std::sort(verdict.corrupt.begin(), verdict.corrupt.end());
  return verdict;
}

}  // namespace cairn::server
