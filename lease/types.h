// The words of the lease: what is known of one, and how entries name it.
//
// Plain values. Time is a count of milliseconds on whatever monotonic clock the caller reads; the
// folder itself has none. Pure: no thread, clock, file or socket.
#ifndef CAIRN_LEASE_TYPES_H_
#define CAIRN_LEASE_TYPES_H_

#include <cstdint>
#include <optional>

#include "base/ids.h"

namespace cairn::lease {

// etcd's bound, about 285 years: a time to live beyond it is a mistake.
inline constexpr int64_t kTtlSecondsMax = 9'000'000'000;

// A point of the caller's monotonic clock, or a span of it, in milliseconds. Times to live are at
// most 9,000,000,000 s, so sums of a few of them stay far from overflow.
using Milliseconds = int64_t;

inline constexpr Milliseconds kMillisecondsPerSecond = 1000;

// Names one lease for good: an id may be granted again after its lease has ended, the index of the
// granting entry may not.
struct LeaseName {
  LeaseId id;
  Index granted;

  friend bool operator==(const LeaseName&, const LeaseName&) = default;
};

// What all members know alike of a lease: made by applied entries alone.
struct LeaseFacts {
  Index granted;  // The entry that granted it.
  // 0: it is ending. It had more keys than one entry deletes; until the last of them is gone it
  // counts for nobody, cannot be renewed, and gets no keys.
  int64_t ttl_s = 0;
  // What remained when the last checkpoint was proposed; none if it was not checkpointed, or was
  // renewed since. Whoever leads next starts from here instead of from the whole time to live.
  std::optional<Milliseconds> checkpoint_ms;
  int64_t key_count = 0;

  bool is_ending() const { return ttl_s == 0; }

  friend bool operator==(const LeaseFacts&, const LeaseFacts&) = default;
};

// One lease after a batch of entries: its facts, or none when it has ended.
struct LeaseUpdate {
  LeaseId id;
  std::optional<LeaseFacts> facts;

  friend bool operator==(const LeaseUpdate&, const LeaseUpdate&) = default;
};

}  // namespace cairn::lease

#endif  // CAIRN_LEASE_TYPES_H_
