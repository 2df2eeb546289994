// The server under test, for tests that link :test_main; see target.h for the flags.
#ifndef CAIRN_TEST_HARNESS_TEST_MAIN_H_
#define CAIRN_TEST_HARNESS_TEST_MAIN_H_

#include "test/harness/target.h"

namespace cairn::test {

// Valid from the start of main() on.
const Target& ServerUnderTest();

}  // namespace cairn::test

#endif  // CAIRN_TEST_HARNESS_TEST_MAIN_H_
