// The seeded source of choices of one test run. The same seed gives the same choices on
// every machine: it uses no distribution of the standard library. Not thread-safe.
#ifndef CAIRN_TEST_HARNESS_RANDOM_H_
#define CAIRN_TEST_HARNESS_RANDOM_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>

#include "base/check.h"

namespace cairn::test {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  // One of 0..limit-1, each about as likely. The bias of the remainder does not matter here.
  int64_t Below(int64_t limit) {
    CAIRN_CHECK_GT(limit, 0);
    return static_cast<int64_t>(engine_() % static_cast<uint64_t>(limit));
  }
  // One of first..last, both included.
  int64_t Between(int64_t first, int64_t last) { return first + Below(last - first + 1); }
  // True in `percent` of a hundred cases.
  bool Chance(int percent) { return Below(100) < percent; }
  // True once in `count` cases.
  bool OneIn(int64_t count) { return Below(count) == 0; }
  // A text of arbitrary bytes.
  std::string Bytes(size_t size) {
    std::string bytes(size, '\0');
    for (char& byte : bytes) byte = static_cast<char>(Below(256));
    return bytes;
  }
  template <typename Container>
  const auto& Pick(const Container& container) {
    return container[static_cast<size_t>(Below(static_cast<int64_t>(std::size(container))))];
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace cairn::test

#endif  // CAIRN_TEST_HARNESS_RANDOM_H_
