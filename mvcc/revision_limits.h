// How far a revision may be raised, so that those behind it never run out.
//
// Revisions are 63 bits wide and each write takes the next one. Whatever a state's revision is
// raised to by somebody's wish must leave more of them than anybody can write.
#ifndef CAIRN_MVCC_REVISION_LIMITS_H_
#define CAIRN_MVCC_REVISION_LIMITS_H_

#include <cstdint>
#include <limits>

#include "base/ids.h"

namespace cairn::mvcc {

// What a restore may raise the revision to: half of all.
inline constexpr Revision kRestoredRevisionMax{int64_t{1} << 62};
// What an entry of the log may raise it to. Higher, because such an entry is a start after a power
// cut, which a state that was restored at its limit must be able to have, however often: 2^61
// revisions, some ten million each time. As many are left for writes.
inline constexpr Revision kLoggedRaiseRevisionMax{kRestoredRevisionMax.value() +
                                                  (int64_t{1} << 61)};

// What a state's revision is at the most: nobody writes the last 2^60 of those that are left.
inline constexpr Revision kRevisionMax{std::numeric_limits<int64_t>::max() - (int64_t{1} << 60)};
static_assert(kRevisionMax > kLoggedRaiseRevisionMax);

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_REVISION_LIMITS_H_
