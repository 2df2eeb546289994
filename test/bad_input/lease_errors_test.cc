// What leases refuse and what they put up with, with exact codes and texts, on Cairn and on a real
// etcd: times to live out of bounds, ids in use, unknown, zero and negative ones, leases that have
// been revoked or have expired, and keys that come while their lease goes.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "base/status.h"
#include "test/harness/client.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
// One and a half election timeouts, in whole seconds.
constexpr int64_t kLeastTtl = 2;
constexpr int64_t kMostTtl = 9'000'000'000;

const std::string kNotFound = "5: etcdserver: requested lease not found";
const std::string kExists = "9: etcdserver: lease already exists";
const std::string kTooLarge = "11: etcdserver: too large lease TTL";

std::string Text(const grpc::Status& status) {
  return fmt::format("{}: {}", static_cast<int>(status.error_code()), status.error_message());
}

// One server for all tests; each has ids of its own.
class LeaseErrorsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server(OptionsFor(ServerUnderTest(), "lease-errors"));
    const absl::Status started = server_->Start();
    ASSERT_TRUE(started.ok()) << started;
    client_ = new Client(server_->address());
  }
  static void TearDownTestSuite() {
    delete client_;
    delete server_;
  }

  // "id ID ttl TTL", or code and text.
  static std::string Grant(int64_t id, int64_t ttl_s) {
    etcdserverpb::LeaseGrantRequest request;
    request.set_id(id);
    request.set_ttl(ttl_s);
    etcdserverpb::LeaseGrantResponse response;
    const grpc::Status status = client_->LeaseGrant(request, &response);
    if (!status.ok()) return Text(status);
    EXPECT_EQ(response.error(), "");
    return fmt::format("id {} ttl {}", response.id(), response.ttl());
  }
  static std::string Revoke(int64_t id) {
    etcdserverpb::LeaseRevokeRequest request;
    request.set_id(id);
    etcdserverpb::LeaseRevokeResponse response;
    const grpc::Status status = client_->LeaseRevoke(request, &response);
    return status.ok() ? "revoked" : Text(status);
  }
  static std::string KeepAlive(int64_t id) {
    etcdserverpb::LeaseKeepAliveRequest request;
    request.set_id(id);
    etcdserverpb::LeaseKeepAliveResponse response;
    const grpc::Status status = client_->LeaseKeepAlive(request, &response);
    if (!status.ok()) return Text(status);
    return fmt::format("id {} ttl {}", response.id(), response.ttl());
  }
  // "id ID of GRANTED", with "gone" in place of what is left, and how many keys.
  static std::string TimeToLive(int64_t id) {
    etcdserverpb::LeaseTimeToLiveRequest request;
    request.set_id(id);
    request.set_keys(true);
    etcdserverpb::LeaseTimeToLiveResponse response;
    const grpc::Status status = client_->LeaseTimeToLive(request, &response);
    if (!status.ok()) return Text(status);
    return fmt::format("id {} of {}{}, {} keys", response.id(), response.grantedttl(),
                       response.ttl() == -1 ? ", gone" : "", response.keys_size());
  }
  static std::string Put(const std::string& key, int64_t lease) {
    etcdserverpb::PutRequest request;
    request.set_key(key);
    request.set_lease(lease);
    etcdserverpb::PutResponse response;
    const grpc::Status status = client_->Put(request, &response);
    return status.ok() ? "put" : Text(status);
  }
  static int64_t Count(const std::string& prefix) {
    etcdserverpb::RangeRequest request;
    request.set_key(prefix);
    request.set_range_end(prefix + "\xff");
    request.set_count_only(true);
    etcdserverpb::RangeResponse response;
    EXPECT_TRUE(client_->Range(request, &response).ok());
    return response.count();
  }
  static bool IsListed(int64_t id) {
    etcdserverpb::LeaseLeasesResponse response;
    EXPECT_TRUE(client_->LeaseLeases({}, &response).ok());
    for (const auto& lease : response.leases()) {
      if (lease.id() == id) return true;
    }
    return false;
  }

  static inline Server* server_ = nullptr;
  static inline Client* client_ = nullptr;
};

TEST_F(LeaseErrorsTest, TimesToLive) {
  const struct {
    int64_t id;
    int64_t ttl_s;
    std::string answer;
  } kCases[] = {
      {101, 0, "id 101 ttl 2"},
      {102, -1, "id 102 ttl 2"},
      {103, kMin, "id 103 ttl 2"},
      {104, kLeastTtl - 1, "id 104 ttl 2"},
      {105, kLeastTtl, "id 105 ttl 2"},
      {106, kMostTtl, "id 106 ttl 9000000000"},
      {107, kMostTtl + 1, kTooLarge},
      {108, kMax, kTooLarge},
      // In use, and too large: the time to live is looked at first.
      {106, kMostTtl + 1, kTooLarge},
      {106, 60, kExists},
      {106, 0, kExists},
      {106, -1, kExists},
      {0, kMax, kTooLarge},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(Grant(c.id, c.ttl_s), c.answer) << "id " << c.id << ", ttl " << c.ttl_s;
  }
  // What was refused is not there, and what is there was not changed by a refusal.
  EXPECT_EQ(TimeToLive(107), "id 107 of 0, gone, 0 keys");
  EXPECT_EQ(TimeToLive(108), "id 108 of 0, gone, 0 keys");
  EXPECT_EQ(TimeToLive(106), "id 106 of 9000000000, 0 keys");
}

