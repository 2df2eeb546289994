// A small source of chance, seeded by the caller.
//
// SplitMix64: every seed is good, neighbouring seeds give unrelated sequences, and the same seed
// gives the same sequence on every machine, which is what makes a simulated run repeatable.
#ifndef CAIRN_BASE_RANDOM_H_
#define CAIRN_BASE_RANDOM_H_

#include <cstdint>

namespace cairn::base {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    state_ += 0x9e3779b97f4a7c15;
    uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
  }

  // In [0, limit), as even as small limits need it. REQUIRES: limit > 0.
  uint64_t Below(uint64_t limit) { return Next() % limit; }

 private:
  uint64_t state_;
};

}  // namespace cairn::base

#endif  // CAIRN_BASE_RANDOM_H_
