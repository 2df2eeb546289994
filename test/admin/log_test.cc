// The log of a running member, asked by its operator: its numbers, and what --wal-sync-mode does.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/admin.grpc.pb.h"
#include "api/rpc.grpc.pb.h"
#include "base/status.h"
#include "test/harness/client.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

using cairn::admin::v1::Admin;
using cairn::admin::v1::LogRequest;
using cairn::admin::v1::LogResponse;

constexpr int64_t kRaise = 10'000'000;

class LogTest : public testing::Test {
 protected:
  void Start(const std::vector<std::string>& flags) {
    server_ = std::make_unique<Server>(OptionsFor(ServerUnderTest(), "log"));
    server_->options().extra_flags = flags;
    ASSERT_NO_FATAL_FAILURE(Start());
  }
  void Start() {
    const absl::Status started = server_->Start();
    ASSERT_TRUE(started.ok()) << started;
    client_ = std::make_unique<Client>(server_->address());
  }

  LogResponse Log() {
    const auto admin = Admin::NewStub(client_->channel());
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kServerDeadline);
    LogResponse response;
    const grpc::Status status = admin->Log(&context, LogRequest(), &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  int64_t Put(const std::string& value) {
    etcdserverpb::PutRequest request;
    request.set_key("key");
    request.set_value(value);
    etcdserverpb::PutResponse response;
    const grpc::Status status = client_->Put(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.header().revision();
  }
  // Of Status, about the log.
  int Warnings() {
    etcdserverpb::StatusResponse response;
    EXPECT_TRUE(client_->StatusOf(&response).ok());
    int warnings = 0;
    for (const std::string& error : response.errors()) {
      warnings += error.find("power loss") != std::string::npos;
    }
    return warnings;
  }

  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
};

TEST_F(LogTest, ItsNumbers) {
  ASSERT_NO_FATAL_FAILURE(Start({}));
  const LogResponse before = Log();
  for (int i = 0; i < 10; ++i) Put("value");
  const LogResponse log = Log();
  EXPECT_EQ(log.sync_mode(), LogResponse::ALWAYS);
  EXPECT_EQ(Warnings(), 0);
  EXPECT_EQ(log.segments(), 1u);
  EXPECT_GE(log.disk_bytes(), uint64_t{64} << 20);
  EXPECT_LE(log.used_bytes(), log.disk_bytes());
  EXPECT_EQ(log.first_index(), 1u);
  EXPECT_GE(log.last_index(), before.last_index() + 10);
  EXPECT_GE(log.appended_entries(), before.appended_entries() + 10);
  EXPECT_GE(log.batches(), before.batches() + 10) << "one client after the other";
  EXPECT_EQ(log.synced_bytes(), log.appended_bytes());
  EXPECT_GE(log.sync_us().count(), before.sync_us().count() + 10);
  EXPECT_GT(log.sync_us().sum(), 0u);
  EXPECT_EQ(log.batch_bytes().buckets_size(), 16);
  EXPECT_TRUE(log.has_replay_us());
  EXPECT_EQ(log.pins_size(), 0) << "it is alone";
}

TEST_F(LogTest, AnIntervalIsToldAndAKillRaisesTheRevision) {
  ASSERT_NO_FATAL_FAILURE(Start({"--wal-sync-mode=interval", "--wal-sync-interval-ms=50"}));
  EXPECT_EQ(Log().sync_mode(), LogResponse::INTERVAL);
  EXPECT_EQ(Warnings(), 1);
  EXPECT_NE(server_->Log().find("the log is synced every 50 ms"), std::string::npos);
  int64_t revision = 0;
  for (int i = 0; i < 100; ++i) revision = Put("value");
  server_->Kill();
  ASSERT_NO_FATAL_FAILURE(Start());
  // A killed process loses nothing that was written.
  EXPECT_EQ(Put("another"), revision + kRaise + 1);
  // A stop in order raises nothing, whatever comes next.
  ASSERT_TRUE(server_->Terminate().ok());
  server_->options().extra_flags = {"--wal-sync-mode=always"};
  ASSERT_NO_FATAL_FAILURE(Start());
  EXPECT_EQ(Log().sync_mode(), LogResponse::ALWAYS);
  EXPECT_EQ(Put("another"), revision + kRaise + 2);
}

TEST_F(LogTest, AMemberThatIsAddedEndsTheInterval) {
  ASSERT_NO_FATAL_FAILURE(Start({"--wal-sync-mode=interval"}));
  Put("value");
  const auto cluster = etcdserverpb::Cluster::NewStub(client_->channel());
  grpc::ClientContext context;
  etcdserverpb::MemberAddRequest request;
  request.add_peerurls("http://127.0.0.1:1");
  request.set_islearner(true);
  etcdserverpb::MemberAddResponse response;
  const grpc::Status added = cluster->MemberAdd(&context, request, &response);
  ASSERT_TRUE(added.ok()) << added.error_message();
  EXPECT_EQ(Log().sync_mode(), LogResponse::ALWAYS);
  EXPECT_EQ(Warnings(), 0);
  ASSERT_TRUE(server_->Terminate().ok());
  // Refused with the reason and the remedy.
  ASSERT_TRUE(server_->Launch().ok());
  const auto exit = server_->WaitForExit();
  ASSERT_TRUE(exit.ok()) << exit.status();
  EXPECT_NE(server_->Log().find("this one has 2"), std::string::npos) << server_->Log();
  EXPECT_NE(server_->Log().find("--wal-sync-mode=always"), std::string::npos);
}

}  // namespace
}  // namespace cairn::test
