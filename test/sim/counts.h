// What can happen in a run, and how often it did.
#ifndef CAIRN_TEST_SIM_COUNTS_H_
#define CAIRN_TEST_SIM_COUNTS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace cairn::sim {

// First what members and clients do, then faults. A name per line in counts.cc.
enum class What : uint8_t {
  kApplied,
  kAcknowledged,
  kRefused,
  kForwardRefused,
  kRead,
  kElection,
  kTransfer,
  kReplay,
  kLogRead,
  kFlush,
  kSegmentRemoved,
  kCompaction,
  kRemovalStep,
  kSnapshotSent,
  kSnapshotInstalled,
  kSnapshotNotWanted,
  kVoterAdded,
  kLearnerAdded,
  kPromoted,
  kRemoved,
  kJointChange,
  kJoined,
  kLeaseGranted,
  kLeaseRenewed,
  kLeaseForwarded,
  kEndedLeaseAsked,
  kLeaseExpired,
  kLeaseRevoked,
  kLeaseCheckpointed,
  kWatchCreated,
  kWatchEvent,
  kWatchProgress,
  kWatchCompacted,
  kWatchResumed,
  kWatchHistory,
  // Faults.
  kLost,
  kRepeated,
  kLate,
  kOneWayCut,
  kPairCut,
  kIsolated,
  kSplit,
  kClogged,
  kKilled,
  kPowerCut,
  kPowerCutOfAll,
  kPaused,
  kLostTicks,
  kClockChanged,
  kSlowDisk,
  kFullDisk,
  kSlowApply,
  kTornTail,
  kBitFlipped,
  kFlipRefused,
  kFailedLogRead,
  kSnapshotFailed,
  kInstallCut,
  kSlowClient,
  kLogStalled,
};
inline constexpr What kFirstFault = What::kLost;
inline constexpr size_t kWhats = static_cast<size_t>(What::kLogStalled) + 1;

std::string_view NameOf(What what);

class Counts {
 public:
  void Add(What what, uint64_t count = 1) { counts_[static_cast<size_t>(what)] += count; }
  void Add(const Counts& other) {
    for (size_t i = 0; i < kWhats; ++i) counts_[i] += other.counts_[i];
  }
  uint64_t of(What what) const { return counts_[static_cast<size_t>(what)]; }
  // Two lines of names and numbers: what was done, and what went wrong.
  std::string Text() const;
  // The names of what never happened.
  std::string Missing() const;

 private:
  std::array<uint64_t, kWhats> counts_ = {};
};

}  // namespace cairn::sim

#endif  // CAIRN_TEST_SIM_COUNTS_H_
