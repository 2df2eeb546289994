#include "server/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <thread>
#include <vector>

namespace cairn::server {
namespace {

// Keeps one thread of a pool busy from its making on.
class Blocker {
 public:
  explicit Blocker(WorkerPool& pool) {
    WorkerPool::Task task = [this] {
      started_.set_value();
      go_.get_future().wait();
    };
    EXPECT_TRUE(pool.Run(task));
    started_.get_future().wait();
  }
  void Release() { go_.set_value(); }

 private:
  std::promise<void> go_, started_;
};

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

TEST(WorkerPoolTest, TakesAsManyAsThereIsRoomFor) {
  std::promise<void> done;
  WorkerPool pool(1, 3);
  Blocker blocker(pool);
  std::vector<int> ran;
  std::vector<WorkerPool::Task> tasks;
  for (int i = 0; i < 5; ++i) {
    tasks.push_back([&, i] {
      ran.push_back(i);
      if (i == 2) done.set_value();
    });
  }
  EXPECT_EQ(pool.RunAll(tasks), 3u);
  blocker.Release();
  done.get_future().wait();
  EXPECT_EQ(ran, (std::vector<int>{0, 1, 2}));
  tasks[3]();
  EXPECT_EQ(ran.back(), 3);
  pool.Stop();
  EXPECT_EQ(pool.RunAll(tasks), 0u);
}

TEST(WorkerPoolTest, RefusesWhenFullAndKeepsTheTask) {
  WorkerPool pool(1, 1);
  Blocker blocker(pool);
  WorkerPool::Task queued = [] {};
  ASSERT_TRUE(pool.Run(queued));
  bool ran = false;
  WorkerPool::Task refused = [&] { ran = true; };
  EXPECT_FALSE(pool.Run(refused));
  refused();
  EXPECT_TRUE(ran);
  blocker.Release();
  pool.Stop();
  WorkerPool::Task late = [] {};
  EXPECT_FALSE(pool.Run(late));
}

}  // namespace
}  // namespace cairn::server
