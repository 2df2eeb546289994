// Every id, Term, Index and Revision of the project, as types that do not mix.
#ifndef CAIRN_BASE_IDS_H_
#define CAIRN_BASE_IDS_H_

#include <compare>
#include <cstdint>

#include "base/strong_int.h"

namespace cairn {

// A Raft term. 0 is before the first election.
using Term = base::StrongInt<struct TermTag, uint64_t>;
// A position in the Raft log. The first entry has index 1; 0 is "before the log".
using Index = base::StrongInt<struct IndexTag, uint64_t>;
// A member of the cluster, derived as etcd derives it. 0 is reserved for "none".
using MemberId = base::StrongInt<struct MemberIdTag, uint64_t>;
// The cluster, derived as etcd derives it.
using ClusterId = base::StrongInt<struct ClusterIdTag, uint64_t>;
// A lease. Any value but 0 is legal, negative ones too; 0 means "no lease".
using LeaseId = base::StrongInt<struct LeaseIdTag, int64_t>;
// A store (main) revision. A fresh store is at 1 and the first write gets 2. Signed as on the wire.
using Revision = base::StrongInt<struct RevisionTag, int64_t>;

// One row of history: the main revision of the transaction and the position of the change in it.
struct RowRevision {
  Revision main;
  int64_t sub = 0;

  friend constexpr auto operator<=>(const RowRevision&, const RowRevision&) = default;
};

// No row: position before every row of history.
inline constexpr RowRevision kNoRow{};

}  // namespace cairn

#endif  // CAIRN_BASE_IDS_H_
