#include "test/bench/failover_load.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "api/rpc.grpc.pb.h"
#include "base/mutex.h"
#include "base/status.h"

namespace cairn::bench {
namespace {

using std::chrono::milliseconds;

// Keeps the last value of each key, or only says so.
class Store final : public etcdserverpb::KV::Service {
 public:
  grpc::Status Put(grpc::ServerContext*, const etcdserverpb::PutRequest* request,
                   etcdserverpb::PutResponse* response) override {
    if (refuses) return {grpc::StatusCode::UNAVAILABLE, "no leader"};
    base::MutexLock lock(mutex_);
    response->mutable_header()->set_revision(++revision_);
    if (!forgets || revision_ < 100) values_[request->key()] = request->value();
    return grpc::Status::OK;
  }

  grpc::Status Range(grpc::ServerContext*, const etcdserverpb::RangeRequest* request,
                     etcdserverpb::RangeResponse* response) override {
    if (refuses) return {grpc::StatusCode::UNAVAILABLE, "no leader"};
    base::MutexLock lock(mutex_);
    response->mutable_header()->set_revision(revision_);
    const auto value = values_.find(request->key());
    if (value == values_.end()) return grpc::Status::OK;
    response->add_kvs()->set_key(request->key());
    response->mutable_kvs(0)->set_value(value->second);
    response->set_count(1);
    return grpc::Status::OK;
  }

  std::atomic<bool> forgets = false;
  std::atomic<bool> refuses = false;

 private:
  base::Mutex mutex_;
  int64_t revision_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, std::string> values_ ABSL_GUARDED_BY(mutex_);
};

class FailoverLoadTest : public testing::Test {
 protected:
  FailoverLoadTest() {
    // Two members that share what they hold.
    for (auto& server : servers_) {
      grpc::ServerBuilder builder;
      int port = 0;
      builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
      builder.RegisterService(&store_);
      server = builder.BuildAndStart();
      endpoints_ += fmt::format("{}127.0.0.1:{}", endpoints_.empty() ? "" : ",", port);
    }
    options_.endpoint = endpoints_;
    options_.operation = Operation::kFailover;
    options_.clients = 10;
    options_.rate = 500;
    options_.warmup_ms = 100;
    options_.duration_ms = 600;
  }
  ~FailoverLoadTest() override {
    for (const auto& server : servers_) server->Shutdown();
  }

  std::map<std::string, double> Run() {
    const auto report = RunFailover(options_);
    EXPECT_TRUE(report.ok()) << report.status();
    if (!report.ok()) return {};
    requests_ = report->requests;
    return {report->extra.begin(), report->extra.end()};
  }

  Store store_;
  std::unique_ptr<grpc::Server> servers_[2];
  std::string endpoints_;
  Options options_;
  uint64_t requests_ = 0;
};

TEST_F(FailoverLoadTest, AClusterThatAnswersFailsNothing) {
  auto extra = Run();
  EXPECT_GT(requests_, 100u);
  for (const char* name : {"retried", "failed_puts", "failed_gets", "lost", "stale"}) {
    EXPECT_EQ(extra.at(name), 0) << name;
  }
  EXPECT_GT(extra["put_gap_ms"], 0);
  EXPECT_LT(extra["put_gap_ms"], 600);
}

TEST_F(FailoverLoadTest, GoesOnAtAnotherMember) {
  std::thread stop([&] {
    std::this_thread::sleep_for(milliseconds(300));
    servers_[0]->Shutdown();
  });
  auto extra = Run();
  stop.join();
  EXPECT_GT(extra["retried"], 0);
  EXPECT_EQ(extra["failed_puts"] + extra["failed_gets"] + extra["lost"] + extra["stale"], 0);
}

TEST_F(FailoverLoadTest, MeasuresForHowLongNothingIsAnswered) {
  std::thread stop([&] {
    std::this_thread::sleep_for(milliseconds(250));
    store_.refuses = true;
    std::this_thread::sleep_for(milliseconds(200));
    store_.refuses = false;
  });
  auto extra = Run();
  stop.join();
  EXPECT_GE(extra["put_gap_ms"], 190);
  EXPECT_GE(extra["get_gap_ms"], 190);
  EXPECT_EQ(extra["failed_puts"] + extra["failed_gets"] + extra["lost"] + extra["stale"], 0);
}

TEST_F(FailoverLoadTest, FindsWhatIsLost) {
  store_.forgets = true;
  auto extra = Run();
  EXPECT_GT(extra["stale"], 0);
  EXPECT_EQ(extra["lost"], 10);
}

TEST_F(FailoverLoadTest, NobodyThereIsNoMeasurement) {
  for (const auto& server : servers_) server->Shutdown();
  options_.give_up_ms = 50;
  EXPECT_EQ(RunFailover(options_).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace cairn::bench
