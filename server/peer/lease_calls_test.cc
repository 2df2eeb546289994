#include "server/peer/lease_calls.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "server/fake_node.h"
#include "server/rpc/fake_call.h"

namespace cairn::server {
namespace {

class LeaseCallsTest : public testing::Test {
 protected:
  LeaseCallsTest() {
    RegisterLeaseCalls(node_, table_);
    node_.leases().Demote();
    node_.leases().Applied(Index(100),
                           std::vector{lease::LeaseUpdate{
                               LeaseId(7), lease::LeaseFacts{.granted = Index(100), .ttl_s = 10}}});
    node_.answer_call = [this](MemberId to, std::string_view method,
                               const std::string& request) -> absl::StatusOr<std::string> {
      if (to != MemberId(1)) return absl::UnavailableError("not connected");
      if (garbage_.has_value()) return *garbage_;
      return rpc::CallUnary(table_, "/cairn.peer.Peer/" + std::string(method), request);
    };
  }
  void Lead() {
    node_.leases().Promote();
    node_.leases().Confirm(lease::Lessor::kForEver);
  }
  std::string Renew(MemberId leader, LeaseId id) {
    std::string text = "no answer";
    RenewLeaseOn(node_, leader, id, [&](absl::StatusOr<int64_t> ttl_s) {
      text = ttl_s.ok() ? std::to_string(*ttl_s) : std::string(base::Message(ttl_s.status()));
    });
    return text;
  }
  std::string Find(MemberId leader, LeaseId id) {
    std::string text = "no answer";
    FindLeaseOn(node_, leader, id, [&](absl::StatusOr<std::optional<int64_t>> remaining_ms) {
      if (!remaining_ms.ok()) {
        text = base::Message(remaining_ms.status());
      } else {
        text = remaining_ms->has_value() ? std::to_string(**remaining_ms) : "none";
      }
    });
    return text;
  }

  rpc::ServiceTable table_;
  FakeNode node_;
  std::optional<std::string> garbage_;
};

TEST_F(LeaseCallsTest, TheLeaderAnswers) {
  Lead();
  EXPECT_EQ(Renew(MemberId(1), LeaseId(7)), "10");
  EXPECT_EQ(Renew(MemberId(1), LeaseId(8)), "0");
  EXPECT_EQ(Find(MemberId(1), LeaseId(8)), "none");
  node_.now_ms += 4000;
  // A new leader adds an election timeout of 1,000 ms.
  EXPECT_EQ(Find(MemberId(1), LeaseId(7)), "7000");
}

TEST_F(LeaseCallsTest, NoLeaseIsDeniedWithoutABarrier) {
  Lead();
  EXPECT_EQ(Find(MemberId(1), LeaseId(7)), "11000");
  EXPECT_EQ(node_.barriers, 0);
  node_.barrier_status = absl::UnavailableError("leader changed");
  EXPECT_EQ(Find(MemberId(1), LeaseId(8)), "this member does not lead");
  EXPECT_EQ(node_.barriers, 1);
}

// It may have stood still while another came to lead and ended the lease.
TEST_F(LeaseCallsTest, ALeaderThatIsNotConfirmedLooksBehindABarrier) {
  Lead();
  node_.leases().Confirm(1000);
  node_.now_ms = 999;
  EXPECT_EQ(Find(MemberId(1), LeaseId(7)), "10001");
  EXPECT_EQ(node_.barriers, 0);
  node_.now_ms = 1000;
  EXPECT_EQ(Find(MemberId(1), LeaseId(7)), "10000");
  EXPECT_EQ(node_.barriers, 1);
  node_.barrier_status = absl::UnavailableError("leader changed");
  EXPECT_EQ(Find(MemberId(1), LeaseId(7)), "this member does not lead");
}

TEST_F(LeaseCallsTest, WhoDoesNotLeadSaysSo) {
  EXPECT_EQ(Renew(MemberId(1), LeaseId(7)), "this member does not lead");
  EXPECT_EQ(Find(MemberId(1), LeaseId(7)), "this member does not lead");
  EXPECT_EQ(Find(MemberId(1), LeaseId(8)), "this member does not lead");
}

TEST_F(LeaseCallsTest, WhoCannotBeAskedIsTold) {
  Lead();
  EXPECT_EQ(Renew(MemberId(2), LeaseId(7)), "not connected");
  EXPECT_EQ(Find(MemberId(2), LeaseId(7)), "not connected");
  garbage_ = "\xff\xff";
  EXPECT_NE(Renew(MemberId(1), LeaseId(7)).find("RenewLeaseResponse"), std::string::npos);
  EXPECT_NE(Find(MemberId(1), LeaseId(7)).find("FindLeaseResponse"), std::string::npos);
}

}  // namespace
}  // namespace cairn::server
