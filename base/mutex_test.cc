#include "base/mutex.h"

#include <gtest/gtest.h>

#include <thread>

namespace cairn::base {
namespace {

TEST(MutexTest, ConditionVariableHandsOver) {
  Mutex mutex;
  ConditionVariable changed;
  int turn = 0;
  std::thread other([&] {
    MutexLock lock(mutex);
    while (turn != 1) changed.Wait(mutex);
    turn = 2;
    changed.SignalAll();
  });
  {
    MutexLock lock(mutex);
    turn = 1;
    changed.SignalAll();
    while (turn != 2) changed.Wait(mutex);
  }
  other.join();
  EXPECT_EQ(turn, 2);
}

TEST(MutexTest, WaitUntilReportsThePassedDeadline) {
  Mutex mutex;
  ConditionVariable never;
  MutexLock lock(mutex);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(1);
  while (never.WaitUntil(mutex, deadline)) {
  }
  EXPECT_GE(std::chrono::steady_clock::now(), deadline);
}

}  // namespace
}  // namespace cairn::base
