// Whose state differs, from the hashes that the members tell of theirs.
//
// Pure: values in, a verdict out; any thread. Hashes can be compared only at one revision and
// behind one compaction: history that one member has forgotten, another may still hold.
#ifndef CAIRN_SERVER_CORRUPTION_VERDICT_H_
#define CAIRN_SERVER_CORRUPTION_VERDICT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/ids.h"

namespace cairn::server {

// A member's HashKV, and the hash of what lives at that revision (mvcc::HashKvResult).
struct StateHash {
  Revision revision;
  Revision compact_revision;
  uint32_t hash = 0;
  uint32_t live_hash = 0;

  friend bool operator==(const StateHash&, const StateHash&) = default;
};

struct MemberHash {
  MemberId member;
  std::optional<StateHash> hash;  // None: it has not told.
  bool is_learner = false;        // Compared like any other, but decides nothing.
};

struct CorruptionVerdict {
  // Who differs from a majority of all voters, sorted; one member 0 if there are different hashes
  // and no majority, so that nobody can say who is right. Empty: nobody differs.
  std::vector<MemberId> corrupt;
  // How many could be compared, the first one included.
  size_t compared = 0;
  // Whether a majority of all voters is among those. If not, whoever is right may be away.
  bool has_quorum = false;
};

// `members` are all members of the cluster; the first one is whoever asks, and has a hash. Compared
// are those whose revision and compaction are its own.
CorruptionVerdict JudgeHashes(const std::vector<MemberHash>& members);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_CORRUPTION_VERDICT_H_
