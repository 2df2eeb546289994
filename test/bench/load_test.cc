#include "test/bench/load.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "base/status.h"
#include "test/bench/echo_service.h"

namespace cairn::bench {
namespace {

// A server in this process, and options that reach it. What is counted is tested, never how fast.
class LoadTest : public testing::Test {
 protected:
  LoadTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    options_.endpoint = fmt::format("127.0.0.1:{}", port);
    options_.key_size_bytes = 12;
    options_.key_space = 1000;
  }
  ~LoadTest() override { server_->Shutdown(); }

  EchoService service_;
  std::unique_ptr<grpc::Server> server_;
  Options options_;
};

TEST_F(LoadTest, SendsExactlyTheTotal) {
  options_.clients = 7;
  options_.connections = 3;
  options_.total = 100;
  options_.server_pids = {getpid()};
  const auto report = RunLoad(options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->requests, 100u);
  EXPECT_EQ(report->errors, 0u);
  EXPECT_EQ(report->latency_ns.count(), 100u);
  EXPECT_EQ(report->answer.revision, 12);  // the echo of the key's size
  EXPECT_GT(report->response_bytes, 0u);
  EXPECT_TRUE(report->server_cpu_ns.has_value());
}

TEST_F(LoadTest, FewerRequestsThanClients) {
  options_.clients = 50;
  options_.total = 3;
  const auto report = RunLoad(options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->requests, 3u);
}

TEST_F(LoadTest, TheWarmUpIsNotCounted) {
  options_.clients = 4;
  options_.warmup_total = 50;
  options_.total = 20;
  const auto report = RunLoad(options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->requests, 20u);
  EXPECT_EQ(report->latency_ns.count(), 20u);
}

TEST_F(LoadTest, AnOpenLoopSendsItsTotalToo) {
  options_.rate = 100'000;
  options_.clients = 5;
  options_.total = 200;
  const auto report = RunLoad(options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->requests, 200u);
}

TEST_F(LoadTest, AnOpenLoopThatSleepsSendsAtItsRate) {
  options_.rate = 2000;
  options_.sleeps = true;
  options_.clients = 5;
  options_.total = 200;
  auto report = RunLoad(options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->requests, 200u);
  EXPECT_GE(report->seconds, 0.099);

  options_.total = 0;
  options_.warmup_ms = 10;
  options_.duration_ms = 50;
  report = RunLoad(options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_GT(report->requests, 0u);
}

TEST_F(LoadTest, ErrorsAreCountedAndNamed) {
  options_.operation = Operation::kHashKv;
  options_.total = 5;
  auto report = RunLoad(options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->requests, 0u);
  EXPECT_EQ(report->errors, 5u);
  EXPECT_TRUE(report->first_error.starts_with("12:")) << report->first_error;

  for (const Operation streamed : {Operation::kRangeStream, Operation::kSnapshot}) {
    options_.operation = streamed;
    report = RunLoad(options_);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->errors, 5u);
  }
}

TEST_F(LoadTest, AWrongCountIsNoMeasurement) {
  options_.operation = Operation::kGet;
  options_.total = 1;
  options_.expect_count = 1;  // the echo finds nothing
  EXPECT_EQ(RunLoad(options_).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(WaitForFirstRead(options_).status().code(), absl::StatusCode::kFailedPrecondition);
  options_.expect_count = 0;
  EXPECT_TRUE(RunLoad(options_).ok());
  EXPECT_TRUE(WaitForFirstRead(options_).ok());
}

TEST_F(LoadTest, NobodyListens) {
  server_->Shutdown();
  options_.total = 1;
  EXPECT_EQ(RunLoad(options_).status().code(), absl::StatusCode::kUnavailable);
  options_.endpoint = "nowhere";
  EXPECT_EQ(RunLoad(options_).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace cairn::bench
