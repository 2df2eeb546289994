#include "test/bench/watch_load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
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
    options_.server_pids = {getpid()};
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

// What the live store does wrong, once.
enum class Fault { kNone, kTwice, kSwapped, kForeign };

// A store of one process whose puts become events for whoever watches.
class LiveStore final : public etcdserverpb::KV::Service, public etcdserverpb::Watch::Service {
 public:
  static constexpr int64_t kFaultAt = 5;
  using Stream = grpc::ServerReaderWriter<etcdserverpb::WatchResponse, etcdserverpb::WatchRequest>;

  explicit LiveStore(Fault fault) : fault_(fault) {}

  grpc::Status Put(grpc::ServerContext* /*context*/, const etcdserverpb::PutRequest* request,
                   etcdserverpb::PutResponse* /*response*/) override {
    const base::MutexLock lock(mutex_);
    ++revision_;
    const bool is_faulty = revision_ == kFaultAt;
    if (is_faulty && fault_ == Fault::kSwapped) {
      held_back_ = *request;
      return grpc::Status::OK;
    }
    Tell(*request, revision_);
    if (is_faulty && fault_ == Fault::kTwice) Tell(*request, revision_);
    if (held_back_.has_value()) Tell(*std::exchange(held_back_, std::nullopt), kFaultAt);
    return grpc::Status::OK;
  }

  grpc::Status Watch(grpc::ServerContext* /*context*/, Stream* stream) override {
    etcdserverpb::WatchRequest request;
    while (stream->Read(&request)) {
      const base::MutexLock lock(mutex_);
      watchers_.push_back({stream, request.create_request()});
      etcdserverpb::WatchResponse created;
      created.set_watch_id(request.create_request().watch_id());
      created.set_created(true);
      stream->Write(created);
    }
    const base::MutexLock lock(mutex_);
    std::erase_if(watchers_, [&](const Watcher& watcher) { return watcher.stream == stream; });
    return grpc::Status::OK;
  }

 private:
  struct Watcher {
    Stream* stream;
    etcdserverpb::WatchCreateRequest asked;
  };

  void Tell(const etcdserverpb::PutRequest& put, int64_t revision)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (const Watcher& watcher : watchers_) {
      const std::string& end = watcher.asked.range_end();
      const bool is_within = end.empty() ? put.key() == watcher.asked.key()
                                         : put.key() >= watcher.asked.key() && put.key() < end;
      if (!is_within && fault_ != Fault::kForeign) continue;
      etcdserverpb::WatchResponse response;
      response.set_watch_id(watcher.asked.watch_id());
      mvccpb::KeyValue& key_value = *response.add_events()->mutable_kv();
      key_value.set_key(put.key());
      key_value.set_value(put.value());
      key_value.set_mod_revision(revision);
      watcher.stream->Write(response);
    }
  }

  const Fault fault_;
  base::Mutex mutex_;
  int64_t revision_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<etcdserverpb::PutRequest> held_back_ ABSL_GUARDED_BY(mutex_);
  std::vector<Watcher> watchers_ ABSL_GUARDED_BY(mutex_);
};

// A run over `options` against a store with `fault`.
absl::StatusOr<Report> RunLive(Options options, Fault fault = Fault::kNone) {
  LiveStore store(fault);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(static_cast<etcdserverpb::KV::Service*>(&store));
  builder.RegisterService(static_cast<etcdserverpb::Watch::Service*>(&store));
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  options.endpoint = fmt::format("127.0.0.1:{}", port);
  options.operation = Operation::kWatch;
  auto report = RunWatch(options);
  server->Shutdown();
  return report;
}

TEST(LiveWatch, EveryWatcherSeesThePutsOfItsPart) {
  // 6 watchers over 4 parts of 5 keys: parts 0 and 1 have two each.
  const auto report = RunLive({.connections = 2,
                               .clients = 3,
                               .total = 60,
                               .warmup_total = 20,
                               .key_space = 20,
                               .streams = 3,
                               .watchers = 2,
                               .watched_parts = 4});
  ASSERT_TRUE(report.ok()) << report.status();
  // 60 puts in turn over 20 keys: 15 for each part.
  EXPECT_EQ(report->requests, 15u * 6);
  EXPECT_EQ(report->latency_ns.count(), report->requests);
  std::map<std::string, double> extra(report->extra.begin(), report->extra.end());
  EXPECT_EQ(extra["puts"], 60);
}

TEST(LiveWatch, StoppedStreamsAreGivenEverythingInTheEnd) {
  const auto report = RunLive({.connections = 4,
                               .clients = 4,
                               .rate = 500,
                               .total = 20,
                               .streams = 4,
                               .stopped_streams = 1,
                               .stop_ms = 100});
  ASSERT_TRUE(report.ok()) << report.status();
  // Delays are those of the three that are never stopped.
  EXPECT_EQ(report->requests, 20u * 4);
  EXPECT_EQ(report->latency_ns.count(), 20u * 3);
  std::map<std::string, double> extra(report->extra.begin(), report->extra.end());
  // The read that was under way takes one.
  EXPECT_GT(extra["stopped_missed_events"], 0);
  EXPECT_GT(extra["stopped_p99_us"], 0);
}

TEST(LiveWatch, WhatAWatcherMustNotSeeIsAnError) {
  struct Case {
    const char* name;
    Fault fault;
    std::string_view message;
  };
  for (const Case& c : {
           Case{"twice", Fault::kTwice, "watcher 0 was given revision 5 after revision 5"},
           Case{"swapped", Fault::kSwapped, "watcher 0 was given revision 5 after revision 6"},
           // How many of the twelve came before the other watchers had theirs is up to the network.
           Case{"foreign", Fault::kForeign, " events, not 6"},
       }) {
    SCOPED_TRACE(c.name);
    const bool is_foreign = c.fault == Fault::kForeign;
    // One client: puts in order.
    const auto report = RunLive({.total = is_foreign ? 12u : 20u,
                                 .key_space = is_foreign ? 2u : 1u,
                                 .watched_parts = is_foreign ? 2u : 1u},
                                c.fault);
    EXPECT_EQ(report.status().code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(base::Message(report.status())),
                testing::EndsWith(std::string(c.message)));
  }
}

}  // namespace
}  // namespace cairn::bench
