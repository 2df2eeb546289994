#include "test/differential/rules.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace cairn::test {
namespace {

// What checking the taken path of a transaction can find.
constexpr std::array<std::string_view, 4> kTxnFaults = {
    "etcdserver: key not found",
    "etcdserver: requested lease not found",
    "etcdserver: mvcc: required revision has been compacted",
    "etcdserver: mvcc: required revision is a future revision",
};

bool IsTxnFault(const Outcome& outcome) {
  return outcome.code != 0 && std::count(kTxnFaults.begin(), kTxnFaults.end(), outcome.text) != 0;
}

}  // namespace

bool AreFaultsOfOneTxn(const Outcome& a, const Outcome& b) {
  return IsTxnFault(a) && IsTxnFault(b);
}

ReferenceRules RulesOf(const EtcdVersion& version) {
  const bool is_3_4 = version.major == 3 && version.minor == 4;
  const bool is_3_5 = version.major == 3 && version.minor == 5;
  return {
      .refuses_unknown_sort = version >= EtcdVersion{3, 6, 0},
      .keys_only_drops_lease = version >= EtcdVersion{3, 7, 0},
      .has_range_stream = version >= EtcdVersion{3, 7, 0},
      .has_hash_revision = version >= EtcdVersion{3, 6, 0},
      .checks_txn_in_order = version >= EtcdVersion{3, 6, 0},
      .keeps_deletion_at_compaction =
          version >= EtcdVersion{3, 5, 16} || (is_3_4 && version.patch >= 34),
      .refuses_negative_start = version >= EtcdVersion{3, 6, 6},
      .withholds_before_start = version >= EtcdVersion{3, 6, 2} ||
                                (is_3_5 && version.patch >= 22) || (is_3_4 && version.patch >= 38),
  };
}

}  // namespace cairn::test
