#include "server/peer/hash_calls.h"

#include <gtest/gtest.h>

#include <string>

#include "api/errors.h"
#include "base/status.h"
#include "server/rpc/fake_call.h"

namespace cairn::server {
namespace {

constexpr char kPath[] = "/cairn.peer.Peer/HashState";
constexpr ClusterId kCluster(7);

TEST(HashCallsTest, ProgressGoesThereAndBack) {
  absl::StatusOr<HashProgress> answer = HashProgress();
  Revision asked;
  rpc::ServiceTable table;
  RegisterHashCalls(
      kCluster,
      [&](Revision at) {
        asked = at;
        return answer;
      },
      table);
  const auto ask = [&]() -> absl::StatusOr<HashProgress> {
    absl::StatusOr<std::string> bytes =
        rpc::CallUnary(table, kPath, EncodeHashRequest(kCluster, Revision(12)));
    if (!bytes.ok()) return bytes.status();
    return DecodeHashResponse(*bytes);
  };
  for (const auto state : {HashProgress::State::kComputing, HashProgress::State::kBehind}) {
    answer = HashProgress{state, {}};
    EXPECT_EQ(ask()->state, state);
  }
  EXPECT_EQ(asked, Revision(12));
  // Never compacted is -1.
  const StateHash hash{Revision(12), Revision(-1), 0xfedcba98, 0x12345678};
  answer = HashProgress{HashProgress::State::kReady, hash};
  EXPECT_EQ(ask()->state, HashProgress::State::kReady);
  EXPECT_EQ(ask()->hash, hash);
  answer = absl::OutOfRangeError("compacted");
  EXPECT_TRUE(absl::IsOutOfRange(ask().status()));
  EXPECT_EQ(rpc::CallUnary(table, kPath, EncodeHashRequest(ClusterId(8), Revision(1))).status(),
            api::ToStatus(api::Error::kClusterIdMismatch));
}

TEST(HashCallsTest, WhatNoMemberSendsIsRefused) {
  // Nothing, half a number, an unknown state, a hash without that of what lives.
  for (const std::string bytes : {"", "\xff", "\x08\x07", "\x08\x01\x15\x01\x02\x03\x04"}) {
    EXPECT_EQ(DecodeHashResponse(bytes).status().code(), absl::StatusCode::kDataLoss);
  }
}

}  // namespace
}  // namespace cairn::server
