// What clients were promised of leases, and when leases ended: none may end early.
//
// Time here is the simulated one, which no member sees.
#ifndef CAIRN_TEST_SIM_LEASE_LEDGER_H_
#define CAIRN_TEST_SIM_LEASE_LEDGER_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "test/sim/temper.h"

namespace cairn::sim {

class LeaseLedger {
 public:
  explicit LeaseLedger(const Temper& temper) : temper_(temper) {}

  // A grant is on its way.
  void Proposed(LeaseId id, int64_t ttl_s);
  void RevocationProposed(LeaseId id) { leases_.at(id).is_revoked = true; }
  // Answered: the lease lasts its whole time from `from` on, or longer. Each returns what is wrong.
  std::string Promised(LeaseId id, Microseconds from);
  // "There is no such lease", asked at `asked`.
  std::string Denied(LeaseId id, Microseconds asked) const;
  // An entry that ended it was applied for the first time.
  std::string Ended(LeaseId id, Microseconds now);

  bool HasEnded(LeaseId id) const {
    const auto found = leases_.find(id);
    return found != leases_.end() && found->second.ended.has_value();
  }
  bool IsRevoked(LeaseId id) const {
    const auto found = leases_.find(id);
    return found != leases_.end() && found->second.is_revoked;
  }
  // Leases that were acknowledged, ended or not.
  std::vector<LeaseId> EverPromised() const;
  // Those that have not ended.
  std::vector<LeaseId> Alive() const;
  size_t size() const { return leases_.size(); }

 private:
  struct Lease {
    Microseconds ttl = 0;
    // The last promise was made for a time that begins here.
    std::optional<Microseconds> promised_from;
    std::optional<Microseconds> ended;
    // Somebody asked for its end, so it may end at any time.
    bool is_revoked = false;
  };

  // What is left of a time to live when clocks differ as far as they may.
  Microseconds AtLeast(Microseconds ttl) const;
  std::string Compare(LeaseId id, const Lease& lease) const;

  const Temper& temper_;
  std::map<LeaseId, Lease> leases_;
};

}  // namespace cairn::sim

#endif  // CAIRN_TEST_SIM_LEASE_LEDGER_H_
