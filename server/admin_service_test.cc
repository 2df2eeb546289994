// The admin service without sockets: open calls, watchers and leases in pages.
#include "server/admin_service.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/errors.h"
#include "api/rpc.pb.h"
#include "base/status.h"
#include "server/fake_node.h"
#include "server/response_buffer.h"
#include "server/rpc/fake_call.h"
#include "server/services.h"

namespace cairn::server {
namespace {

using cairn::admin::v1::Client;
using cairn::admin::v1::ClientsRequest;
using cairn::admin::v1::ClientsResponse;
using cairn::admin::v1::Lease;
using cairn::admin::v1::LeasesRequest;
using cairn::admin::v1::LeasesResponse;
using cairn::admin::v1::LogPin;
using cairn::admin::v1::LogRequest;
using cairn::admin::v1::LogResponse;
using cairn::admin::v1::Watcher;
using cairn::admin::v1::WatchersRequest;
using cairn::admin::v1::WatchersResponse;
using cairn::admin::v1::WatchStream;

// A call as a transport would have it open.
class OpenTestCall final : public rpc::OpenCall {
 public:
  OpenTestCall(rpc::OpenCalls& book, rpc::OpenCallView view) : book_(book), view_(std::move(view)) {
    book_.Add(*this);
  }
  ~OpenTestCall() override { book_.Remove(*this); }
  rpc::OpenCallView View() const override { return view_; }

 private:
  rpc::OpenCalls& book_;
  const rpc::OpenCallView view_;
};

class AdminServiceTest : public testing::Test {
 protected:
  AdminServiceTest()
      : feed_(node_.store().published().revision),
        watch_({node_, node_.store(), budget_, {}}, feed_, {}),
        services_({node_, node_.store(), budget_, {}}, &watch_, &open_calls_) {
    node_.sink = &feed_;
  }

  template <typename Response, typename Request>
  absl::StatusOr<Response> Call(std::string_view method, const Request& request) {
    CAIRN_ASSIGN_OR_RETURN(
        const std::string bytes,
        rpc::CallUnary(services_.table(), fmt::format("/cairn.admin.v1.Admin/{}", method),
                       request.SerializeAsString()));
    Response response;
    EXPECT_TRUE(response.ParseFromString(bytes));
    EXPECT_EQ(response.header().member_id(), 22u);
    EXPECT_EQ(response.header().revision(), node_.store().published().revision.value());
    return response;
  }
  // Every page of `limit` items.
  template <typename Response, typename Request>
  std::vector<Response> Pages(std::string_view method, int64_t limit) {
    std::vector<Response> pages;
    Request request;
    request.set_limit(limit);
    do {
      const auto page = Call<Response>(method, request);
      EXPECT_TRUE(page.ok()) << page.status();
      if (!page.ok()) break;
      pages.push_back(*page);
      request.set_page_token(page->next_page_token());
    } while (!request.page_token().empty());
    return pages;
  }

  void Open(std::string path, std::string peer, bool is_stream, int64_t age_ms,
            int64_t queued_bytes = 0) {
    paths_.push_back(std::move(path));
    calls_.emplace_back(open_calls_, rpc::OpenCallView{.path = paths_.back(),
                                                       .peer = std::move(peer),
                                                       .began = std::chrono::steady_clock::now() -
                                                                std::chrono::milliseconds(age_ms),
                                                       .is_stream = is_stream,
                                                       .queued_bytes = queued_bytes});
  }

  void Put(std::string_view key, int64_t lease = 0, size_t value_bytes = 0) {
    etcdserverpb::PutRequest request;
    request.set_key(std::string(key));
    request.set_value(std::string(value_bytes, 'v'));
    request.set_lease(lease);
    ASSERT_TRUE(node_.Apply(CommandKind::kPut, request.SerializeAsString()).status.ok());
  }
  void Grant(int64_t id, int64_t ttl_s) {
    etcdserverpb::LeaseGrantRequest request;
    request.set_id(id);
    request.set_ttl(ttl_s);
    ASSERT_TRUE(node_.Apply(CommandKind::kLeaseGrant, request.SerializeAsString()).status.ok());
  }

