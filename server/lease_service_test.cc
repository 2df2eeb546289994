// The Lease service without sockets or consensus, as etcd-semantics.md section 6 has it.
#include "server/lease_service.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "api/errors.h"
#include "api/rpc.pb.h"
#include "base/status.h"
#include "server/fake_node.h"
#include "server/leader_loss.h"
#include "server/rpc/fake_call.h"
#include "server/services.h"

namespace cairn::server {
namespace {

using api::Error;
using api::ToStatus;
using etcdserverpb::LeaseGrantRequest;
using etcdserverpb::LeaseGrantResponse;
using etcdserverpb::LeaseKeepAliveRequest;
using etcdserverpb::LeaseKeepAliveResponse;
using etcdserverpb::LeaseLeasesResponse;
using etcdserverpb::LeaseRevokeRequest;
using etcdserverpb::LeaseRevokeResponse;
using etcdserverpb::LeaseTimeToLiveRequest;
using etcdserverpb::LeaseTimeToLiveResponse;

constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

class LeaseServiceTest : public testing::Test {
 protected:
  explicit LeaseServiceTest(ServiceLimits limits = {})
      : services_(ServiceContext{node_, node_.store(), budget_, limits}) {}

  template <typename Response>
  absl::StatusOr<Response> Call(std::string_view method, const google::protobuf::Message& request,
                                rpc::FakeCallOptions options = {}) {
    CAIRN_ASSIGN_OR_RETURN(
        const std::string bytes,
        rpc::CallUnary(services_.table(), fmt::format("/etcdserverpb.Lease/{}", method),
                       request.SerializeAsString(), std::move(options)));
    Response response;
    EXPECT_TRUE(response.ParseFromString(bytes));
    EXPECT_EQ(response.header().member_id(), 22u);
    EXPECT_EQ(response.header().revision(), node_.store().published().revision.value());
    return response;
  }
  absl::StatusOr<LeaseGrantResponse> Grant(int64_t id, int64_t ttl_s) {
    LeaseGrantRequest request;
    request.set_id(id);
    request.set_ttl(ttl_s);
    return Call<LeaseGrantResponse>("LeaseGrant", request);
  }
  absl::Status Revoke(int64_t id) {
    LeaseRevokeRequest request;
    request.set_id(id);
    return Call<LeaseRevokeResponse>("LeaseRevoke", request).status();
  }
  LeaseTimeToLiveResponse TimeToLive(int64_t id, bool keys = false) {
    LeaseTimeToLiveRequest request;
    request.set_id(id);
    request.set_keys(keys);
    const auto response = Call<LeaseTimeToLiveResponse>("LeaseTimeToLive", request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.value_or(LeaseTimeToLiveResponse());
  }
  std::vector<int64_t> Leases() {
    const auto response =
        Call<LeaseLeasesResponse>("LeaseLeases", etcdserverpb::LeaseLeasesRequest());
    EXPECT_TRUE(response.ok()) << response.status();
    std::vector<int64_t> ids;
    for (const auto& lease : response->leases()) ids.push_back(lease.id());
    return ids;
  }
  void Put(std::string_view key, int64_t lease) {
    etcdserverpb::PutRequest request;
    request.set_key(std::string(key));
    request.set_lease(lease);
    ASSERT_TRUE(node_.Apply(CommandKind::kPut, request.SerializeAsString()).status.ok());
  }
  // What a leader would propose for leases that are due.
  void ProposeDue() {
    cairn::internal::LeaseBatch batch;
    batch.set_term(node_.status().term.value());
    for (const lease::LeaseName& name : node_.leases().TakeDue(500)) {
      auto& lease = *batch.add_leases();
      lease.set_id(name.id.value());
      lease.set_granted_index(name.granted.value());
    }
    due_ = batch;
  }
  void ApplyDue() { node_.Apply(CommandKind::kLeaseExpire, due_.SerializeAsString()); }

  FakeNode node_;
  ResponseBudget budget_;
  Services services_;
  cairn::internal::LeaseBatch due_;
};

TEST_F(LeaseServiceTest, GrantBounds) {
  EXPECT_EQ(Grant(1, 60)->ttl(), 60);
  EXPECT_EQ(Grant(2, 0)->ttl(), 2);
  EXPECT_EQ(Grant(3, -5)->ttl(), 2);
  EXPECT_EQ(Grant(4, kMin)->ttl(), 2);
  EXPECT_EQ(Grant(5, 1)->ttl(), 2);
  EXPECT_EQ(Grant(6, 9'000'000'000)->ttl(), 9'000'000'000);
  EXPECT_EQ(Grant(7, 9'000'000'001).status(), ToStatus(Error::kLeaseTtlTooLarge));
  EXPECT_EQ(Grant(1, 60).status(), ToStatus(Error::kLeaseExists));
  // Too large stands before in use.
  EXPECT_EQ(Grant(1, 9'000'000'001).status(), ToStatus(Error::kLeaseTtlTooLarge));
  EXPECT_EQ(Grant(-1, 60)->id(), -1);
  EXPECT_EQ(Grant(kMin, 60)->id(), kMin);
  EXPECT_EQ(node_.store().published().revision, Revision(1));
}

TEST_F(LeaseServiceTest, TheServerPicksPositiveIdsOnce) {
  std::set<int64_t> ids;
  for (int n = 0; n < 300; ++n) {
    const auto granted = Grant(0, 60);
    ASSERT_TRUE(granted.ok()) << granted.status();
    EXPECT_GT(granted->id(), 0);
    EXPECT_TRUE(ids.insert(granted->id()).second);
  }
}

TEST_F(LeaseServiceTest, RevokeDeletesTheKeysAndIsNotFoundTwice) {
  ASSERT_TRUE(Grant(1, 60).ok());
  Put("a", 1);
  Put("b", 1);
  EXPECT_EQ(Revoke(1), absl::OkStatus());
  EXPECT_EQ(node_.store().published().revision, Revision(4));
  EXPECT_EQ(Revoke(1), ToStatus(Error::kLeaseNotFound));
  EXPECT_EQ(Revoke(0), ToStatus(Error::kLeaseNotFound));
  EXPECT_EQ(Revoke(-1), ToStatus(Error::kLeaseNotFound));
}

// More keys than an entry deletes (lease_apply_test.cc): the leader has the rest deleted, and the
// client hears of it when all have gone.
TEST_F(LeaseServiceTest, RevokesALeaseOfManyKeysToTheEnd) {
  ASSERT_TRUE(Grant(1, 60).ok());
  for (int i = 0; i < 40; ++i) {
    Put(fmt::format("{:03}", i) + std::string(size_t{1} << 20, 'k'), 1);
  }
  const int before = node_.proposals;
  LeaseRevokeRequest request;
  request.set_id(1);
  rpc::FakeUnaryCall revocation(request.SerializeAsString());
  std::get<rpc::UnaryHandler> (*services_.table().Find("/etcdserverpb.Lease/LeaseRevoke"))(
      revocation.TakeCall());
  // Meanwhile nobody sees the lease.
  EXPECT_EQ(TimeToLive(1, /*keys=*/true).ttl(), -1);
  EXPECT_EQ(Leases(), (std::vector<int64_t>{77}));
  EXPECT_EQ(node_.leases().Renew(LeaseId(1)), 0);
  for (int piece = 0; piece < 2; ++piece) {
    EXPECT_FALSE(revocation.finished());
    ProposeDue();
    EXPECT_EQ(due_.leases_size(), 1);
    ApplyDue();
  }
  ASSERT_TRUE(revocation.finished());
  EXPECT_TRUE(revocation.answer()->ok()) << revocation.answer()->status();
  EXPECT_EQ(node_.proposals, before + 1) << "one of two proposers is one too many";
  EXPECT_EQ(node_.store().Count(mvcc::KeyRange::All(), mvcc::kCurrent)->count, 0);
  EXPECT_EQ(Revoke(1), ToStatus(Error::kLeaseNotFound));
  // Whoever is granted the id now keeps what he puts on it.
  ASSERT_TRUE(Grant(1, 60).ok());
  Put("kept", 1);
  EXPECT_EQ(TimeToLive(1, /*keys=*/true).keys_size(), 1);
}

TEST_F(LeaseServiceTest, TimeToLiveTellsSecondsAndKeys) {
  ASSERT_TRUE(Grant(1, 60).ok());
  Put("b", 1);
  Put("a", 1);
  node_.now_ms = 10'500;
  LeaseTimeToLiveResponse response = TimeToLive(1);
  EXPECT_EQ(response.id(), 1);
  EXPECT_EQ(response.ttl(), 49);
  EXPECT_EQ(response.grantedttl(), 60);
  EXPECT_EQ(response.keys_size(), 0);
  response = TimeToLive(1, true);
  ASSERT_EQ(response.keys_size(), 2);
  EXPECT_EQ(response.keys(0), "a");
  EXPECT_EQ(response.keys(1), "b");
  EXPECT_EQ(response.ttl(), 49);

  response = TimeToLive(9, true);
  EXPECT_EQ(response.id(), 9);
  EXPECT_EQ(response.ttl(), -1);
  EXPECT_EQ(response.grantedttl(), 0);

  // Overdue, before anyone has ended it.
  node_.now_ms = 62'500;
  EXPECT_EQ(TimeToLive(1).ttl(), -2);

  // A read that must be confirmed first.
  node_.can_read_now = false;
  EXPECT_EQ(TimeToLive(1).ttl(), -2);
  EXPECT_EQ(node_.barriers, 1);
  node_.can_read_now = true;
  node_.leases().Demote();
  LeaseTimeToLiveRequest request;
  request.set_id(1);
  EXPECT_EQ(Call<LeaseTimeToLiveResponse>("LeaseTimeToLive", request).status(),
            ToStatus(Error::kLeaderChanged));

  // What the leader knows, with the keys that are known here.
  node_.remaining_on_leader_ms = 7'900;
  response = TimeToLive(1, true);
  EXPECT_EQ(response.ttl(), 7);
  EXPECT_EQ(response.grantedttl(), 60);
  EXPECT_EQ(response.keys_size(), 2);
  node_.remaining_on_leader_ms = std::optional<int64_t>();
  EXPECT_EQ(TimeToLive(1).ttl(), -1);
}

// A few keys may be long: where there is no room now, it is waited for.
TEST_F(LeaseServiceTest, KeysWaitForRoom) {
  ASSERT_TRUE(Grant(1, 100).ok());
  Put(std::string(50'000, 'k'), 1);
  std::optional<ResponseBudget::Charge> all =
      budget_.Take(budget_.limit_bytes(), std::chrono::milliseconds(0));
  budget_.SetReclaim([&] { all.reset(); });
  EXPECT_EQ(TimeToLive(1, true).keys_size(), 1);
  EXPECT_EQ(node_.pooled, 1);
}

TEST_F(LeaseServiceTest, ALearnerServesNoLeases) {
  node_.status_.is_learner = true;
  const absl::Status refused = ToStatus(Error::kNotSupportedForLearner);
  for (const std::string_view method :
       {"LeaseGrant", "LeaseRevoke", "LeaseTimeToLive", "LeaseLeases"}) {
    EXPECT_EQ(rpc::CallUnary(services_.table(), fmt::format("/etcdserverpb.Lease/{}", method), "")
                  .status(),
              refused)
        << method;
  }
  EXPECT_EQ(rpc::StartStream(services_.table(), "/etcdserverpb.Lease/LeaseKeepAlive").WaitStatus(),
            refused);
}

// However few they are: what the lease held once is walked too.
TEST_F(LeaseServiceTest, KeysAreReadInThePool) {
  ASSERT_TRUE(Grant(1, 60).ok());
  EXPECT_EQ(TimeToLive(1, true).keys_size(), 0);
  EXPECT_EQ(node_.pooled, 0);
  for (int n = 0; n < 1001; ++n) Put(fmt::format("key {:04}", n), 1);
  EXPECT_EQ(TimeToLive(1, true).keys_size(), 1001);
  EXPECT_EQ(node_.pooled, 1);
  for (int n = 1; n < 1001; ++n) Put(fmt::format("key {:04}", n), 0);
  EXPECT_EQ(TimeToLive(1).keys_size(), 0);
  EXPECT_EQ(node_.pooled, 1);
  const LeaseTimeToLiveResponse one = TimeToLive(1, true);
  ASSERT_EQ(one.keys_size(), 1);
  EXPECT_EQ(one.keys(0), "key 0000");
  EXPECT_EQ(node_.pooled, 2);
  EXPECT_EQ(budget_.used_bytes(), 0);
  node_.pool_full = true;
  LeaseTimeToLiveRequest request;
  request.set_id(1);
  request.set_keys(true);
  EXPECT_EQ(Call<LeaseTimeToLiveResponse>("LeaseTimeToLive", request).status(),
            ToStatus(Error::kTooManyRequests));
}

TEST_F(LeaseServiceTest, LeasesStandInTheOrderOfTheirEnds) {
  ASSERT_TRUE(Grant(5, 50).ok());
  ASSERT_TRUE(Grant(-3, 30).ok());
  ASSERT_TRUE(Grant(4, 4000).ok());
  EXPECT_EQ(Leases(), (std::vector<int64_t>{-3, 5, 77, 4}));
  node_.now_ms = 20'000;
  EXPECT_EQ(node_.leases().Renew(LeaseId(-3)), 30);
  EXPECT_EQ(node_.leases().Renew(LeaseId(5)), 50);
  EXPECT_EQ(Leases(), (std::vector<int64_t>{-3, 5, 77, 4}));
  node_.leases().Demote();
  EXPECT_EQ(Leases(), (std::vector<int64_t>{-3, 4, 5, 77}));
}

TEST_F(LeaseServiceTest, AFullDiskRefusesGrantsAndNothingElse) {
  ASSERT_TRUE(Grant(1, 60).ok());
  node_.out_of_space = true;
  EXPECT_EQ(Grant(2, 60).status(), ToStatus(Error::kNoSpace));
  EXPECT_EQ(Revoke(1), absl::OkStatus());
}

TEST_F(LeaseServiceTest, BytesThatAreNoRequest) {
  for (const char* method : {"LeaseGrant", "LeaseRevoke", "LeaseTimeToLive", "LeaseLeases"}) {
    const auto answer =
        rpc::CallUnary(services_.table(), fmt::format("/etcdserverpb.Lease/{}", method), "\xff");
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kInternal) << method;
  }
}

class KeepAliveTest : public LeaseServiceTest {
 protected:
  rpc::FakeStreamCall Open(rpc::FakeCallOptions options = {}) {
    streams_.push_back(rpc::StartStream(services_.table(), "/etcdserverpb.Lease/LeaseKeepAlive",
                                        std::move(options)));
    return streams_.back();
  }
  // As a transport does that stops: every stream hears of its end.
  void TearDown() override {
    for (rpc::FakeStreamCall& stream : streams_) stream.Cancel();
  }
  static std::string Ask(int64_t id) {
    LeaseKeepAliveRequest request;
    request.set_id(id);
    return request.SerializeAsString();
  }
  // "id: ttl at revision", or "nothing".
  static std::string Answer(rpc::FakeStreamCall& stream) {
    const std::optional<std::string> bytes = stream.Receive();
    if (!bytes.has_value()) return "nothing";
    LeaseKeepAliveResponse response;
    EXPECT_TRUE(response.ParseFromString(*bytes));
    EXPECT_EQ(response.header().member_id(), 22u);
    EXPECT_EQ(response.header().cluster_id(), 11u);
    EXPECT_EQ(response.header().raft_term(), 3u);
    return fmt::format("{}: {} at {}", response.id(), response.ttl(), response.header().revision());
  }

  std::vector<rpc::FakeStreamCall> streams_;
};

TEST_F(KeepAliveTest, AnswersInOrderAndEndsWithTheClient) {
  ASSERT_TRUE(Grant(1, 60).ok());
  ASSERT_TRUE(Grant(-2, 30).ok());
  rpc::FakeStreamCall stream = Open();
  stream.Send(Ask(1));
  stream.Send(Ask(9));
  stream.Send(Ask(-2));
  stream.Send(Ask(0));
  EXPECT_EQ(Answer(stream), "1: 60 at 1");
  EXPECT_EQ(Answer(stream), "9: 0 at 1");
  EXPECT_EQ(Answer(stream), "-2: 30 at 1");
  EXPECT_EQ(Answer(stream), "0: 0 at 1");
  EXPECT_EQ(stream.status(), std::nullopt);
  stream.HalfClose();
  EXPECT_EQ(stream.WaitStatus(), absl::OkStatus());
  EXPECT_EQ(node_.proposals, 2);  // The grants: a renewal costs no entry.
}

TEST_F(KeepAliveTest, AfterRevocationOrExpiryThereIsNone) {
  ASSERT_TRUE(Grant(1, 60).ok());
  ASSERT_TRUE(Grant(2, 60).ok());
  rpc::FakeStreamCall stream = Open();
  EXPECT_EQ(Revoke(1), absl::OkStatus());
  stream.Send(Ask(1));
  EXPECT_EQ(Answer(stream), "1: 0 at 1");

  // Between proposal and application the stream waits, and what comes after it too.
  node_.now_ms = 60'100;
  ProposeDue();
  stream.Send(Ask(2));
  stream.Send(Ask(77));
  EXPECT_EQ(Answer(stream), "nothing");
  ApplyDue();
  EXPECT_EQ(Answer(stream), "2: 0 at 1");
  EXPECT_EQ(Answer(stream), "77: 3600 at 1");
}

// A key that is put while its lease is being revoked goes with it.
TEST_F(KeepAliveTest, AttachToALeaseThatIsBeingRevoked) {
  ASSERT_TRUE(Grant(2, 60).ok());
  node_.now_ms = 60'100;
  ProposeDue();
  Put("late", 2);
  EXPECT_EQ(TimeToLive(2, true).keys_size(), 1);
  ApplyDue();
  EXPECT_EQ(node_.store().Count(mvcc::KeyRange::All(), mvcc::kCurrent)->count, 0);
  EXPECT_EQ(TimeToLive(2).ttl(), -1);
}

TEST_F(KeepAliveTest, AClientThatDoesNotReadIsHeldBack) {
  rpc::FakeCallOptions options;
  options.high_water_bytes = 1000;
  rpc::FakeStreamCall stream = Open(options);
  for (int n = 0; n < 100; ++n) stream.Send(Ask(77));
  EXPECT_LT(stream.queued_bytes(), 1300);
  for (int n = 0; n < 100; ++n) EXPECT_EQ(Answer(stream), "77: 3600 at 1") << n;
}

TEST_F(KeepAliveTest, GarbageAndAGoneClientEndTheStream) {
  rpc::FakeStreamCall garbage = Open();
  garbage.Send("\xff");
  EXPECT_EQ(garbage.WaitStatus().code(), absl::StatusCode::kInternal);

  rpc::FakeStreamCall gone = Open();
  gone.Cancel();
  EXPECT_FALSE(gone.WaitStatus().ok());

  // Also while an answer is waited for.
  ASSERT_TRUE(Grant(2, 60).ok());
  node_.now_ms = 60'100;
  ProposeDue();
  rpc::FakeStreamCall waiting = Open();
  waiting.Send(Ask(2));
  waiting.Cancel();
  ApplyDue();
  EXPECT_FALSE(waiting.WaitStatus().ok());
}

TEST_F(KeepAliveTest, WhoAsksForALeaderIsRefusedWithoutOne) {
  node_.status_.leader = MemberId(0);
  rpc::FakeCallOptions options;
  options.metadata = {{"hasleader", "true"}};
  rpc::FakeStreamCall stream = Open(options);
  EXPECT_EQ(stream.WaitStatus(), ToStatus(Error::kNoLeader));
  EXPECT_EQ(Call<LeaseRevokeResponse>("LeaseRevoke", LeaseRevokeRequest(), options).status(),
            ToStatus(Error::kNoLeader));
}

// Also one that is held up by a renewal that waits.
TEST_F(KeepAliveTest, WhoAsksForALeaderHearsOfItsLoss) {
  ASSERT_TRUE(Grant(1, 60).ok());
  rpc::FakeStreamCall indifferent = Open();
  rpc::FakeStreamCall idle = Open({.metadata = {{"hasleader", "true"}}});
  rpc::FakeStreamCall waiting = Open({.metadata = {{"hasleader", "true"}}});
  idle.Send(Ask(1));
  EXPECT_EQ(Answer(idle), "1: 60 at 1");
  node_.leases().Demote();
  waiting.Send(Ask(1));
  EXPECT_EQ(Answer(waiting), "nothing");
  node_.leader_loss().Tick(false);
  node_.leader_loss().Tick(false);
  EXPECT_EQ(idle.status(), std::nullopt);
  node_.leader_loss().Tick(false);
  EXPECT_EQ(idle.WaitStatus(), ToStatus(Error::kNoLeader));
  // The wait for a leader goes on to its own end; the client has heard by then.
  node_.now_ms = 7'000;
  node_.leases().Tick();
  EXPECT_EQ(waiting.WaitStatus(), ToStatus(Error::kNoLeader));
  EXPECT_EQ(indifferent.status(), std::nullopt);
}

TEST_F(KeepAliveTest, WaitsForTheLeadAndThenGivesUp) {
  node_.leases().Demote();
  rpc::FakeStreamCall stream = Open();
  stream.Send(Ask(77));
  EXPECT_EQ(Answer(stream), "nothing");
  node_.leases().Promote();
  node_.leases().Confirm(lease::Lessor::kForEver);
  node_.leases().AnswerWaiting();
  EXPECT_EQ(Answer(stream), "77: 3600 at 1");
  node_.leases().Demote();
  stream.Send(Ask(77));
  node_.now_ms += 7000;
  node_.leases().Tick();
  EXPECT_EQ(stream.WaitStatus(), ToStatus(Error::kNoLeader));
}

class LeaseQuotaTest : public LeaseServiceTest {
 protected:
  LeaseQuotaTest() : LeaseServiceTest({.quota_backend_bytes = 10 * kLeaseCostBytes}) {}
};

TEST_F(LeaseQuotaTest, LeasesCountForTheQuotaAndRevocationsPass) {
  int granted = 0;
  while (granted < 20 && Grant(100 + granted, 60).ok()) ++granted;
  EXPECT_EQ(granted, 9);  // One was there before.
  EXPECT_EQ(Grant(1, 60).status(), ToStatus(Error::kNoSpace));
  EXPECT_EQ(Revoke(100), absl::OkStatus());
  EXPECT_TRUE(Grant(1, 60).ok());
}

}  // namespace
}  // namespace cairn::server
