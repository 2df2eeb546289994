// An engine on a loopback port with a few services to call, for the tests of the engine. Test only.
#ifndef CAIRN_SERVER_RPC_GRPC_ENGINE_FIXTURE_H_
#define CAIRN_SERVER_RPC_GRPC_ENGINE_FIXTURE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "server/rpc/grpc_engine.h"
#include "server/rpc/service_table.h"

namespace cairn::rpc {

inline constexpr std::chrono::seconds kPatience(30);

// Calls that a handler put aside, for the test to finish.
template <typename T>
class Parked {
 public:
  void Put(T call) {
    base::MutexLock lock(mutex_);
    calls_.push_back(std::move(call));
    changed_.SignalAll();
  }
  // Waits for `count` calls; fewer if they do not come.
  std::vector<T> Take(size_t count) {
    const auto limit = std::chrono::steady_clock::now() + kPatience;
    base::MutexLock lock(mutex_);
    while (calls_.size() < count && changed_.WaitUntil(mutex_, limit)) {
    }
    EXPECT_EQ(calls_.size(), count);
    return std::exchange(calls_, {});
  }

 private:
  base::Mutex mutex_;
  base::ConditionVariable changed_;
  std::vector<T> calls_ ABSL_GUARDED_BY(mutex_);
};

class GrpcEngineTest : public testing::Test {
 protected:
  GrpcEngineTest() {
    table_.AddUnary("test.S", "Echo", [](std::unique_ptr<UnaryCall> call) {
      call->Finish(SliceList(std::string(call->request())));
    });
    table_.AddUnary("test.S", "Park",
                    [this](std::unique_ptr<UnaryCall> call) { parked_.Put(std::move(call)); });
    table_.AddUnary("test.S", "Drop", [](std::unique_ptr<UnaryCall>) {});
    table_.AddStream("test.S", "ParkStream",
                     [this](std::shared_ptr<StreamCall> call) { streams_.Put(std::move(call)); });
    table_.AddStream("test.S", "DropStream", [](std::shared_ptr<StreamCall>) {});
    table_.AddStream("test.S", "EchoStream",
                     [](std::shared_ptr<StreamCall> call) { EchoNext(std::move(call)); });
  }

  // Every engine ends soon: none waits for gRPC's own threads, one of which looks up every 10 s
  // only.
  void TearDown() override {
    const auto begin = std::chrono::steady_clock::now();
    engine_.reset();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  }

  void StartEngine(GrpcEngineOptions options = {}) {
    if (options.listen.empty()) options.listen = {{.address = "127.0.0.1:0", .flag = "--listen"}};
    auto engine = GrpcEngine::Start(table_, options);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }
  std::string Target(size_t i = 0) const {
    return fmt::format("127.0.0.1:{}", engine_->ports()[i]);
  }

  static void EchoNext(std::shared_ptr<StreamCall> call) {
    StreamCall& stream = *call;
    stream.Read([call = std::move(call)](ReadResult result, std::string_view message) {
      if (result == ReadResult::kMessage) {
        call->Write(SliceList(std::string(message)));
        EchoNext(call);
        return;
      }
      if (result == ReadResult::kEnd) call->Write(SliceList(std::string("farewell")));
      call->Finish(absl::OkStatus());
    });
  }

  Parked<std::unique_ptr<UnaryCall>> parked_;
  Parked<std::shared_ptr<StreamCall>> streams_;
  ServiceTable table_;
  std::unique_ptr<GrpcEngine> engine_;
};

// A plain connection to the port.
inline int ConnectRaw(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_GE(fd, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  return fd;
}

}  // namespace cairn::rpc

#endif  // CAIRN_SERVER_RPC_GRPC_ENGINE_FIXTURE_H_
