// What an enumeration of crash points has tried and found: one row a durable step, and the first
// promise that was broken.
//
// One thread at a time, but for Violation and violation: any.
#ifndef CAIRN_TEST_CRASH_POINTS_REPORT_H_
#define CAIRN_TEST_CRASH_POINTS_REPORT_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "wal/fault_fs.h"

namespace cairn::crash_points {

// How much is tried. The short values keep the test under a minute on one core.
struct Bounds {
  // Of so many unsynced effects every subset is kept in turn. Of more: none, all, each one alone,
  // all but each one, and so many drawn at random.
  size_t exhaustive_max = 10;
  size_t random_subsets = 200;
  // One image in so many also crashes at every step of its recovery, and there so many of the
  // subsets are kept: none, all, the rest at random.
  uint64_t deep_every = 4;
  size_t deep_subsets = 6;
};
// A first look, for what shows itself soon.
inline constexpr Bounds kFewBounds{
    .exhaustive_max = 5, .random_subsets = 16, .deep_every = 12, .deep_subsets = 4};
inline constexpr Bounds kLongBounds{
    .exhaustive_max = 13, .random_subsets = 4000, .deep_every = 1, .deep_subsets = 40};

// Which of `count` effects a power cut keeps: at most what `bounds` says, the same for the same
// seed.
std::vector<std::vector<bool>> Subsets(size_t count, const Bounds& bounds, uint64_t seed);
// A few of them: none, all, and others at random.
std::vector<std::vector<bool>> FewSubsets(size_t count, size_t few, uint64_t seed);

// The step in words, numbers of files left out: "write header of *.wal".
std::string DescribeStep(const wal::FaultStep& step);

class Report {
 public:
  struct Row {
    uint64_t points = 0;      // Moments right before such a step.
    uint64_t outcomes = 0;    // What a crash there may leave.
    uint64_t images = 0;      // Those that differ from all before: each was started from.
    uint64_t recoveries = 0;  // Starts, those after a crash in the recovery among them.
  };

  // The rows that follow belong to steps of `phase`.
  void Begin(std::string phase) { phase_ = std::move(phase); }
  const std::string& phase() const { return phase_; }
  Row& At(const wal::FaultStep& step) { return rows_[phase_ + ": " + DescribeStep(step)]; }

  // Whether no such image was seen before; `promise` tells apart what is demanded of it.
  bool IsNewImage(uint64_t fingerprint, uint64_t promise) {
    return seen_.insert(fingerprint * 0x9e3779b97f4a7c15U + promise).second;
  }

  // Only the first counts.
  void Violation(std::string what) {
    base::MutexLock lock(mutex_);
    if (violation_.empty()) violation_ = std::move(what);
  }
  std::string violation() const {
    base::MutexLock lock(mutex_);
    return violation_;
  }

  const std::map<std::string, Row>& rows() const { return rows_; }
  Row Total() const;
  // As a table.
  void Print() const;
  // Those of `expected` that never came.
  std::vector<std::string> Missing(std::span<const std::string_view> expected) const;

 private:
  std::string phase_;
  std::map<std::string, Row> rows_;
  std::unordered_set<uint64_t> seen_;
  mutable base::Mutex mutex_;
  std::string violation_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::crash_points

#endif  // CAIRN_TEST_CRASH_POINTS_REPORT_H_
