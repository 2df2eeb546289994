#include "server/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <thread>

namespace cairn::server {
namespace {

TEST(WorkerPoolTest, RunsEverything) {
  std::atomic<int> ran = 0;
  std::promise<void> all;
  WorkerPool pool(3, 1000);
  for (int i = 0; i < 500; ++i) {
    WorkerPool::Task task = [&] {
      if (++ran == 500) all.set_value();
    };
    ASSERT_TRUE(pool.Run(task));
  }
  all.get_future().wait();
}

TEST(WorkerPoolTest, StopFinishesWhatRunsAndDropsWhatIsQueued) {
  std::promise<void> go, started;
  auto held = std::make_shared<int>(0);
  WorkerPool pool(1, 10);
  WorkerPool::Task running = [&] {
    started.set_value();
    go.get_future().wait();
    ++*held;
  };
  ASSERT_TRUE(pool.Run(running));
  started.get_future().wait();
  WorkerPool::Task queued = [held] { *held += 100; };
  ASSERT_TRUE(pool.Run(queued));
  std::thread stopper([&] { pool.Stop(); });
  while (held.use_count() > 1) std::this_thread::yield();
  go.set_value();
  stopper.join();
  EXPECT_EQ(*held, 1);
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
