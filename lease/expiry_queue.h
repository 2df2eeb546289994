// What is due when: leases in buckets of time, the earliest bucket first.
//
// A renewal does not touch the queue: its owner keeps the true time, and an item that comes up
// early is added again at that time. So a renewal costs nothing here and a lease comes up about
// once per time to live, however often it is renewed. An item comes up at its time at the earliest
// and one bucket later at the latest, in the order in which its bucket was filled. Knows no lease's
// state: an item whose lease has ended comes up all the same (see size). Pure in `now`.
#ifndef CAIRN_LEASE_EXPIRY_QUEUE_H_
#define CAIRN_LEASE_EXPIRY_QUEUE_H_

#include <cstddef>
#include <map>
#include <optional>
#include <vector>

#include "lease/types.h"

namespace cairn::lease {

class ExpiryQueue {
 public:
  // Short beside the least time to live, long enough that buckets are few.
  static constexpr Milliseconds kBucketMs = 64;

  void Add(const LeaseName& name, Milliseconds at_ms);
  // Takes the next item that is due at `now_ms`, which never falls; none if there is none.
  std::optional<LeaseName> PopDue(Milliseconds now_ms);
  // Puts the item that was popped last back in front, due at once.
  void PutBack(const LeaseName& name);

  // When the next item comes up, 0 for "at once"; none when the queue is empty.
  std::optional<Milliseconds> next_ms() const;
  // Items, also those whose lease has ended: the owner fills the queue anew when they are most.
  size_t size() const { return size_; }
  void Clear();

 private:
  // By number: the bucket b holds what is due in ((b - 1) * kBucketMs, b * kBucketMs].
  std::map<Milliseconds, std::vector<LeaseName>> buckets_;
  // A bucket that is due, from `next_due_` on.
  std::vector<LeaseName> due_;
  size_t next_due_ = 0;
  size_t size_ = 0;
};

}  // namespace cairn::lease

#endif  // CAIRN_LEASE_EXPIRY_QUEUE_H_
