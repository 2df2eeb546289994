#include "server/services.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "api/errors.h"
#include "api/rpc.pb.h"
#include "base/status.h"
#include "server/fake_node.h"
#include "server/kv_source.h"
#include "server/range_reader.h"
#include "server/rpc/fake_call.h"
#include "server/services_fixture.h"

namespace cairn::server {
namespace {

using api::Error;
using namespace etcdserverpb;  // The test is about these messages.

TEST_F(ServicesTest, CompactsAFreshStoreAtZero) {
  EXPECT_EQ(Compact("revision: 0"), "header { revision: 1 }");
  EXPECT_EQ(Compact("revision: 0"), Text(Error::kCompacted));
}

TEST_F(ServicesTest, RefusesBeforeProposing) {
  EXPECT_EQ(Put(""), Text(Error::kKeyNotProvided));
  EXPECT_EQ(Delete(""), Text(Error::kKeyNotProvided));
  EXPECT_EQ(Txn("success { }"), Text(Error::kKeyNotFound));
  EXPECT_EQ(Range(""), Text(Error::kKeyNotProvided));
  EXPECT_EQ(Range(R"(key: "a" sort_target: 9)"), Text(Error::kInvalidSortOption));
  PutRequest large;
  large.set_key("k");
  large.set_value(std::string(1536 << 10, 'v'));
  const auto answer =
      rpc::CallUnary(services_.table(), "/etcdserverpb.KV/Put", large.SerializeAsString());
  EXPECT_EQ(api::FindError(answer.status()), Error::kRequestTooLarge);
  EXPECT_EQ(rpc::CallUnary(services_.table(), "/etcdserverpb.KV/Put", "\xff").status().code(),
            absl::StatusCode::kInternal);
  EXPECT_EQ(node_.proposals, 0);
}

// What cannot be decoded is answered before anything else, by every rpc in the same words.
TEST_F(ServicesTest, BytesThatAreNoMessage) {
  rpc::FakeCallOptions options;
  options.metadata["client-api-version"] = "\xff";
  for (const std::string_view path :
       {"/etcdserverpb.KV/Range", "/etcdserverpb.KV/Put", "/etcdserverpb.KV/DeleteRange",
        "/etcdserverpb.KV/Txn", "/etcdserverpb.KV/Compact", "/etcdserverpb.Maintenance/Status",
        "/etcdserverpb.Maintenance/Hash", "/etcdserverpb.Maintenance/HashKV",
        "/etcdserverpb.Maintenance/Defragment", "/etcdserverpb.Maintenance/Alarm",
        "/etcdserverpb.Cluster/MemberList", "/grpc.health.v1.Health/Check"}) {
    const absl::Status status =
        rpc::CallUnary(services_.table(), path, "\xff\xff", options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << path;
    EXPECT_TRUE(
        base::Message(status).starts_with("grpc: error unmarshalling request: 2 bytes are no "))
        << path << ": " << status;
  }
}

TEST_F(ServicesTest, LooksAtMetadataFirst) {
  rpc::FakeCallOptions options;
  options.metadata["client-api-version"] = "\xff";
  const std::string path = "/etcdserverpb.KV/Range";
  EXPECT_EQ((Call<RangeRequest, RangeResponse>(path, R"(key: "a")", options)),
            Text(Error::kInvalidClientApiVersion));
  options.metadata["client-api-version"] = "3.7.0 \xc3\xa9";
  options.metadata["hasleader"] = "true";
  EXPECT_EQ((Call<RangeRequest, RangeResponse>(path, R"(key: "a")", options)),
            "header { revision: 1 }");
  node_.status_.leader = MemberId();
  EXPECT_EQ((Call<RangeRequest, RangeResponse>(path, R"(key: "a")", options)),
            Text(Error::kNoLeader));
  node_.status_.is_learner = true;
  EXPECT_EQ(Range(R"(key: "a")"), Text(Error::kNotSupportedForLearner));
  EXPECT_EQ(Range(R"(key: "a" serializable: true)"), "header { revision: 1 }");
}

TEST_F(ServicesTest, LinearizableReadsWaitWhereTheyMust) {
  node_.can_read_now = false;
  EXPECT_EQ(Range(R"(key: "a")"), "header { revision: 1 }");
  EXPECT_EQ(Txn(R"(success { request_range { key: "a" } })"),
            "header { revision: 1 } succeeded: true responses { response_range { header { "
            "revision: 1 } } }");
  EXPECT_EQ(node_.barriers, 2);
  EXPECT_EQ(Range(R"(key: "a" serializable: true)"), "header { revision: 1 }");
  EXPECT_EQ(Txn(""), "header { revision: 1 } succeeded: true");
  EXPECT_EQ(node_.barriers, 2);
  node_.barrier_status = api::ToStatus(Error::kLeaderChanged);
  EXPECT_EQ(Range(R"(key: "a")"), Text(Error::kLeaderChanged));
}

class QuotaTest : public ServicesTest {
 protected:
  QuotaTest() : ServicesTest({.quota_backend_bytes = 600}) {}
};

TEST_F(QuotaTest, RefusesGrowthAndNothingElse) {
  std::string answer = "header";
  for (int i = 0; i < 50 && answer.starts_with("header"); ++i) {
    answer = Put(fmt::format("key: \"k{}\" value: \"v\"", i));
  }
  EXPECT_EQ(answer, Text(Error::kNoSpace));
  EXPECT_EQ(Txn(R"(failure { request_txn { success { request_put { key: "n" } } } })"),
            Text(Error::kNoSpace));
  EXPECT_TRUE(Txn(R"(success { request_delete_range { key: "k0" } })").starts_with("header"));
  EXPECT_TRUE(Delete(R"(key: "k1")").starts_with("header"));
  EXPECT_TRUE(Compact("revision: 1").starts_with("header"));
}

TEST_F(ServicesTest, AFullDiskRefusesGrowth) {
  node_.out_of_space = true;
  EXPECT_EQ(Put(R"(key: "a")"), Text(Error::kNoSpace));
  EXPECT_EQ(Delete(R"(key: "a")"), "header { revision: 1 }");
  EXPECT_EQ(node_.proposals, 1);
}

TEST_F(ServicesTest, ADiskWithoutRoomForAFlushRefusesDeletionsToo) {
  node_.out_of_space = true;
  node_.disk_is_full = true;
  EXPECT_EQ(Put(R"(key: "a")"), Text(Error::kNoSpace));
  EXPECT_EQ(Delete(R"(key: "a")"), Text(Error::kNoSpace));
  EXPECT_EQ(Txn(R"(success { request_delete_range { key: "k0" } })"), Text(Error::kNoSpace));
  EXPECT_EQ(Compact("revision: 1 physical: true"), Text(Error::kNoSpace));
  EXPECT_EQ(node_.proposals, 0);
  EXPECT_TRUE(Range(R"(key: "a")").starts_with("header"));
}

TEST_F(ServicesTest, LargeReadsGoToThePool) {
  for (int i = 0; i < 1500; ++i) Put(fmt::format("key: \"k{:04}\" value: \"v\"", i));
  EXPECT_EQ(node_.pooled, 0);
  EXPECT_EQ(Range(R"(key: "k" range_end: "l" count_only: true)"),
            "header { revision: 1501 } count: 1500");
  EXPECT_EQ(node_.pooled, 1);
  EXPECT_EQ(Range(R"(key: "k0" range_end: "k00010" limit: 1 keys_only: true)"),
            R"(header { revision: 1501 } kvs { key: "k0000" create_revision: 2 mod_revision: 2 )"
            R"(version: 1 } more: true count: 2)");
  EXPECT_EQ(node_.pooled, 1);
  // Those that waited for a round, too.
  node_.can_read_now = false;
  EXPECT_EQ(Range(R"(key: "k" range_end: "l" count_only: true)"),
            "header { revision: 1501 } count: 1500");
  EXPECT_EQ(Range(R"(key: "k0001" keys_only: true)"),
            R"(header { revision: 1501 } kvs { key: "k0001" create_revision: 3 mod_revision: 3 )"
            R"(version: 1 } count: 1)");
  EXPECT_EQ(node_.barriers, 2);
  EXPECT_EQ(node_.pooled, 2);
  node_.pool_full = true;
  EXPECT_EQ(Range(R"(key: "k" range_end: "l")"), Text(Error::kTooManyRequests));
}

// What nobody gets to see is work all the same.
TEST_F(ServicesTest, ReadsPastManyDeletedRowsGoToThePool) {
  for (int i = 0; i < 1500; ++i) Put(fmt::format("key: \"k{:04}\" value: \"v\"", i));
  Delete(R"(key: "k" range_end: "k1499")");
  const std::string last = R"(header { revision: 1502 } kvs { key: "k1499" create_revision: 1501 )"
                           R"(mod_revision: 1501 version: 1 value: "v" } count: 1)";
  EXPECT_EQ(Range(R"(key: "k" range_end: "l")"), last);
  EXPECT_EQ(node_.pooled, 1);
  EXPECT_EQ(Range(R"(key: "k" range_end: "l" count_only: true)"),
            "header { revision: 1502 } count: 1");
  EXPECT_EQ(node_.pooled, 2);
  // So is going back in time.
  EXPECT_EQ(Range(R"(key: "k" range_end: "k0100" count_only: true revision: 1501)"),
            "header { revision: 1502 } count: 100");
  EXPECT_EQ(node_.pooled, 3);
  EXPECT_EQ(Range(R"(key: "k1" range_end: "l" limit: 1)"), last);
  EXPECT_EQ(Range(R"(key: "k1400" range_end: "l")"), last);
  EXPECT_EQ(node_.pooled, 3);
}

TEST_F(ServicesTest, StreamsARangeAtOneRevision) {
  for (int i = 0; i < 1000; ++i) {
    Put(fmt::format("key: \"k{:04}\" value: \"{}\"", i, std::string(5000, 'v')));
  }
  RangeRequest request = Parse<RangeRequest>(R"(key: "k" range_end: "l" limit: 900)");
  rpc::FakeStreamCall call = rpc::StartStream(services_.table(), "/etcdserverpb.KV/RangeStream");
  call.Send(request.SerializeAsString());
  call.HalfClose();
  RangeResponse whole;
  int messages = 0;
  while (const std::optional<std::string> bytes = call.WaitReceive()) {
    RangeStreamResponse message;
    ASSERT_TRUE(message.ParseFromString(*bytes));
    EXPECT_EQ(whole.has_header(), false);
    if (messages++ == 0) {
      EXPECT_EQ(message.range_response().kvs_size(), 10);
      Put(R"(key: "k0500" value: "newer")");
    }
    whole.MergeFrom(message.range_response());
  }
  EXPECT_EQ(call.WaitStatus(), absl::OkStatus());
  EXPECT_GT(messages, 5);
  EXPECT_EQ(whole.kvs_size(), 900);
  EXPECT_TRUE(whole.more());
  EXPECT_EQ(whole.count(), 1000);
  EXPECT_EQ(whole.header().revision(), 1001);
  EXPECT_EQ(whole.kvs(500).value().size(), 5000U);
}

TEST_F(ServicesTest, AStreamThatCompactionPassesEndsWithCompacted) {
  for (int i = 0; i < 1000; ++i) {
    Put(fmt::format("key: \"k{:04}\" value: \"{}\"", i, std::string(5000, 'v')));
  }
  rpc::FakeStreamCall call = rpc::StartStream(services_.table(), "/etcdserverpb.KV/RangeStream");
  call.Send(Parse<RangeRequest>(R"(key: "k" range_end: "l")").SerializeAsString());
  call.HalfClose();
  ASSERT_TRUE(call.WaitReceive());
  Put(R"(key: "other")");
  EXPECT_EQ(Compact("revision: 1002"), "header { revision: 1002 }");
  while (call.WaitReceive()) {
  }
  EXPECT_EQ(api::FindError(call.WaitStatus()), Error::kCompacted);
}

TEST_F(ServicesTest, StreamsRefuseWhatTheyCannotDo) {
  const std::pair<std::string_view, Error> cases[] = {
      {R"(key: "k" sort_order: DESCEND)", Error::kRangeStreamSortOrder},
      {R"(key: "k" sort_order: ASCEND sort_target: MOD)", Error::kRangeStreamSortOrder},
      {R"(key: "k" sort_target: MOD min_mod_revision: 1)", Error::kRangeStreamRevisionFilter},
      {R"(key: "k" min_mod_revision: 1)", Error::kRangeStreamRevisionFilter},
      {"", Error::kKeyNotProvided},
  };
  for (const auto& [request, error] : cases) {
    rpc::FakeStreamCall call = rpc::StartStream(services_.table(), "/etcdserverpb.KV/RangeStream");
    call.Send(Parse<RangeRequest>(request).SerializeAsString());
    call.HalfClose();
    EXPECT_EQ(api::FindError(call.WaitStatus()), error) << request;
  }
}

TEST_F(ServicesTest, MaintenanceTellsHowTheMemberIs) {
  Put(R"(key: "a" value: "1")");
  const auto bytes = rpc::CallUnary(services_.table(), "/etcdserverpb.Maintenance/Status", "");
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  StatusResponse status;
  ASSERT_TRUE(status.ParseFromString(*bytes));
  EXPECT_EQ(status.header().revision(), 2);
  EXPECT_EQ(status.version(), "3.7.0");
  EXPECT_GT(status.dbsize(), 0);
  EXPECT_LE(status.dbsizeinuse(), status.dbsize());
  EXPECT_EQ(status.leader(), 22U);
  EXPECT_EQ(status.raftterm(), 3U);
  EXPECT_EQ(status.raftindex(), 2U);  // The put, and the node's own grant.
  EXPECT_EQ(status.raftappliedindex(), 2U);
  EXPECT_TRUE(status.has_downgradeinfo());
  EXPECT_EQ(status.errors_size(), 0);

  const std::string hash =
      Call<HashKVRequest, HashKVResponse>("/etcdserverpb.Maintenance/HashKV", "");
  EXPECT_TRUE(hash.starts_with("header { revision: 2 } hash: ")) << hash;
  EXPECT_TRUE(hash.ends_with("compact_revision: -1 hash_revision: 2")) << hash;
  EXPECT_EQ(
      (Call<HashKVRequest, HashKVResponse>("/etcdserverpb.Maintenance/HashKV", "revision: 3")),
      Text(Error::kFutureRevision));
  EXPECT_TRUE((Call<HashRequest, HashResponse>("/etcdserverpb.Maintenance/Hash", ""))
                  .starts_with("header { revision: 2 } hash: "));
  EXPECT_EQ((Call<AlarmRequest, AlarmResponse>("/etcdserverpb.Maintenance/Alarm", "")),
            "header { revision: 2 }");
  EXPECT_EQ(node_.barriers, 1);
  EXPECT_EQ(*rpc::CallUnary(services_.table(), "/etcdserverpb.Maintenance/Defragment", ""), "");
}

TEST_F(ServicesTest, ClusterListsItsMembers) {
  node_.members_ = std::make_shared<const Members>(Members{
      {.id = MemberId(22), .name = "m", .peer_urls = {"http://p"}, .client_urls = {"http://c"}}});
  EXPECT_EQ(
      (Call<MemberListRequest, MemberListResponse>("/etcdserverpb.Cluster/MemberList",
                                                   "linearizable: true")),
      R"(header { } members { ID: 22 name: "m" peerURLs: "http://p" clientURLs: "http://c" })");
}

TEST_F(ServicesTest, OnlyTheLeaderMovesTheLead) {
  const std::string path = "/etcdserverpb.Maintenance/MoveLeader";
  MoveLeaderRequest request;
  request.set_targetid(22);
  EXPECT_EQ(*rpc::CallUnary(services_.table(), path, request.SerializeAsString()), "");
  EXPECT_EQ(node_.transferred_to, MemberId(22));
  EXPECT_EQ(rpc::CallUnary(services_.table(), path, "").status(),
            api::ToStatus(Error::kBadLeaderTransferee));
  node_.status_.leader = MemberId(5);
  EXPECT_EQ(rpc::CallUnary(services_.table(), path, request.SerializeAsString()).status(),
            api::ToStatus(Error::kNotLeader));
}

TEST_F(ServicesTest, WhatIsNotBuiltNamesItself) {
  for (const std::string_view path : {"/etcdserverpb.Auth/AuthEnable", "/v3lockpb.Lock/Lock",
                                      "/v3electionpb.Election/Campaign"}) {
    const absl::Status status = rpc::CallUnary(services_.table(), path, "").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << path;
    const std::string_view method = path.substr(path.rfind('/') + 1);
    EXPECT_NE(base::Message(status).find(method), std::string_view::npos) << status;
  }
  EXPECT_EQ(rpc::StartStream(services_.table(), "/etcdserverpb.Watch/Watch").WaitStatus().code(),
            absl::StatusCode::kUnimplemented);
}

TEST_F(ServicesTest, HealthKnowsTheWholeServerOnly) {
  const std::string path = "/grpc.health.v1.Health/Check";
  EXPECT_EQ(*rpc::CallUnary(services_.table(), path, ""), "\x08\x01");
  EXPECT_EQ(rpc::CallUnary(services_.table(), path, "\x0a\x01x").status().code(),
            absl::StatusCode::kNotFound);
}

// Every combination of a range's options against the dumb way: all rows, filtered, sorted, cut.
TEST_F(ServicesTest, RangesAgreeWithTheNaiveWay) {
  std::mt19937_64 random(20);
  const auto below = [&](int limit) {
    return static_cast<int>(random() % static_cast<unsigned>(limit));
  };
  std::vector<std::map<std::string, mvccpb::KeyValue>> states(2);  // By revision.
  for (int i = 0; i < 60; ++i) {
    std::map<std::string, mvccpb::KeyValue> state = states.back();
    const std::string key = fmt::format("{:02}", below(20));
    if (below(4) == 0 && state.contains(key)) {
      Delete(fmt::format("key: \"{}\"", key));
      state.erase(key);
    } else {
      Put(fmt::format("key: \"{}\" value: \"{}\" lease: {}", key, 1000 + random() % 9000 * 60 + i,
                      below(2) * 77));
      const auto bytes =
          rpc::CallUnary(services_.table(), "/etcdserverpb.KV/Range",
                         Parse<RangeRequest>(fmt::format("key: \"{}\"", key)).SerializeAsString());
      RangeResponse now;
      ASSERT_TRUE(now.ParseFromString(*bytes));
      ASSERT_EQ(now.kvs_size(), 1);
      state[key] = now.kvs(0);
    }
    states.push_back(std::move(state));
  }
  const auto current = static_cast<int64_t>(states.size()) - 1;
  for (int round = 0; round < 3000; ++round) {
    RangeRequest request;
    request.set_key(fmt::format("{:02}", below(20)));
    request.set_range_end(below(3) == 0 ? std::string(1, '\0') : fmt::format("{:02}", below(22)));
    request.set_limit(below(3) == 0 ? below(8) : below(2) * -1);
    request.set_revision(below(2) == 0 ? 0 : 1 + below(static_cast<int>(current)));
    // Only targets without equal values: the order of equals is nobody's promise.
    constexpr RangeRequest::SortTarget kTargets[] = {RangeRequest::KEY, RangeRequest::CREATE,
                                                     RangeRequest::MOD, RangeRequest::VALUE};
    request.set_sort_target(kTargets[below(4)]);
    request.set_sort_order(static_cast<RangeRequest::SortOrder>(below(3)));
    request.set_keys_only(below(4) == 0);
    request.set_count_only(below(10) == 0);
    if (below(4) == 0) request.set_min_mod_revision(below(60));
    if (below(4) == 0) request.set_max_create_revision(below(60));

    RangeResponse expected;
    expected.mutable_header()->set_revision(current);
    std::vector<mvccpb::KeyValue> rows;
    const int64_t at = request.revision() > 0 ? request.revision() : current;
    for (const auto& [key, kv] : states[static_cast<size_t>(at)]) {
      if (key < request.key()) continue;
      if (request.range_end() != std::string(1, '\0') && key >= request.range_end()) continue;
      rows.push_back(kv);
    }
    expected.set_count(static_cast<int64_t>(rows.size()));
    const bool filters = request.min_mod_revision() != 0 || request.max_create_revision() != 0;
    const auto limit = static_cast<size_t>(std::max<int64_t>(request.limit(), 0));
    if (limit > 0 && request.sort_order() == RangeRequest::NONE && !filters &&
        rows.size() > limit + 1) {
      rows.resize(limit + 1);
    }
    std::erase_if(rows, [&](const mvccpb::KeyValue& kv) {
      return (request.min_mod_revision() != 0 && kv.mod_revision() < request.min_mod_revision()) ||
             (request.max_create_revision() != 0 &&
              kv.create_revision() > request.max_create_revision());
    });
    std::sort(rows.begin(), rows.end(), [&](const auto& a, const auto& b) {
      const auto& x = request.sort_order() == RangeRequest::DESCEND ? b : a;
      const auto& y = request.sort_order() == RangeRequest::DESCEND ? a : b;
      switch (request.sort_target()) {
        case RangeRequest::CREATE:
          return x.create_revision() < y.create_revision();
        case RangeRequest::MOD:
          return x.mod_revision() < y.mod_revision();
        case RangeRequest::VALUE:
          return x.value() < y.value();
        default:
          return x.key() < y.key();
      }
    });
    if (request.count_only()) rows.clear();
    expected.set_more(limit > 0 && rows.size() > limit);
    if (expected.more()) rows.resize(limit);
    for (mvccpb::KeyValue& kv : rows) {
      if (request.keys_only()) {
        kv.clear_value();
        if (request.sort_target() != RangeRequest::VALUE) kv.clear_lease();
      }
      *expected.add_kvs() = kv;
    }
    ASSERT_EQ(Range(Show(request)), Show(expected)) << Show(request);
    // The way of the pool, without a bound on the effort.
    ResponseBuffer out(budget_, std::chrono::milliseconds(0));
    ASSERT_TRUE(ReadRange(StoreSource(node_.store()), request, out).ok());
    RangeResponse unbounded;
    ASSERT_TRUE(unbounded.ParseFromString(out.Finish().Flatten()));
    unbounded.mutable_header()->set_revision(current);
    ASSERT_EQ(Show(unbounded), Show(expected)) << Show(request);
  }
}

}  // namespace
}  // namespace cairn::server
