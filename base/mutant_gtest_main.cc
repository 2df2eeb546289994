// Runs the tests of a program in which a rule is broken (raft/mutants.bzl): exit code 0 when one of
// them fails, or a check stops it, 1 when all pass.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace {

extern "C" void StoppedByCheck(int) {
  std::puts("caught: a check stops it");
  std::fflush(stdout);
  std::_Exit(EXIT_SUCCESS);
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  std::signal(SIGABRT, StoppedByCheck);
  const bool is_caught = RUN_ALL_TESTS() != 0;
  std::puts(is_caught ? "caught: a test fails" : "not caught");
  return is_caught ? EXIT_SUCCESS : EXIT_FAILURE;
}
