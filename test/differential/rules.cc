#include "test/differential/rules.h"

namespace cairn::test {

ReferenceRules RulesOf(const EtcdVersion& version) {
  const bool is_3_4 = version.major == 3 && version.minor == 4;
  return {
      .refuses_unknown_sort = version >= EtcdVersion{3, 6, 0},
      .keys_only_drops_lease = version >= EtcdVersion{3, 7, 0},
      .has_range_stream = version >= EtcdVersion{3, 7, 0},
      .has_hash_revision = version >= EtcdVersion{3, 6, 0},
      .keeps_deletion_at_compaction =
          version >= EtcdVersion{3, 5, 16} || (is_3_4 && version.patch >= 34),
  };
}

}  // namespace cairn::test
