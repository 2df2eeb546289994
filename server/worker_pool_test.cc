#include "server/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

namespace cairn::server {
namespace {

TEST(WorkerPoolTest, RunsEverythingBeforeItStops) {
  std::atomic<int> ran = 0;
  {
    WorkerPool pool(3, 1000);
    for (int i = 0; i < 500; ++i) {
      WorkerPool::Task task = [&] { ++ran; };
      ASSERT_TRUE(pool.Run(task));
    }
  }
  EXPECT_EQ(ran, 500);
}

TEST(WorkerPoolTest, RefusesWhenFullAndKeepsTheTask) {
  std::promise<void> go, started;
  WorkerPool pool(1, 1);
  WorkerPool::Task blocker = [&] {
    started.set_value();
    go.get_future().wait();
  };
  ASSERT_TRUE(pool.Run(blocker));
  started.get_future().wait();
  WorkerPool::Task queued = [] {};
  ASSERT_TRUE(pool.Run(queued));
  bool ran = false;
  WorkerPool::Task refused = [&] { ran = true; };
  EXPECT_FALSE(pool.Run(refused));
  refused();
  EXPECT_TRUE(ran);
  go.set_value();
  pool.Stop();
  WorkerPool::Task late = [] {};
  EXPECT_FALSE(pool.Run(late));
}

}  // namespace
}  // namespace cairn::server