TEST_F(LeaseErrorsTest, NegativeIdsAreIds) {
  for (const int64_t id : {int64_t{-1}, int64_t{-201}, kMin, kMax}) {
    EXPECT_EQ(Grant(id, 60), fmt::format("id {} ttl 60", id));
    EXPECT_EQ(Grant(id, 60), kExists);
    EXPECT_EQ(KeepAlive(id), fmt::format("id {} ttl 60", id));
    EXPECT_EQ(Put(fmt::format("negative/{}", id), id), "put");
    EXPECT_EQ(TimeToLive(id), fmt::format("id {} of 60, 1 keys", id));
    EXPECT_TRUE(IsListed(id));
    EXPECT_EQ(Revoke(id), "revoked");
    EXPECT_FALSE(IsListed(id));
  }
  EXPECT_EQ(Count("negative/"), 0);
}

TEST_F(LeaseErrorsTest, LeasesThatNeverWere) {
  for (const int64_t id : {int64_t{301}, int64_t{-301}, int64_t{0}, kMin, kMax}) {
    EXPECT_EQ(Revoke(id), kNotFound) << id;
    EXPECT_EQ(KeepAlive(id), fmt::format("id {} ttl 0", id));
    EXPECT_EQ(TimeToLive(id), fmt::format("id {} of 0, gone, 0 keys", id));
    // No lease at all, for a put.
    EXPECT_EQ(Put("never", id), id == 0 ? "put" : kNotFound) << id;
  }
}

TEST_F(LeaseErrorsTest, AfterRevocation) {
  EXPECT_EQ(Grant(401, 60), "id 401 ttl 60");
  EXPECT_EQ(Put("revoked/a", 401), "put");
  EXPECT_EQ(Revoke(401), "revoked");
  EXPECT_EQ(Count("revoked/"), 0);
  EXPECT_EQ(Revoke(401), kNotFound);
  EXPECT_EQ(KeepAlive(401), "id 401 ttl 0");
  EXPECT_EQ(TimeToLive(401), "id 401 of 0, gone, 0 keys");
  EXPECT_EQ(Put("revoked/b", 401), kNotFound);
  EXPECT_FALSE(IsListed(401));
  // The id is free again, and the new lease has nothing of the old one.
  EXPECT_EQ(Grant(401, 30), "id 401 ttl 30");
  EXPECT_EQ(TimeToLive(401), "id 401 of 30, 0 keys");
  EXPECT_EQ(Revoke(401), "revoked");
}

TEST_F(LeaseErrorsTest, AfterExpiry) {
  EXPECT_EQ(Grant(501, kLeastTtl), "id 501 ttl 2");
  EXPECT_EQ(Put("expired/a", 501), "put");
  const auto deadline = std::chrono::steady_clock::now() + kServerDeadline;
  while (Count("expired/") > 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_EQ(Count("expired/"), 0);
  EXPECT_EQ(KeepAlive(501), "id 501 ttl 0");
  EXPECT_EQ(Revoke(501), kNotFound);
  EXPECT_EQ(TimeToLive(501), "id 501 of 0, gone, 0 keys");
  EXPECT_EQ(Put("expired/b", 501), kNotFound);
  EXPECT_FALSE(IsListed(501));
}

// Whatever comes first: a put that was acknowledged went with the lease, one that came too late was
// refused; and no keepalive holds on to a lease whose revocation was answered.
TEST_F(LeaseErrorsTest, AttachToALeaseThatIsBeingRevoked) {
  constexpr int kRounds = 50;
  constexpr int kPuts = 8;
  for (int round = 0; round < kRounds; ++round) {
    const int64_t id = 600 + round;
    ASSERT_EQ(Grant(id, 60), fmt::format("id {} ttl 60", id));
    std::vector<std::string> answers(kPuts);
    std::vector<std::thread> putters;
    for (int i = 0; i < kPuts; ++i) {
      putters.emplace_back([&, i] { answers[i] = Put(fmt::format("racing/{}/{}", round, i), id); });
    }
    std::thread renewer([&] {
      const std::string renewed = KeepAlive(id);
      EXPECT_TRUE(renewed == fmt::format("id {} ttl 60", id) ||
                  renewed == fmt::format("id {} ttl 0", id))
          << renewed;
    });
    EXPECT_EQ(Revoke(id), "revoked");
    EXPECT_EQ(KeepAlive(id), fmt::format("id {} ttl 0", id));
    for (std::thread& putter : putters) putter.join();
    renewer.join();
    for (const std::string& answer : answers) {
      EXPECT_TRUE(answer == "put" || answer == kNotFound) << answer;
    }
  }
  EXPECT_EQ(Count("racing/"), 0);
}

}  // namespace
}  // namespace cairn::test
