#include "test/sim/lease_ledger.h"

#include <fmt/format.h>

#include <algorithm>

namespace cairn::sim {
namespace {

// Members count whole milliseconds.
constexpr Microseconds kRounding = 2 * kMillisecond;

}  // namespace

void LeaseLedger::Proposed(LeaseId id, int64_t ttl_s) {
  leases_[id] = {.ttl = ttl_s * kSecond, .promised_from = {}, .ended = {}};
}

// A leader that was deposed renews for up to an election timeout by its own clock, and the next one
// adds as much by its own: what they differ by is lost.
Microseconds LeaseLedger::AtLeast(Microseconds ttl) const {
  if (temper_.clocks == Clocks::kWild) return 0;
  if (temper_.clocks == Clocks::kExact) return ttl - kRounding;
  return ttl * 100 / 105 - temper_.election_timeout() / 8 - kRounding;
}

std::string LeaseLedger::Compare(LeaseId id, const Lease& lease) const {
  if (!lease.promised_from.has_value() || !lease.ended.has_value() || lease.is_revoked) return {};
  if (temper_.clocks == Clocks::kWild) return {};
  const Microseconds lived = *lease.ended - *lease.promised_from;
  if (lived >= AtLeast(lease.ttl)) return {};
  return fmt::format("lease {} of {} ms was promised {} ms before it ended", id,
                     lease.ttl / kMillisecond, lived / kMillisecond);
}

std::string LeaseLedger::Promised(LeaseId id, Microseconds from) {
  Lease& lease = leases_.at(id);
  lease.promised_from = std::max(lease.promised_from.value_or(from), from);
  return Compare(id, lease);
}

std::string LeaseLedger::Denied(LeaseId id, Microseconds asked) const {
  const Lease& lease = leases_.at(id);
  if (lease.ended.has_value() || !lease.promised_from.has_value()) return {};
  if (*lease.promised_from >= asked || lease.is_revoked) return {};
  return fmt::format("lease {} is denied although it has not ended", id);
}

std::string LeaseLedger::Ended(LeaseId id, Microseconds now) {
  const auto found = leases_.find(id);
  if (found == leases_.end() || found->second.ended.has_value()) return {};
  found->second.ended = now;
  return Compare(id, found->second);
}

std::vector<LeaseId> LeaseLedger::EverPromised() const {
  std::vector<LeaseId> promised;
  for (const auto& [id, lease] : leases_) {
    if (lease.promised_from.has_value()) promised.push_back(id);
  }
  return promised;
}

std::vector<LeaseId> LeaseLedger::Alive() const {
  std::vector<LeaseId> alive = EverPromised();
  std::erase_if(alive, [&](LeaseId id) { return HasEnded(id); });
  return alive;
}

}  // namespace cairn::sim
