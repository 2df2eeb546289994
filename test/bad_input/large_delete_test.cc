// Requests that would delete more at once than a member has memory for: refused with a remedy, with
// nothing changed, and no trap for the next start.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "test/harness/client.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

constexpr int kKeys = 40;
constexpr size_t kKeyBytes = size_t{1} << 20;

class LargeDeleteTest : public testing::Test {
 protected:
  LargeDeleteTest() : server_(OptionsFor(ServerUnderTest(), "large-delete")) {}

  void SetUp() override { ASSERT_NO_FATAL_FAILURE(Start()); }
  void Start() {
    const absl::Status started = server_.Start();
    ASSERT_TRUE(started.ok()) << started;
    client_ = std::make_unique<Client>(server_.address());
  }

  void Fill(int64_t lease) {
    for (int i = 0; i < kKeys; ++i) {
      etcdserverpb::PutRequest request;
      request.set_key(fmt::format("k{:02}", i) + std::string(kKeyBytes, 'k'));
      request.set_lease(lease);
      etcdserverpb::PutResponse response;
      const grpc::Status status = client_->Put(request, &response);
      ASSERT_TRUE(status.ok()) << status.error_message();
    }
  }
  int64_t Count(int64_t* revision = nullptr) {
    etcdserverpb::RangeRequest request;
    request.set_key("k");
    request.set_range_end("l");
    request.set_count_only(true);
    etcdserverpb::RangeResponse response;
    const grpc::Status status = client_->Range(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    if (revision != nullptr) *revision = response.header().revision();
    return response.count();
  }
  grpc::Status Delete(std::string_view first, std::string_view limit) {
    etcdserverpb::DeleteRangeRequest request;
    request.set_key(std::string(first));
    request.set_range_end(std::string(limit));
    etcdserverpb::DeleteRangeResponse response;
    return client_->DeleteRange(request, &response);
  }

  Server server_;
  std::unique_ptr<Client> client_;
};

TEST_F(LargeDeleteTest, IsRefusedAndChangesNothing) {
  ASSERT_NO_FATAL_FAILURE(Fill(0));
  int64_t before = 0;
  EXPECT_EQ(Count(&before), kKeys);
  for (int round = 0; round < 2; ++round) {
    const grpc::Status status = Delete("k", "l");
    EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
    EXPECT_EQ(status.error_message(),
              "etcdserver: too much to delete or put in one request, do it in pieces");
    int64_t after = 0;
    EXPECT_EQ(Count(&after), kKeys);
    EXPECT_EQ(after, before);
    // The entry is in the log, and is applied again.
    server_.Kill();
    ASSERT_NO_FATAL_FAILURE(Start());
    EXPECT_EQ(Count(&after), kKeys);
    EXPECT_EQ(after, before);
  }
  EXPECT_TRUE(Delete("k", "k20").ok());
  EXPECT_TRUE(Delete("k", "l").ok());
  EXPECT_EQ(Count(), 0);
}

TEST_F(LargeDeleteTest, OfALeaseIsDoneInPieces) {
  etcdserverpb::LeaseGrantRequest grant;
  grant.set_id(7);
  grant.set_ttl(3600);
  etcdserverpb::LeaseGrantResponse granted;
  ASSERT_TRUE(client_->LeaseGrant(grant, &granted).ok());
  ASSERT_NO_FATAL_FAILURE(Fill(7));
  etcdserverpb::LeaseRevokeRequest revoke;
  revoke.set_id(7);
  etcdserverpb::LeaseRevokeResponse revoked;
  const grpc::Status status = client_->LeaseRevoke(revoke, &revoked);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(Count(), 0);
  server_.Kill();
  ASSERT_NO_FATAL_FAILURE(Start());
  EXPECT_EQ(Count(), 0);
  EXPECT_EQ(client_->LeaseRevoke(revoke, &revoked).error_message(),
            "etcdserver: requested lease not found");
}

}  // namespace
}  // namespace cairn::test
