#include "test/bench/lease_load.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>

#include "base/status.h"
#include "test/bench/echo_service.h"
#include "test/bench/echo_streams.h"

namespace cairn::bench {
namespace {

class LeaseLoadTest : public testing::Test {
 protected:
  LeaseLoadTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&puts_);
    builder.RegisterService(&leases_);
    server_ = builder.BuildAndStart();
    options_.endpoint = fmt::format("127.0.0.1:{}", port);
  }
  ~LeaseLoadTest() override { server_->Shutdown(); }

  EchoService puts_;
  EchoLeaseService leases_;
  std::unique_ptr<grpc::Server> server_;
  Options options_;
};

TEST_F(LeaseLoadTest, RenewsOnHeldStreams) {
  options_.operation = Operation::kHeldKeepAlive;
  options_.connections = 2;
  options_.streams = 7;
  options_.leases = 3;
  options_.warmup_total = 20;
  options_.total = 100;
  options_.server_pids = {getpid()};
  const auto report = RunHeldKeepAlive(options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->errors, 0u);
  EXPECT_GE(report->requests, 100u);
  EXPECT_EQ(report->latency_ns.count(), report->requests);
  EXPECT_GT(report->response_bytes, 0u);
}

TEST_F(LeaseLoadTest, ExpiryWithoutGrantsIsNoMeasurement) {
  options_.operation = Operation::kExpiry;
  options_.leases = 10;
  options_.key_size_bytes = 16;
  const auto report = RunExpiry(options_);
  EXPECT_EQ(report.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(base::Message(report.status()).starts_with("10 calls failed, first 12:"))
      << report.status();
}

TEST_F(LeaseLoadTest, AStreamThatEndsIsNoMeasurement) {
  options_.operation = Operation::kHeldKeepAlive;
  options_.total = 1;
  server_->Shutdown();
  EXPECT_EQ(RunHeldKeepAlive(options_).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace cairn::bench
