#include "server/rpc/grpc_threads.h"

#include <grpc/support/cpu.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "server/rpc/grpc_engine_fixture.h"
#include "server/rpc/grpc_test_client.h"

namespace cairn::rpc {
namespace {

// For as long as nothing happens, which is what is wanted here.
void Pause(std::chrono::milliseconds duration) {
  base::Mutex mutex;
  base::ConditionVariable never;
  const auto end = std::chrono::steady_clock::now() + duration;
  base::MutexLock lock(mutex);
  while (never.WaitUntil(mutex, end)) {
  }
}

// The rule of gRPC without its floor of two; from four cores on it has none.
TEST_F(GrpcEngineTest, HalfTheCoresTakeCalls) {
  std::atomic<unsigned> running{0};
  std::atomic<unsigned> running_max{0};
  table_.AddUnary("test.S", "Count", [&](std::unique_ptr<UnaryCall> call) {
    running_max = std::max<unsigned>(running_max, ++running);
    // Long enough for another call to come, which a second thread would begin.
    Pause(std::chrono::milliseconds(1));
    --running;
    call->Finish(SliceList());
  });
  StartEngine();
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&] {
      TestClient client(Target());
      for (int call = 0; call < 100; ++call) EXPECT_TRUE(client.Unary("/test.S/Count", "").ok());
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_LE(running_max, std::max(gpr_cpu_num_cores() / 2, 1u));
}

// Left alone, every thread would sleep for a tenth of a second, a second after the last call.
TEST_F(GrpcEngineTest, IsAwakeAfterASecondOfNothing) {
  StartEngine();
  TestClient client(Target());
  auto shortest = std::chrono::steady_clock::duration::max();
  for (int round = 0; round < 4; ++round) {
    EXPECT_TRUE(client.Unary("/test.S/Echo", "").ok());
    Pause(std::chrono::milliseconds(1010));
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_TRUE(client.Unary("/test.S/Echo", "").ok());
    shortest = std::min(shortest, std::chrono::steady_clock::now() - begin);
  }
  EXPECT_LT(shortest, std::chrono::milliseconds(50));
}

}  // namespace
}  // namespace cairn::rpc
