#include "server/peer/lease_calls.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "server/rpc/fake_call.h"

namespace cairn::server {
namespace {

using std::chrono::milliseconds;

// Hands calls to the table of the other member, or to nobody.
class LoopPeers final : public Peers {
 public:
  explicit LoopPeers(const rpc::ServiceTable& table) : table_(table) {}

  void Send(std::vector<raft::Message>) override {}
  void Tick() override {}
  void SetMembers(const Members&) override {}
  void Call(MemberId to, std::string_view method, std::string request, milliseconds,
            CallDone done) override {
    if (to != MemberId(1)) return std::move(done)(absl::UnavailableError("not connected"));
    const std::string path = "/cairn.peer.Peer/" + std::string(method);
    std::move(done)(garbage.has_value() ? absl::StatusOr<std::string>(*garbage)
                                        : rpc::CallUnary(table_, path, request));
  }

  std::optional<int64_t> ConnectedMs(MemberId) const override { return std::nullopt; }

  std::optional<std::string> garbage;

 private:
  const rpc::ServiceTable& table_;
};

class LeaseCallsTest : public testing::Test {
 protected:
  LeaseCallsTest() : leases_({.now_ms = [this] { return now_ms_; }}), peers_(table_) {
    RegisterLeaseCalls(leases_, table_);
    leases_.Applied(Index(1),
                    std::vector{lease::LeaseUpdate{
                        LeaseId(7), lease::LeaseFacts{.granted = Index(1), .ttl_s = 10}}});
  }
  void Lead() {
    leases_.Promote();
    leases_.Confirm(lease::Lessor::kForEver);
  }
  std::string Renew(MemberId leader, LeaseId id) {
    std::string text = "no answer";
    RenewLeaseOn(peers_, leader, id, milliseconds(100), [&](absl::StatusOr<int64_t> ttl_s) {
      text = ttl_s.ok() ? std::to_string(*ttl_s) : std::string(base::Message(ttl_s.status()));
    });
    return text;
  }
  std::string Find(MemberId leader, LeaseId id) {
    std::string text = "no answer";
    FindLeaseOn(peers_, leader, id, milliseconds(100),
                [&](absl::StatusOr<std::optional<int64_t>> remaining_ms) {
                  if (!remaining_ms.ok()) {
                    text = base::Message(remaining_ms.status());
                  } else {
                    text = remaining_ms->has_value() ? std::to_string(**remaining_ms) : "none";
                  }
                });
    return text;
  }

  lease::Milliseconds now_ms_ = 0;
  LeaseManager leases_;
  rpc::ServiceTable table_;
  LoopPeers peers_;
};

TEST_F(LeaseCallsTest, TheLeaderAnswers) {
  Lead();
  EXPECT_EQ(Renew(MemberId(1), LeaseId(7)), "10");
  EXPECT_EQ(Renew(MemberId(1), LeaseId(8)), "0");
  EXPECT_EQ(Find(MemberId(1), LeaseId(8)), "none");
  now_ms_ = 4000;
  // A new leader adds an election timeout of 1,000 ms.
  EXPECT_EQ(Find(MemberId(1), LeaseId(7)), "7000");
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
  peers_.garbage = "\xff\xff";
  EXPECT_NE(Renew(MemberId(1), LeaseId(7)).find("RenewLeaseResponse"), std::string::npos);
  EXPECT_NE(Find(MemberId(1), LeaseId(7)).find("FindLeaseResponse"), std::string::npos);
}

}  // namespace
}  // namespace cairn::server
