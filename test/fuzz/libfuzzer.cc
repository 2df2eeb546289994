// Fuzz() as libFuzzer wants it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "test/fuzz/fuzz.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cairn::test::Fuzz({reinterpret_cast<const char*>(data), size});
  return 0;
}

// Begins anew from a seed now and then, so that no corpus needs to be kept beside the code.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  static const auto* const seeds = new std::vector<std::string>(cairn::test::FuzzSeeds());
  constexpr unsigned kOneIn = 64;
  if (seed % kOneIn == 0) {
    const std::string& begin = (*seeds)[seed / kOneIn % seeds->size()];
    size = std::min(begin.size(), max_size);
    std::memcpy(data, begin.data(), size);
  }
  return LLVMFuzzerMutate(data, size, max_size);
}
