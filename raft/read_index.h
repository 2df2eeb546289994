// Heartbeat rounds, and the reads that each of them confirms (thesis 6.4).
//
// Owned by the leader's role. Every heartbeat broadcast is a round; rounds are counted per term,
// and an answer to a round proves that the sender still follows this leader at a moment after the
// round was sent. So one counter and the ordinary quorum arithmetic confirm both reads and the
// leadership itself. Reads wait for a round that is not yet sent and share it, however many they
// are; rounds may overlap. Decides nothing about messages.
#ifndef CAIRN_RAFT_READ_INDEX_H_
#define CAIRN_RAFT_READ_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "base/ids.h"

namespace cairn::raft {

struct ReadRequest {
  MemberId from;  // The member that asked; may be this one.
  uint64_t context = 0;
};

struct ConfirmedRead {
  ReadRequest request;
  Index index;
};

class ReadRounds {
 public:
  // Waits for the next round. Returns false, taking nothing, when too many wait already.
  bool Add(ReadRequest request);

  bool has_waiting() const { return !waiting_.empty(); }
  // Whether the waiting reads are worth a round of their own now. When many rounds are out they
  // wait for the next heartbeat interval, so that a silent quorum is not flooded.
  bool WantsRound() const { return !waiting_.empty() && batches_.size() < kOverlapMax; }

  // A new round is being sent at `tick`. If `takes_reads`, all waiting reads join it, to be
  // answered with `commit`. Returns its number, above all earlier ones.
  uint64_t Start(uint64_t tick, Index commit, bool takes_reads);

  // A quorum has answered `round`: returns the reads of all rounds through it.
  std::vector<ConfirmedRead> Confirm(uint64_t round);

  uint64_t last_round() const { return last_round_; }
  uint64_t confirmed_round() const { return confirmed_round_; }
  // The tick at which the confirmed round was sent. REQUIRES: confirmed_round() > 0.
  uint64_t confirmed_tick() const { return confirmed_tick_; }

  // Everything not confirmed, waiting ones too: leadership ends.
  std::vector<ReadRequest> TakeAll();

 private:
  static constexpr size_t kOverlapMax = 16;
  // A context is one request of the shell, which batches its clients: far more than are ever used.
  static constexpr size_t kWaitingMax = 65536;

  struct Batch {
    uint64_t round;
    Index index;
    std::vector<ReadRequest> requests;
  };
  struct SentAt {
    uint64_t last_round;  // The last one sent during `tick`.
    uint64_t tick;
  };

  uint64_t last_round_ = 0;
  uint64_t confirmed_round_ = 0;
  uint64_t confirmed_tick_ = 0;
  std::vector<ReadRequest> waiting_;
  std::deque<Batch> batches_;  // Ascending by round.
  std::deque<SentAt> sent_;    // Unconfirmed; one a tick, so bounded by the election timeout.
};

}  // namespace cairn::raft

#endif  // CAIRN_RAFT_READ_INDEX_H_
