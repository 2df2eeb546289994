#include "base/mutex.h"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
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

TEST(MutexTest, SignalBehindWakesOnceTheMutexIsFree) {
  Mutex mutex;
  ConditionVariable first;
  ConditionVariable second;
  int turn = 0;
  const auto wait_for = [&](ConditionVariable& changed, int wanted) {
    MutexLock lock(mutex);
    while (turn < wanted) changed.Wait(mutex);
  };
  std::thread one(wait_for, std::ref(first), 1);
  std::thread two(wait_for, std::ref(second), 1);
  {
    MutexLock lock(mutex);
    turn = 1;
    // None is lost when there are two.
    mutex.SignalBehind(first);
    mutex.SignalBehind(second);
  }
  one.join();
  two.join();
}

TEST(MutexTest, SignalBehindWakesWhenTheMutexIsLetGoForAWait) {
  Mutex mutex;
  ConditionVariable asked;
  ConditionVariable answered;
  int turn = 0;
  std::thread other([&] {
    MutexLock lock(mutex);
    while (turn != 1) asked.Wait(mutex);
    turn = 2;
    mutex.SignalBehind(answered);
  });
  {
    MutexLock lock(mutex);
    turn = 1;
    mutex.SignalBehind(asked);
    while (turn != 2) answered.Wait(mutex);
    turn = 1;
    mutex.SignalBehind(asked);
    EXPECT_FALSE(answered.WaitUntil(mutex, std::chrono::steady_clock::now()));
  }
  other.join();
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
