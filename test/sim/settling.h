// The end of a run: no more faults, and everybody must come to agree.
//
// Then all of them lose their power at once and must come back with the same (in some runs), and
// every lease that nobody renews any more must end (in some).
#ifndef CAIRN_TEST_SIM_SETTLING_H_
#define CAIRN_TEST_SIM_SETTLING_H_

#include <string>
#include <vector>

#include "test/sim/cluster.h"

namespace cairn::sim {

class Settling {
 public:
  explicit Settling(Cluster& cluster) : cluster_(cluster) {}

  Verdict Run();

 private:
  // False: it takes too long, and the cluster's finding says so.
  bool Settle();
  void StartAll();
  std::vector<Member*> MembersOf(Member& leader);
  bool IsSettled();
  void Compare();
  void CompareWith(Member& first, Member& other);
  bool RemoveAll(Member& member);
  std::string Describe();

  Cluster& cluster_;
  bool awaits_leases_ = false;
};

}  // namespace cairn::sim

#endif  // CAIRN_TEST_SIM_SETTLING_H_
