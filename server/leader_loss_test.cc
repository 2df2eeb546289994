// Streams that asked for a leader end when there is none for long enough.
#include "server/leader_loss.h"

#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "api/errors.h"
#include "server/rpc/fake_call.h"

namespace cairn::server {
namespace {

const rpc::FakeCallOptions kAsking{.metadata = {{"hasleader", "true"}}};

TEST(LeaderLossTest, EndsStreamsThatAskedAfterSoManyTicksInARow) {
  LeaderLoss loss(3);
  rpc::FakeStreamCall asking(kAsking);
  rpc::FakeStreamCall indifferent;
  rpc::FakeStreamCall other(rpc::FakeCallOptions{.metadata = {{"hasleader", "TRUE"}}});
  const auto asking_call = asking.TakeCall();
  const auto indifferent_call = indifferent.TakeCall();
  const auto other_call = other.TakeCall();
  EXPECT_TRUE(loss.Add(asking_call));
  EXPECT_FALSE(loss.Add(indifferent_call));
  EXPECT_FALSE(loss.Add(other_call));
  loss.Tick(false);
  loss.Tick(false);
  loss.Tick(true);
  loss.Tick(false);
  loss.Tick(false);
  EXPECT_FALSE(asking_call->cancelled());
  loss.Tick(false);
  EXPECT_TRUE(asking_call->cancelled());
  EXPECT_FALSE(indifferent_call->cancelled());
  // The service ends it as one that was cancelled; the client hears the reason.
  asking_call->Finish(api::ToStatus(api::Error::kRequestCanceled));
  EXPECT_EQ(asking.WaitStatus(), api::ToStatus(api::Error::kNoLeader));
  // One that comes while there is no leader yet goes with the next tick.
  rpc::FakeStreamCall late(kAsking);
  const auto late_call = late.TakeCall();
  loss.Add(late_call);
  loss.Tick(false);
  EXPECT_TRUE(late_call->cancelled());
  indifferent_call->Finish(absl::OkStatus());
  other_call->Finish(absl::OkStatus());
  late_call->Finish(absl::OkStatus());
}

TEST(LeaderLossTest, ATickEndsSoManyStreams) {
  constexpr size_t kStreams = 2 * LeaderLoss::kEndsPerTickMax + 10;
  LeaderLoss loss(1);
  std::vector<std::shared_ptr<rpc::StreamCall>> calls;
  for (size_t i = 0; i < kStreams; ++i) {
    calls.push_back(rpc::FakeStreamCall(kAsking).TakeCall());
    loss.Add(calls.back());
  }
  loss.Tick(false);
  EXPECT_EQ(loss.size(), kStreams - LeaderLoss::kEndsPerTickMax);
  loss.Tick(false);
  loss.Tick(false);
  EXPECT_EQ(loss.size(), 0u);
  for (const auto& call : calls) {
    EXPECT_TRUE(call->cancelled());
    call->Finish(absl::OkStatus());
  }
}

TEST(LeaderLossTest, EndedStreamsAreForgotten) {
  LeaderLoss loss(3);
  rpc::FakeStreamCall stays(kAsking);
  const auto stays_call = stays.TakeCall();
  loss.Add(stays_call);
  for (int i = 0; i < 100'000; ++i) {
    const auto call = rpc::FakeStreamCall(kAsking).TakeCall();
    loss.Add(call);
    call->Finish(absl::OkStatus());
  }
  EXPECT_LT(loss.size(), 200u);
  for (int i = 0; i < 3; ++i) loss.Tick(false);
  EXPECT_TRUE(stays_call->cancelled());
  stays_call->Finish(absl::OkStatus());
}

}  // namespace
}  // namespace cairn::server
