// What a fuzz target is: a function that must survive any bytes, and inputs to begin with.
//
// Each target is linked twice: with libFuzzer (--config=fuzz), and with a driver that plays the
// seeds and a fixed number of mutations of them in every test run, so that targets never rot.
#ifndef CAIRN_TEST_FUZZ_FUZZ_H_
#define CAIRN_TEST_FUZZ_FUZZ_H_

#include <string>
#include <string_view>
#include <vector>

namespace cairn::test {

// Crashes (a check, a sanitizer) when something is wrong. Depends on nothing but `input`, so that
// what was found can be played again.
void Fuzz(std::string_view input);

// Valid inputs, from which the fuzzer also starts.
std::vector<std::string> FuzzSeeds();

}  // namespace cairn::test

#endif  // CAIRN_TEST_FUZZ_FUZZ_H_
