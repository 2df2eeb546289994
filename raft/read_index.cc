#include "raft/read_index.h"

#include <utility>

#include "base/check.h"

namespace cairn::raft {

bool ReadRounds::Add(ReadRequest request) {
  if (waiting_.size() >= kWaitingMax) return false;
  waiting_.push_back(request);
  return true;
}

uint64_t ReadRounds::Start(uint64_t tick, Index commit, bool takes_reads) {
  ++last_round_;
  if (sent_.empty() || sent_.back().tick != tick) sent_.push_back({last_round_, tick});
  sent_.back().last_round = last_round_;
  if (takes_reads && !waiting_.empty()) {
    batches_.push_back({last_round_, commit, std::exchange(waiting_, {})});
  }
  return last_round_;
}

std::vector<ConfirmedRead> ReadRounds::Confirm(uint64_t round) {
  std::vector<ConfirmedRead> confirmed;
  CAIRN_CHECK_LE(round, last_round_);
  if (round <= confirmed_round_) return confirmed;
  confirmed_round_ = round;
  while (!sent_.empty()) {
    confirmed_tick_ = sent_.front().tick;
    if (sent_.front().last_round > round) break;  // The rest of that tick is still open.
    const bool is_exact = sent_.front().last_round == round;
    sent_.pop_front();
    if (is_exact) break;
  }
  while (!batches_.empty() && batches_.front().round <= round) {
    for (const ReadRequest& request : batches_.front().requests) {
      confirmed.push_back({request, batches_.front().index});
    }
    batches_.pop_front();
  }
  return confirmed;
}

std::vector<ReadRequest> ReadRounds::TakeAll() {
  std::vector<ReadRequest> all;
  for (Batch& batch : batches_) {
    all.insert(all.end(), batch.requests.begin(), batch.requests.end());
  }
  batches_.clear();
  all.insert(all.end(), waiting_.begin(), waiting_.end());
  waiting_.clear();
  return all;
}

}  // namespace cairn::raft
