// Seeds that found something, and what: run before any others.
//
// A seed means what it means only as long as a run draws the same numbers in the same order. When
// that changes, a seed here is one more random one; the bug itself has a test of its own beside the
// code.
#ifndef CAIRN_TEST_SIM_REGRESSIONS_H_
#define CAIRN_TEST_SIM_REGRESSIONS_H_

#include <array>
#include <cstdint>
#include <string_view>

namespace cairn::sim {

struct Regression {
  uint64_t seed = 0;
  int steps = 0;
  std::string_view found;
};

inline constexpr std::array kRegressions = {
    Regression{6, 3000,
               "a failed read of the log sent a leader's search for a follower's end back to entry "
               "1, and so for a snapshot (progress_test.cc)"},
};

}  // namespace cairn::sim

#endif  // CAIRN_TEST_SIM_REGRESSIONS_H_
