// The admin service of a running member, asked by a client of its own while others watch and hold
// leases; and what the clients hear when the member stops.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "api/admin.grpc.pb.h"
#include "api/rpc.grpc.pb.h"
#include "base/status.h"
#include "test/harness/client.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

using cairn::admin::v1::Admin;
using cairn::admin::v1::Client;
using cairn::admin::v1::ClientsRequest;
using cairn::admin::v1::ClientsResponse;
using cairn::admin::v1::Lease;
using cairn::admin::v1::LeasesRequest;
using cairn::admin::v1::LeasesResponse;
using cairn::admin::v1::Watcher;
using cairn::admin::v1::WatchersRequest;
using cairn::admin::v1::WatchersResponse;

class AdminTest : public testing::Test {
 protected:
  void SetUp() override {
    server_ = std::make_unique<Server>(OptionsFor(ServerUnderTest(), "admin"));
    const absl::Status started = server_->Start();
    ASSERT_TRUE(started.ok()) << started;
    client_ = std::make_unique<test::Client>(server_->address());
    // A connection of its own, so that it is a client of its own.
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    admin_ = Admin::NewStub(grpc::CreateCustomChannel(
        server_->address(), grpc::InsecureChannelCredentials(), arguments));
  }

  template <typename Response, typename Request>
  Response Ask(grpc::Status (Admin::Stub::*rpc)(grpc::ClientContext*, const Request&, Response*),
               const Request& request = {}) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kServerDeadline);
    Response response;
    const grpc::Status status = ((*admin_).*rpc)(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  // Asks until `is_so`: a stream's opening and a write's way to the watchers take their time.
  template <typename Response, typename Request>
  Response AskUntil(grpc::Status (Admin::Stub::*rpc)(grpc::ClientContext*, const Request&,
                                                     Response*),
                    const std::function<bool(const Response&)>& is_so) {
    const auto deadline = std::chrono::steady_clock::now() + kServerDeadline;
    Response response = Ask(rpc);
    while (!is_so(response) && std::chrono::steady_clock::now() < deadline) response = Ask(rpc);
    EXPECT_TRUE(is_so(response)) << response.DebugString();
    return response;
  }

  std::unique_ptr<Server> server_;
  std::unique_ptr<test::Client> client_;
  std::unique_ptr<Admin::Stub> admin_;
};

TEST_F(AdminTest, ShowsClientsWatchersAndLeases) {
  etcdserverpb::LeaseGrantRequest grant;
  grant.set_id(7);
  grant.set_ttl(600);
  etcdserverpb::LeaseGrantResponse granted;
  ASSERT_TRUE(client_->LeaseGrant(grant, &granted).ok());
  etcdserverpb::PutRequest put;
  put.set_key("held");
  put.set_lease(7);
  etcdserverpb::PutResponse written;
  ASSERT_TRUE(client_->Put(put, &written).ok());

  const auto watch_stub = etcdserverpb::Watch::NewStub(client_->channel());
  grpc::ClientContext watch_context;
  const auto watch = watch_stub->Watch(&watch_context);
  etcdserverpb::WatchRequest create;
  create.mutable_create_request()->set_key("config/");
  create.mutable_create_request()->set_range_end("config0");
  create.mutable_create_request()->set_prev_kv(true);
  ASSERT_TRUE(watch->Write(create));
  etcdserverpb::WatchResponse created;
  ASSERT_TRUE(watch->Read(&created));

  const auto lease_stub = etcdserverpb::Lease::NewStub(client_->channel());
  grpc::ClientContext lease_context;
  const auto keepalive = lease_stub->LeaseKeepAlive(&lease_context);
  etcdserverpb::LeaseKeepAliveRequest renew;
  renew.set_id(7);
  ASSERT_TRUE(keepalive->Write(renew));
  etcdserverpb::LeaseKeepAliveResponse renewed;
  ASSERT_TRUE(keepalive->Read(&renewed));

  // The one that asks is there too. The end of an answered call may still be on its way.
  const auto clients = AskUntil<ClientsResponse, ClientsRequest>(
      &Admin::Stub::Clients, [](const ClientsResponse& response) {
        return response.open_streams() == 2 && response.open_calls() == 1;
      });
  ASSERT_EQ(clients.clients_size(), 2) << clients.DebugString();
  std::map<std::string, std::string> peer_of;
  for (const Client& client : clients.clients()) {
    EXPECT_TRUE(client.peer().starts_with("127.0.0.1:")) << client.peer();
    for (const Client::Method& method : client.methods()) {
      EXPECT_EQ(method.open(), 1);
      peer_of[method.path()] = client.peer();
    }
  }
  ASSERT_EQ(peer_of.size(), 3u);
  EXPECT_EQ(peer_of["/etcdserverpb.Watch/Watch"], peer_of["/etcdserverpb.Lease/LeaseKeepAlive"]);
  EXPECT_NE(peer_of["/etcdserverpb.Watch/Watch"], peer_of["/cairn.admin.v1.Admin/Clients"]);

  put.set_key("config/a");
  put.set_lease(0);
  ASSERT_TRUE(client_->Put(put, &written).ok());
  const int64_t revision = written.header().revision();
  const auto watchers = AskUntil<WatchersResponse, WatchersRequest>(
      &Admin::Stub::Watchers,
      [&](const WatchersResponse& response) { return response.told_revision() == revision; });
  EXPECT_EQ(watchers.header().revision(), revision);
  EXPECT_EQ(watchers.watchers_total(), 1);
  ASSERT_EQ(watchers.streams_size(), 1);
  EXPECT_EQ(watchers.streams(0).peer(), peer_of["/etcdserverpb.Watch/Watch"]);
  ASSERT_EQ(watchers.streams(0).shown_size(), 1);
  const Watcher& watcher = watchers.streams(0).shown(0);
  EXPECT_EQ(watcher.key(), "config/");
  EXPECT_EQ(watcher.range_end(), "config0");
  EXPECT_EQ(watcher.state(), Watcher::SYNCED);
  EXPECT_TRUE(watcher.prev_kv());
  EXPECT_LE(watcher.lag_revisions(), 1);

  const auto leases = Ask<LeasesResponse, LeasesRequest>(&Admin::Stub::Leases);
  EXPECT_EQ(leases.leases_total(), 1);
  ASSERT_EQ(leases.leases_size(), 1);
  const Lease& lease = leases.leases(0);
  EXPECT_EQ(lease.id(), 7);
  EXPECT_EQ(lease.granted_ttl_s(), 600);
  EXPECT_EQ(lease.keys(), 1);
  EXPECT_EQ(lease.state(), Lease::ACTIVE);
  EXPECT_GT(lease.remaining_ms(), 0);
  EXPECT_LE(lease.remaining_ms(), 600'000);

  // At the end each stream hears why, also one that only waits for its client.
  const absl::StatusOr<ExitState> ended = server_->Terminate();
  ASSERT_TRUE(ended.ok()) << ended.status();
  EXPECT_EQ(*ended, ExitState{});
  EXPECT_FALSE(keepalive->Read(&renewed));
  const grpc::Status lease_end = keepalive->Finish();
  EXPECT_EQ(lease_end.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(lease_end.error_message(), "etcdserver: server stopped");
  etcdserverpb::WatchResponse event;
  while (watch->Read(&event)) {
  }
  EXPECT_EQ(watch->Finish().error_message(), "etcdserver: server stopped");
}

}  // namespace
}  // namespace cairn::test
