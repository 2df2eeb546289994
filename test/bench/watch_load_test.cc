#include "test/bench/watch_load.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <memory>

#include "base/status.h"
#include "test/bench/echo_service.h"
#include "test/bench/echo_streams.h"

namespace cairn::bench {
namespace {

// Against the echo, whose watchers are sent as many events as the revision they begin at.
class WatchLoadTest : public testing::Test {
 protected:
  WatchLoadTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&puts_);
    builder.RegisterService(&watches_);
    server_ = builder.BuildAndStart();
    options_.endpoint = fmt::format("127.0.0.1:{}", port);
    options_.operation = Operation::kWatch;
    options_.connections = 2;
    options_.streams = 5;
    options_.watchers = 3;
    options_.server_pid = getpid();
  }
  ~WatchLoadTest() override { server_->Shutdown(); }

  EchoService puts_;
  EchoWatchService watches_;
  std::unique_ptr<grpc::Server> server_;
  Options options_;
};

TEST_F(WatchLoadTest, CountsEveryEventOfTheHistory) {
  options_.start_revision = 20;
  options_.history = 20;
  const auto report = RunWatch(options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->requests, 5u * 3 * 20);
  EXPECT_GT(report->response_bytes, 5u * 3 * 20 * EchoWatchService::kValueBytes);
  std::map<std::string, double> extra(report->extra.begin(), report->extra.end());
  EXPECT_EQ(extra["messages"], 5 * 3 * 20);
  EXPECT_GT(extra["rss_idle_mib"], 0);
}

TEST_F(WatchLoadTest, IdleWatchersAreCreatedAndNothingMore) {
  options_.settle_ms = 1;
  const auto report = RunWatch(options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->requests, 0u);
}

TEST_F(WatchLoadTest, PutsWithoutWatchersAreMeasured) {
  options_.watchers = 0;
  options_.clients = 3;
  options_.warmup_total = 10;
  options_.total = 50;
  const auto report = RunWatch(options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->requests, 0u);
  std::map<std::string, double> extra(report->extra.begin(), report->extra.end());
  EXPECT_EQ(extra["puts"], 50);
}

TEST_F(WatchLoadTest, TooManyEventsAreAnError) {
  options_.start_revision = 20;
  options_.history = 19;
  EXPECT_EQ(RunWatch(options_).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(WatchLoadTest, AStreamThatEndsIsNoMeasurement) {
  server_->Shutdown();
  EXPECT_EQ(RunWatch(options_).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace cairn::bench
