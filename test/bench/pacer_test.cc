#include "test/bench/pacer.h"

#include <gtest/gtest.h>

namespace cairn::bench {
namespace {

using std::chrono::steady_clock;

TEST(Pacer, WakesNotBeforeTheTime) {
  grpc::CompletionQueue queue;
  {
    Pacer pacer(queue);
    for (const int wait_us : {0, 200, 3000, -5}) {
      const auto time = steady_clock::now() + std::chrono::microseconds(wait_us);
      pacer.WakeAt(time);
      void* tag = nullptr;
      bool ok = false;
      ASSERT_TRUE(queue.Next(&tag, &ok));
      EXPECT_EQ(tag, &pacer);
      EXPECT_GE(steady_clock::now(), time);
    }
  }
  queue.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  EXPECT_FALSE(queue.Next(&tag, &ok));
}

}  // namespace
}  // namespace cairn::bench
