// Whatever clients ask for, no command stops a member that applies it: an error of the applier is
// final. Requests of every kind, right and wrong, as one seed draws them; the fake node ends the
// test where a member would end itself.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "api/rpc.pb.h"
#include "server/rpc/fake_call.h"
#include "server/services_fixture.h"

namespace cairn::server {
namespace {

using namespace etcdserverpb;  // The test is about these messages.

class RandomCommandsTest : public ServicesTest {
 protected:
  uint64_t Below(uint64_t limit) { return random_() % limit; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }

  std::string Key() {
    static const std::string kKeys[] = {"a", "b", "c", "d", "ab", std::string(1, '\0'), "\xff"};
    return OneIn(40) ? "" : kKeys[Below(std::size(kKeys))];
  }
  std::string RangeEnd() { return OneIn(2) ? "" : Key(); }
  int64_t Revision() { return static_cast<int64_t>(Below(6)) * 20 - 25; }
  int64_t Lease() {
    static constexpr int64_t kLeases[] = {77, 1, 2, 3, -1, 12345};
    return OneIn(2) ? 0 : kLeases[Below(std::size(kLeases))];
  }
  // Also numbers that no enumeration has.
  template <typename Enum>
  Enum Any() {
    return static_cast<Enum>(static_cast<int>(Below(8)) - 1);
  }

  RangeRequest DrawRange() {
    RangeRequest request;
    request.set_key(Key());
    request.set_range_end(RangeEnd());
    if (OneIn(2)) request.set_revision(Revision());
    if (OneIn(2)) request.set_limit(static_cast<int64_t>(Below(4)) - 1);
    if (OneIn(2)) request.set_sort_order(Any<RangeRequest::SortOrder>());
    if (OneIn(2)) request.set_sort_target(Any<RangeRequest::SortTarget>());
    request.set_keys_only(OneIn(3));
    request.set_count_only(OneIn(4));
    if (OneIn(4)) request.set_min_mod_revision(Revision());
    if (OneIn(4)) request.set_max_create_revision(Revision());
    return request;
  }
  PutRequest DrawPut() {
    PutRequest request;
    request.set_key(Key());
    request.set_ignore_value(OneIn(4));
    request.set_ignore_lease(OneIn(4));
    if (!request.ignore_value() || OneIn(8)) request.set_value(std::string(Below(6000), 'v'));
    if (!request.ignore_lease() || OneIn(8)) request.set_lease(Lease());
    request.set_prev_kv(OneIn(2));
    return request;
  }
  DeleteRangeRequest DrawDeletion() {
    DeleteRangeRequest request;
    request.set_key(Key());
    request.set_range_end(RangeEnd());
    request.set_prev_kv(OneIn(2));
    return request;
  }
  TxnRequest DrawTxn(int depth) {
    TxnRequest request;
    for (uint64_t i = Below(3); i > 0; --i) {
      Compare& compare = *request.add_compare();
      compare.set_key(Key());
      compare.set_range_end(RangeEnd());
      compare.set_result(Any<Compare::CompareResult>());
      compare.set_target(Any<Compare::CompareTarget>());
      if (OneIn(2)) compare.set_mod_revision(Revision());
    }
    for (auto* branch : {request.mutable_success(), request.mutable_failure()}) {
      for (uint64_t i = Below(4); i > 0; --i) DrawOperation(depth, *branch->Add());
    }
    return request;
  }
  void DrawOperation(int depth, RequestOp& op) {
    switch (Below(9)) {
      case 0:
      case 1:
        *op.mutable_request_put() = DrawPut();
        return;
      case 2:
        *op.mutable_request_delete_range() = DrawDeletion();
        return;
      case 3:
        if (depth > 0) *op.mutable_request_txn() = DrawTxn(depth - 1);
        return;
      default:
        *op.mutable_request_range() = DrawRange();
    }
  }

