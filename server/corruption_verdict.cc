#include "server/corruption_verdict.h"

#include <algorithm>
#include <map>

#include "base/check.h"

namespace cairn::server {

CorruptionVerdict JudgeHashes(const std::vector<MemberHash>& members) {
  CAIRN_CHECK(!members.empty() && members.front().hash.has_value());
  const StateHash& own = *members.front().hash;
  CorruptionVerdict verdict;
  std::map<uint32_t, std::vector<MemberId>> by_hash;
  for (const MemberHash& member : members) {
    const bool is_comparable = member.hash.has_value() && member.hash->revision == own.revision &&
                               member.hash->compact_revision == own.compact_revision;
    if (!is_comparable) continue;
    by_hash[member.hash->hash].push_back(member.member);
    ++verdict.compared;
  }
  if (by_hash.size() == 1) return verdict;
  const size_t quorum = members.size() / 2 + 1;
  const auto majority = std::find_if(by_hash.begin(), by_hash.end(), [quorum](const auto& group) {
    return group.second.size() >= quorum;
  });
  if (majority == by_hash.end()) {
    verdict.corrupt = {MemberId(0)};
    return verdict;
  }
  by_hash.erase(majority);
  for (const auto& [hash, ids] : by_hash) {
    verdict.corrupt.insert(verdict.corrupt.end(), ids.begin(), ids.end());
  }
  std::sort(verdict.corrupt.begin(), verdict.corrupt.end());
  return verdict;
}

}  // namespace cairn::server