  // A stream of the Watch service that has taken what each of these requests is answered.
  rpc::FakeStreamCall Watch(const std::string& peer, const std::vector<std::string>& requests) {
    rpc::FakeStreamCall stream =
        rpc::StartStream(services_.table(), "/etcdserverpb.Watch/Watch", {.peer = peer});
    for (const std::string& text : requests) {
      etcdserverpb::WatchRequest request;
      EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
      stream.Send(request.SerializeAsString());
      EXPECT_TRUE(stream.WaitReceive().has_value());
    }
    return stream;
  }

  FakeNode node_;
  ResponseBudget budget_;
  WatchFeed feed_;
  rpc::OpenCalls open_calls_;
  WatchService watch_;
  Services services_;
  std::deque<std::string> paths_;
  std::deque<OpenTestCall> calls_;
};

std::vector<std::string> PeersOf(const std::vector<ClientsResponse>& pages) {
  std::vector<std::string> peers;
  for (const ClientsResponse& page : pages) {
    for (const Client& client : page.clients()) peers.push_back(client.peer());
  }
  return peers;
}

TEST_F(AdminServiceTest, ClientsByAddressWithTheirCallsByPath) {
  Open("/etcdserverpb.Watch/Watch", "10.0.0.2:5", true, 90'000, 100);
  Open("/etcdserverpb.Watch/Watch", "10.0.0.2:5", true, 1'000, 20);
  Open("/etcdserverpb.KV/Put", "10.0.0.2:5", false, 3);
  Open("/etcdserverpb.Lease/LeaseKeepAlive", "10.0.0.1:7", true, 5'000);
  const auto response = Call<ClientsResponse>("Clients", ClientsRequest());
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->open_calls(), 1);
  EXPECT_EQ(response->open_streams(), 3);
  EXPECT_EQ(response->next_page_token(), "");
  ASSERT_EQ(response->clients_size(), 2);
  EXPECT_EQ(response->clients(0).peer(), "10.0.0.1:7");
  const Client& client = response->clients(1);
  EXPECT_EQ(client.peer(), "10.0.0.2:5");
  EXPECT_GE(client.oldest_age_ms(), 90'000);
  ASSERT_EQ(client.methods_size(), 2);
  EXPECT_EQ(client.methods(0).path(), "/etcdserverpb.KV/Put");
  EXPECT_FALSE(client.methods(0).is_stream());
  EXPECT_EQ(client.methods(0).open(), 1);
  EXPECT_EQ(client.methods(1).path(), "/etcdserverpb.Watch/Watch");
  EXPECT_TRUE(client.methods(1).is_stream());
  EXPECT_EQ(client.methods(1).open(), 2);
  EXPECT_EQ(client.methods(1).queued_bytes(), 120);
  EXPECT_GE(client.methods(1).oldest_age_ms(), 90'000);
}

TEST_F(AdminServiceTest, PagesOfClientsAreInOrderWhateverOrderTheCallsHave) {
  std::vector<std::string> peers;
  for (int i = 0; i < 100; ++i) {
    const std::string peer = fmt::format("10.0.0.{:03}:1", i * 37 % 100);
    Open("/a", peer, false, 0);
    Open("/b", peer, true, 0);
    peers.push_back(peer);
  }
  std::sort(peers.begin(), peers.end());
  for (const int64_t limit : {1, 7, 99, 100, 1000}) {
    const auto pages = Pages<ClientsResponse, ClientsRequest>("Clients", limit);
    EXPECT_EQ(PeersOf(pages), peers);
    EXPECT_EQ(pages.size(), static_cast<size_t>((100 + limit - 1) / limit));
    for (const ClientsResponse& page : pages) {
      EXPECT_LE(page.clients_size(), limit);
      EXPECT_EQ(page.open_calls(), 100);
      EXPECT_EQ(page.open_streams(), 100);
      for (const Client& client : page.clients()) EXPECT_EQ(client.methods_size(), 2);
    }
  }
}

TEST_F(AdminServiceTest, WatchersWithWhereTheyStand) {
  Put("a");
  Put("b");
  rpc::FakeStreamCall first = Watch("10.0.0.1:1", {R"(create_request { key: "a" prev_kv: true })"});
  rpc::FakeStreamCall second = Watch(
      "10.0.0.2:2", {R"(create_request { key: "k" range_end: "l" filters: NOPUT watch_id: -3 })",
                     R"(create_request { key: "\0" range_end: "\0" start_revision: 90 fragment: true
                         progress_notify: true filters: NODELETE watch_id: 4 })"});
  const auto response = Call<WatchersResponse>("Watchers", WatchersRequest());
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->streams_total(), 2);
  EXPECT_EQ(response->watchers_total(), 3);
  EXPECT_EQ(response->lagging_total(), 0);
  EXPECT_EQ(response->told_revision(), 3);
  EXPECT_EQ(response->next_page_token(), "");
  ASSERT_EQ(response->streams_size(), 2);
  const WatchStream& stream = response->streams(1);
  EXPECT_EQ(response->streams(0).peer(), "10.0.0.1:1");
  EXPECT_EQ(stream.peer(), "10.0.0.2:2");
  EXPECT_EQ(stream.watchers(), 2);
  EXPECT_EQ(stream.queued_bytes(), 0);
  EXPECT_FALSE(stream.is_blocked());
  ASSERT_EQ(stream.shown_size(), 2);
  EXPECT_EQ(response->streams(0).shown(0).ShortDebugString(),
            R"(key: "a" state: SYNCED next_revision: 4 prev_kv: true)");
  EXPECT_EQ(stream.shown(0).ShortDebugString(),
            R"(watch_id: -3 key: "k" range_end: "l" state: SYNCED next_revision: 4 no_put: true)");
  EXPECT_EQ(stream.shown(1).ShortDebugString(),
            R"(watch_id: 4 key: "\000" range_end: "\000" state: FUTURE next_revision: 90 )"
            R"(no_delete: true progress_notify: true fragment: true)");
}

// A client that takes nothing: how far behind it is, and what waits for it.
TEST_F(AdminServiceTest, AStoppedWatcherIsSeenToLag) {
  rpc::FakeStreamCall stopped = Watch("10.0.0.1:1", {R"(create_request { key: "a" })"});
  for (int i = 0; i < 1000; ++i) Put("a", 0, 1024);
  WatchersResponse response;
  do {
    response = *Call<WatchersResponse>("Watchers", WatchersRequest());
  } while (response.told_revision() < 1001);
  // The first few fill the stream's queue; the rest waits in the hub.
  ASSERT_EQ(response.streams_size(), 1);
  const WatchStream& stream = response.streams(0);
  EXPECT_GT(stream.queued_bytes(), WatchService::kStreamQueuedBytesMax / 2);
  EXPECT_TRUE(stream.is_blocked());
  EXPECT_EQ(stream.waiting(), 1);
  EXPECT_EQ(stream.lagging(), 0);
  EXPECT_GT(response.retained_bytes(), 0);
  ASSERT_EQ(stream.shown_size(), 1);
  EXPECT_GT(stream.shown(0).next_revision(), 1);
  EXPECT_GT(stream.shown(0).lag_revisions(), 500);
  EXPECT_EQ(stream.shown(0).lag_revisions(), 1002 - stream.shown(0).next_revision());
}

TEST_F(AdminServiceTest, PagesOfWatchersGoOnWithinAStream) {
  std::vector<rpc::FakeStreamCall> streams;
  std::vector<std::string> expected;
  for (int i = 1; i <= 3; ++i) {
    std::vector<std::string> requests;
    for (int j = 0; j < 7; ++j) {
      requests.push_back(fmt::format(R"(create_request {{ key: "k{}" }})", j));
      expected.push_back(fmt::format("{}/{}", i, j));
    }
    streams.push_back(Watch(fmt::format("10.0.0.{}:1", i), requests));
  }
  for (const int64_t limit : {1, 2, 5, 24, 1000}) {
    std::vector<std::string> seen;
    for (const auto& page : Pages<WatchersResponse, WatchersRequest>("Watchers", limit)) {
      int64_t items = 0;
      for (const WatchStream& stream : page.streams()) {
        items += stream.shown_size();
        for (const Watcher& watcher : stream.shown()) {
          seen.push_back(fmt::format("{}/{}", stream.id(), watcher.watch_id()));
        }
      }
      EXPECT_LE(items, limit);
      EXPECT_EQ(page.watchers_total(), 21);
    }
    EXPECT_EQ(seen, expected) << limit;
  }
}

std::vector<int64_t> IdsOf(const std::vector<LeasesResponse>& pages) {
  std::vector<int64_t> ids;
  for (const LeasesResponse& page : pages) {
    for (const Lease& lease : page.leases()) ids.push_back(lease.id());
  }
  return ids;
}

TEST_F(AdminServiceTest, LeasesWithWhatIsLeftOfThem) {
  Grant(-5, 10);
  Grant(9, 7200);
  Put("a", 9);
  Put("b", 9);
  node_.now_ms = 4'000;
  auto response = *Call<LeasesResponse>("Leases", LeasesRequest());
  EXPECT_EQ(response.leases_total(), 3);
  EXPECT_EQ(response.keepalives_waiting(), 0);
  ASSERT_EQ(response.leases_size(), 3);
  EXPECT_EQ(response.leases(0).ShortDebugString(),
            "id: -5 granted_ttl_s: 10 remaining_ms: 6000 state: ACTIVE granted_index: 2");
  EXPECT_EQ(response.leases(1).ShortDebugString(),
            "id: 9 granted_ttl_s: 7200 remaining_ms: 7196000 keys: 2 state: ACTIVE "
            "granted_index: 3");
  EXPECT_EQ(response.leases(2).id(), node_.known_lease.value());

  // One is due and being revoked, with a keepalive that waits; the others are being noted.
  node_.now_ms = 301'000;
  EXPECT_EQ(node_.leases().TakeDue(500).size(), 1u);
  node_.leases().RenewLater(LeaseId(-5), [](const absl::StatusOr<int64_t>&) {});
  EXPECT_EQ(node_.leases().TakeCheckpoints(500).size(), 2u);
  response = *Call<LeasesResponse>("Leases", LeasesRequest());
  EXPECT_EQ(response.keepalives_waiting(), 1);
  EXPECT_EQ(response.leases(0).state(), Lease::REVOKING);
  EXPECT_EQ(response.leases(0).remaining_ms(), -291'000);
  EXPECT_EQ(response.leases(1).state(), Lease::CHECKPOINTED);
  node_.leases().Stop();

  // Another member leads: nobody here knows what is left.
  node_.leases().Demote();
  response = *Call<LeasesResponse>("Leases", LeasesRequest());
  EXPECT_EQ(response.leases(1).ShortDebugString(),
            "id: 9 granted_ttl_s: 7200 keys: 2 state: ACTIVE granted_index: 3");
}

TEST_F(AdminServiceTest, PagesOfLeasesAreInOrderOfTheirIds) {
  std::vector<int64_t> expected = {node_.known_lease.value()};
  for (const int64_t id : {INT64_MIN, INT64_MAX, int64_t{-1}, int64_t{1}}) {
    Grant(id, 60);
    expected.push_back(id);
  }
  for (int64_t id = 1000; id < 1100; ++id) {
    Grant(id, 60);
    expected.push_back(id);
  }
  std::sort(expected.begin(), expected.end());
  for (const int64_t limit : {1, 10, 105, 106, 1000}) {
    EXPECT_EQ(IdsOf(Pages<LeasesResponse, LeasesRequest>("Leases", limit)), expected);
  }
  // Without a limit a page has 100.
  EXPECT_EQ(Call<LeasesResponse>("Leases", LeasesRequest())->leases_size(), 100);
}

template <typename Request>
Request Asking(int64_t limit, const std::string& token) {
  Request request;
  request.set_limit(limit);
  request.set_page_token(token);
  return request;
}

TEST_F(AdminServiceTest, BadInput) {
  for (const int64_t limit : {int64_t{-1}, int64_t{1001}, INT64_MIN, INT64_MAX}) {
    const absl::Status status =
        base::Error(absl::StatusCode::kInvalidArgument, "cairn: limit {} is not 0 to 1000", limit);
    EXPECT_EQ(Call<ClientsResponse>("Clients", Asking<ClientsRequest>(limit, "")).status(), status);
    EXPECT_EQ(Call<WatchersResponse>("Watchers", Asking<WatchersRequest>(limit, "")).status(),
              status);
    EXPECT_EQ(Call<LeasesResponse>("Leases", Asking<LeasesRequest>(limit, "")).status(), status);
  }
  const auto bad_token = [](const std::string& token) {
    return base::Error(
        absl::StatusCode::kInvalidArgument,
        "cairn: \"{}\" is no page token of this rpc; pass on next_page_token as it is", token);
  };
  for (const std::string token : {"x", "-1", "1/", "/1", "1/2/3", "99999999999999999999", " 1"}) {
    EXPECT_EQ(Call<WatchersResponse>("Watchers", Asking<WatchersRequest>(1, token)).status(),
              bad_token(token));
  }
  for (const std::string token : {"x", "1x", "9223372036854775807", "9223372036854775808", "+1"}) {
    EXPECT_EQ(Call<LeasesResponse>("Leases", Asking<LeasesRequest>(1, token)).status(),
              bad_token(token));
  }
  // Any text is between two addresses.
  EXPECT_TRUE(Call<ClientsResponse>("Clients", Asking<ClientsRequest>(1, "zz")).ok());
  // A token goes on working when what it names has gone.
  EXPECT_TRUE(Call<WatchersResponse>("Watchers", Asking<WatchersRequest>(1, "77/5")).ok());
  EXPECT_TRUE(Call<LeasesResponse>("Leases", Asking<LeasesRequest>(1, "-77")).ok());
  EXPECT_EQ(
      rpc::CallUnary(services_.table(), "/cairn.admin.v1.Admin/Leases", "\xff").status().code(),
      absl::StatusCode::kInternal);
}

TEST_F(AdminServiceTest, TheLogInNumbers) {
  wal::LogFigures& log = node_.log.log;
  log = {.segments = 3,
         .used_bytes = 100,
         .disk_bytes = 400,
         .marker = Index(17),
         .removed_segments = 5,
         .appended_entries = 6,
         .appended_bytes = 700,
         .synced_bytes = 600};
  log.before_first.index = Index(9);
  log.last.index = Index(20);
  log.sync_us = {.buckets = {{64, 1}, {128, 3}}, .count = 4, .sum = 500};
  node_.log.thread = {
      .submissions = 8, .batches = 7, .spares = 2, .mode = wal::SyncMode::kInterval};
  node_.log.retention = {.keep_from = Index(12),
                         .pins = {{.pin = {wal::PinKind::kTail, 0, Index(12)},
                                   .is_kept = true,
                                   .entries = 9,
                                   .bytes = 80,
                                   .segments = 2},
                                  {.pin = {wal::PinKind::kLearner, 33, Index(5)}, .entries = 11}}};
  node_.log.applied = Index(19);
  node_.log.replayed_entries = 44;
  const auto response = Call<LogResponse>("Log", LogRequest());
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->segments(), 3u);
  EXPECT_EQ(response->used_bytes(), 100u);
  EXPECT_EQ(response->disk_bytes(), 400u);
  EXPECT_EQ(response->first_index(), 10u);
  EXPECT_EQ(response->last_index(), 20u);
  EXPECT_EQ(response->applied_index(), 19u);
  EXPECT_EQ(response->marker_index(), 17u);
  EXPECT_EQ(response->sync_mode(), LogResponse::INTERVAL);
  EXPECT_EQ(response->appended_entries(), 6u);
  EXPECT_EQ(response->appended_bytes(), 700u);
  EXPECT_EQ(response->synced_bytes(), 600u);
  EXPECT_EQ(response->submissions(), 8u);
  EXPECT_EQ(response->batches(), 7u);
  EXPECT_EQ(response->spares_made(), 2u);
  EXPECT_EQ(response->segments_removed(), 5u);
  ASSERT_EQ(response->sync_us().buckets_size(), 2);
  EXPECT_EQ(response->sync_us().buckets(1).upper_bound(), 128u);
  EXPECT_EQ(response->sync_us().buckets(1).count(), 3u);
  EXPECT_EQ(response->sync_us().count(), 4u);
  EXPECT_EQ(response->sync_us().sum(), 500u);
  EXPECT_EQ(response->replayed_entries(), 44u);
  EXPECT_FALSE(response->has_replay_us()) << "under way";
  EXPECT_EQ(response->keep_from(), 12u);
  ASSERT_EQ(response->pins_size(), 2);
  EXPECT_EQ(response->pins(0).kind(), LogPin::TAIL);
  EXPECT_TRUE(response->pins(0).is_kept());
  EXPECT_EQ(response->pins(0).bytes(), 80u);
  EXPECT_EQ(response->pins(1).kind(), LogPin::LEARNER);
  EXPECT_EQ(response->pins(1).holder(), 33u);
  EXPECT_EQ(response->pins(1).from_index(), 5u);
  EXPECT_FALSE(response->pins(1).is_kept());
  EXPECT_EQ(response->pins(1).entries(), 11u);
  node_.log = {};
  node_.log.replay_us = 7;
  const auto empty = Call<LogResponse>("Log", LogRequest());
  ASSERT_TRUE(empty.ok()) << empty.status();
  EXPECT_FALSE(empty->has_keep_from());
  EXPECT_EQ(empty->replay_us(), 7u);
}

TEST_F(AdminServiceTest, RefusedWhenThePoolIsFullOrTheServerStops) {
  node_.pool_full = true;
  const absl::Status full = api::ToStatus(api::Error::kTooManyRequests);
  EXPECT_EQ(Call<ClientsResponse>("Clients", ClientsRequest()).status(), full);
  EXPECT_EQ(Call<WatchersResponse>("Watchers", WatchersRequest()).status(), full);
  EXPECT_EQ(Call<LeasesResponse>("Leases", LeasesRequest()).status(), full);
  EXPECT_EQ(Call<LogResponse>("Log", LogRequest()).status(), full);
  watch_.Stop();
  EXPECT_EQ(Call<WatchersResponse>("Watchers", WatchersRequest()).status(),
            api::ToStatus(api::Error::kServerStopped));
}

// Inspection needs no leader and no quorum: it is for the bad days.
TEST_F(AdminServiceTest, AnswersWithoutALeaderAndOnALearner) {
  node_.status_.leader = MemberId(0);
  node_.status_.is_learner = true;
  EXPECT_TRUE(Call<ClientsResponse>("Clients", ClientsRequest()).ok());
  EXPECT_TRUE(Call<WatchersResponse>("Watchers", WatchersRequest()).ok());
  EXPECT_TRUE(Call<LeasesResponse>("Leases", LeasesRequest()).ok());
  EXPECT_TRUE(Call<LogResponse>("Log", LogRequest()).ok());
}

}  // namespace
}  // namespace cairn::server