  // Calls an rpc; whether it was served.
  bool Ask(std::string_view method, const google::protobuf::Message& request) {
    std::string bytes = request.SerializeAsString();
    // Now and then bytes that may be no such message, or another one.
    if (OneIn(20) && !bytes.empty()) bytes[Below(bytes.size())] ^= static_cast<char>(Below(256));
    const auto answer =
        rpc::CallUnary(services_.table(), fmt::format("/etcdserverpb.{}", method), bytes);
    return answer.ok();
  }
  bool AskAnything() {
    switch (Below(16)) {
      case 0:
      case 1:
      case 2:
        return Ask("KV/Put", DrawPut());
      case 3:
        return Ask("KV/DeleteRange", DrawDeletion());
      case 4: {
        CompactionRequest request;
        request.set_revision(OneIn(10) ? Revision()
                                       : node_.store().published().revision.value() - 40);
        return Ask("KV/Compact", request);
      }
      case 5: {
        LeaseGrantRequest request;
        request.set_id(Lease());
        request.set_ttl(static_cast<int64_t>(Below(4)) - 1);
        return Ask("Lease/LeaseGrant", request);
      }
      case 6: {
        LeaseRevokeRequest request;
        request.set_id(Lease());
        return Ask("Lease/LeaseRevoke", request);
      }
      case 7: {
        // Cleared again at once: the alarms themselves are no reason to refuse everything.
        AlarmRequest request;
        request.set_memberid(Below(3));
        request.set_alarm(Any<AlarmType>());
        request.set_action(AlarmRequest::ACTIVATE);
        const bool raised = rpc::CallUnary(services_.table(), "/etcdserverpb.Maintenance/Alarm",
                                           request.SerializeAsString())
                                .ok();
        for (const AlarmType type : {NOSPACE, CORRUPT}) {
          for (uint64_t member = 0; member < 3; ++member) {
            AlarmRequest clear;
            clear.set_memberid(member);
            clear.set_alarm(type);
            clear.set_action(AlarmRequest::DEACTIVATE);
            EXPECT_TRUE(rpc::CallUnary(services_.table(), "/etcdserverpb.Maintenance/Alarm",
                                       clear.SerializeAsString())
                            .ok());
          }
        }
        return raised;
      }
      default:
        return Ask("KV/Txn", DrawTxn(2));
    }
  }

  std::mt19937_64 random_{1};
};

TEST_F(RandomCommandsTest, NoneStopsTheMember) {
  constexpr int kCommands = 20'000;
  int served = 0;
  for (int i = 0; i < kCommands; ++i) served += AskAnything() ? 1 : 0;
  // Both happen, often.
  EXPECT_GT(served, kCommands / 4);
  EXPECT_LT(served, kCommands * 9 / 10);
  EXPECT_GT(node_.store().published().revision.value(), 1000);
  EXPECT_GT(node_.store().published().watermark.value(), 100);
}

// The same where much is deleted at once, or refused because it is too much.
TEST_F(RandomCommandsTest, NoneStopsTheMemberThatHoldsLargeKeys) {
  constexpr int kCommands = 300;
  constexpr int kLargeKeys = 40;
  int served = 0;
  for (int i = 0; i < kCommands; ++i) {
    if (i % 75 == 0) {
      LeaseGrantRequest grant;
      grant.set_id(77);
      grant.set_ttl(60);
      node_.Apply(CommandKind::kLeaseGrant, grant.SerializeAsString());
      for (int n = 0; n < kLargeKeys; ++n) {
        PutRequest request;
        request.set_key(fmt::format("b{:02}", n) + std::string(size_t{1} << 20, 'k'));
        request.set_lease(n % 2 == 0 ? 77 : 0);
        EXPECT_TRUE(node_.Apply(CommandKind::kPut, request.SerializeAsString()).status.ok());
      }
    }
    served += AskAnything() ? 1 : 0;
  }
  EXPECT_GT(served, kCommands / 4);
}

}  // namespace
}  // namespace cairn::server
