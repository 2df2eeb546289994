// A full quota: growth is refused with etcd's words before it happens, everything else goes on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "base/status.h"
#include "test/harness/client.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

// Ten times the quota: etcd notices only when it commits.
constexpr int kPutsMax = 400;

TEST(Quota, RefusesGrowthAndNothingElse) {
  ServerOptions options = OptionsFor(ServerUnderTest(), "quota");
  options.extra_flags.push_back("--quota-backend-bytes=4194304");
  Server server(std::move(options));
  const absl::Status started = server.Start();
  ASSERT_TRUE(started.ok()) << started;
  Client client(server.address());

  etcdserverpb::PutRequest put;
  etcdserverpb::PutResponse put_response;
  put.set_key("last");
  ASSERT_TRUE(client.Put(put, &put_response).ok());
  put.set_value(std::string(100'000, 'v'));
  grpc::Status status;
  int acknowledged = 0;
  for (; acknowledged < kPutsMax; ++acknowledged) {
    put.set_key(fmt::format("k{:03}", acknowledged));
    status = client.Put(put, &put_response);
    if (!status.ok()) break;
  }
  EXPECT_GT(acknowledged, 5);
  EXPECT_LT(acknowledged, kPutsMax);
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "etcdserver: mvcc: database space exceeded");

  etcdserverpb::TxnRequest growing;
  *growing.add_failure()->mutable_request_put() = put;
  etcdserverpb::TxnResponse txn_response;
  status = client.Txn(growing, &txn_response);
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "etcdserver: mvcc: database space exceeded");

  etcdserverpb::RangeRequest range;
  range.set_key("k");
  range.set_range_end("l");
  range.set_count_only(true);
  etcdserverpb::RangeResponse range_response;
  ASSERT_TRUE(client.Range(range, &range_response).ok());
  // etcd may apply the one that it refuses; here "not enough space" means "not applied".
  if (!ServerUnderTest().is_reference) {
    EXPECT_EQ(range_response.count(), acknowledged);
  }

  etcdserverpb::DeleteRangeRequest remove;
  remove.set_key("k");
  remove.set_range_end("l");
  etcdserverpb::DeleteRangeResponse removed;
  status = client.DeleteRange(remove, &removed);
  EXPECT_TRUE(status.ok()) << status.error_message();
  // What was deleted at the compacted revision itself stays readable there, so the compaction goes
  // to a later one.
  remove.set_key("last");
  remove.clear_range_end();
  status = client.DeleteRange(remove, &removed);
  EXPECT_TRUE(status.ok()) << status.error_message();
  etcdserverpb::CompactionRequest compaction;
  compaction.set_revision(removed.header().revision());
  compaction.set_physical(true);
  etcdserverpb::CompactionResponse compacted;
  status = client.Compact(compaction, &compacted);
  EXPECT_TRUE(status.ok()) << status.error_message();
  if (!ServerUnderTest().is_reference) {
    // No alarm to disarm and nothing to defragment: the alarm goes by itself within a moment.
    const auto deadline = std::chrono::steady_clock::now() + kServerDeadline;
    do {
      status = client.Put(put, &put_response);
    } while (!status.ok() && std::chrono::steady_clock::now() < deadline);
    EXPECT_TRUE(status.ok()) << status.error_message();
  }
}

}  // namespace
}  // namespace cairn::test
