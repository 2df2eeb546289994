// The chain of a key's rows, newest to oldest: where a new row stands in it, how to walk it back.
//
// Positions count a key's rows, deletions included, from 0 on; they begin anew when removal has
// forgotten the key. The skip pointer of position p names the row at p with its lowest non-zero
// hexadecimal digit cleared, so one of n older rows is found in about 15 log16(n) steps at most. To
// give each new row its pointer without reading, the key's latest row remembers its *landmarks*:
// for each k, the last row whose position is a multiple of 16^(k+1). Pure functions.
#ifndef CAIRN_MVCC_CHAIN_H_
#define CAIRN_MVCC_CHAIN_H_

#include <array>
#include <bit>
#include <cstdint>

#include "base/check.h"
#include "base/ids.h"
#include "mvcc/write_txn.h"

namespace cairn::mvcc {

// Positions below 16^15: no key is written 2^60 times.
inline constexpr int kLandmarksMax = 15;

// Landmarks that a row at `position` carries: one per hexadecimal digit, none at position 0, where
// every landmark would be the row itself.
constexpr int LandmarkCount(uint64_t position) { return (std::bit_width(position) + 3) / 4; }

struct ChainPlace {
  uint64_t position = 0;
  // The first LandmarkCount(position) are set.
  std::array<RowRevision, kLandmarksMax> landmarks;
};

// Where a row goes that follows `previous_row`, which stands at `previous`. Returns its skip
// pointer.
inline RowRevision AdvanceChain(ChainPlace& place, RowRevision previous_row, RowRevision row) {
  const int old_count = LandmarkCount(place.position);
  ++place.position;
  const int count = LandmarkCount(place.position);
  CAIRN_CHECK_LE(count, kLandmarksMax);
  // Every multiple of a new, higher power is still position 0, as all landmarks below it were.
  if (count > old_count) {
    place.landmarks[static_cast<size_t>(old_count)] =
        old_count == 0 ? previous_row : place.landmarks[static_cast<size_t>(old_count) - 1];
  }
  const auto zero_digits = static_cast<size_t>(std::countr_zero(place.position) / 4);
  for (size_t k = 0; k < zero_digits; ++k) place.landmarks[k] = row;
  return place.landmarks[zero_digits];
}

// What a walk to revision `at` does next, at a row whose main revision is above `at`.
struct ChainStep {
  enum class Verdict : uint8_t {
    kAbsent,  // The key did not exist at `at`.
    kAnswer,  // `row` is what it was at `at` (a deletion: it did not exist).
    kFollow,  // `row` is still above `at`: look there.
    kBroken,  // A row other than a creation without a previous one: not written by us.
  };
  Verdict verdict;
  RowRevision row;
};

inline ChainStep NextChainStep(ChangeKind kind, RowRevision previous, RowRevision skip,
                               Revision at) {
  using Verdict = ChainStep::Verdict;
  // Do not follow: removal may have taken the tombstone that a creation points to.
  if (kind == ChangeKind::kCreation && previous.main <= at) return {Verdict::kAbsent, kNoRow};
  if (previous == kNoRow) return {Verdict::kBroken, kNoRow};
  if (skip.main > at) return {Verdict::kFollow, skip};
  return {previous.main <= at ? Verdict::kAnswer : Verdict::kFollow, previous};
}

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_CHAIN_H_
