// What remains of a lease after a SIGKILL of its server: from the last checkpoint on if nobody
// renewed it, else all of it. The bounds are those of the design, and no slowness breaks them.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <thread>

#include "api/admin.grpc.pb.h"
#include "api/rpc.grpc.pb.h"
#include "base/status.h"
#include "test/harness/client.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

using cairn::admin::v1::Admin;
using cairn::admin::v1::Lease;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int64_t kLease = 7;
constexpr int64_t kTtlS = 3600;
constexpr int64_t kTtlMs = kTtlS * 1000;
constexpr int64_t kElectionMs = 1000;

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest()
      : server_(MakeOptions()),
        client_(server_.address()),
        admin_(Admin::NewStub(client_.channel())) {}

  static ServerOptions MakeOptions() {
    ServerOptions options = OptionsFor(ServerUnderTest(), "checkpoints");
    options.extra_flags.push_back("--lease-checkpoint-interval=1s");
    return options;
  }

  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(Start());
    etcdserverpb::LeaseGrantRequest grant;
    grant.set_id(kLease);
    grant.set_ttl(kTtlS);
    etcdserverpb::LeaseGrantResponse granted;
    extended_ = steady_clock::now();
    ASSERT_TRUE(client_.LeaseGrant(grant, &granted).ok());
  }

  void Start() {
    const absl::Status started = server_.Start();
    ASSERT_TRUE(started.ok()) << started;
  }
  void KillAndRestart() {
    server_.Kill();
    Start();
  }
  // As the server has it, once `is_so`.
  Lease Await(const std::function<bool(const Lease&)>& is_so) {
    const auto deadline = steady_clock::now() + kServerDeadline;
    while (true) {
      grpc::ClientContext context;
      context.set_wait_for_ready(true);
      context.set_deadline(std::chrono::system_clock::now() + kServerDeadline);
      cairn::admin::v1::LeasesResponse response;
      const grpc::Status status = admin_->Leases(&context, {}, &response);
      const Lease lease = response.leases_size() == 1 ? response.leases(0) : Lease();
      if (is_so(lease)) return lease;
      if (steady_clock::now() > deadline) {
        ADD_FAILURE() << status.error_message() << response.DebugString();
        return {};
      }
      std::this_thread::sleep_for(milliseconds(20));
    }
  }
  // At most what the last grant or renewal gave is over by now.
  int64_t AtLeastMs() const {
    const auto passed = steady_clock::now() - extended_;
    return kTtlMs - std::chrono::ceil<milliseconds>(passed).count();
  }
  static bool KnowsRemaining(const Lease& lease) { return lease.has_remaining_ms(); }

  Server server_;
  Client client_;
  const std::unique_ptr<Admin::Stub> admin_;
  // Before the call that granted or renewed the lease.
  steady_clock::time_point extended_;
};

TEST_F(CheckpointTest, AKillLengthensAQuietLeaseByLittleAndARenewedOneKeepsAll) {
  // What is noted is in the log: the next start can find no more than that.
  const Lease noted = Await([](const Lease& lease) {
    return lease.has_checkpoint_ms() && lease.checkpoint_ms() <= kTtlMs - 3500;
  });
  EXPECT_EQ(noted.state(), Lease::CHECKPOINTED);
  EXPECT_EQ(noted.granted_ttl_s(), kTtlS);
  EXPECT_GE(noted.checkpoint_ms(), AtLeastMs());
  ASSERT_NO_FATAL_FAILURE(KillAndRestart());
  const Lease restarted = Await(KnowsRemaining);
  EXPECT_LE(restarted.remaining_ms(), noted.checkpoint_ms() + kElectionMs);
  EXPECT_GE(restarted.remaining_ms(), AtLeastMs());

  // The answer comes when the note is gone from the log.
  etcdserverpb::LeaseKeepAliveRequest renew;
  renew.set_id(kLease);
  etcdserverpb::LeaseKeepAliveResponse renewed;
  extended_ = steady_clock::now();
  ASSERT_TRUE(client_.LeaseKeepAlive(renew, &renewed, {.wait_for_ready = true}).ok());
  EXPECT_EQ(renewed.ttl(), kTtlS);
  ASSERT_NO_FATAL_FAILURE(KillAndRestart());
  const Lease whole = Await(KnowsRemaining);
  EXPECT_GE(whole.remaining_ms(), AtLeastMs());
  EXPECT_LE(whole.remaining_ms(), kTtlMs + kElectionMs);
}

}  // namespace
}  // namespace cairn::test
