#include "server/leader_history.h"

#include <gtest/gtest.h>

namespace cairn::server {
namespace {

using api::Error;
using std::chrono::milliseconds;

class LeaderHistoryTest : public testing::Test {
 protected:
  static LeaderHistory::Time At(int64_t ms) {
    return LeaderHistory::Time() + milliseconds(1'000'000 + ms);
  }
  Error Why(int64_t started_ms, bool was_connected = true) const {
    return history_.WhyTimedOut(At(started_ms), was_connected);
  }

  LeaderHistory history_{milliseconds(1000)};
};

TEST_F(LeaderHistoryTest, WithoutALeaderNobodyHasHeardOfIt) {
  EXPECT_EQ(Why(0), Error::kDeadlineExceeded);
  EXPECT_EQ(Why(0, /*was_connected=*/false), Error::kDeadlineExceeded);
}

TEST_F(LeaderHistoryTest, WhatBeganShortlyBeforeAnElectionMayBeLostWithTheLeader) {
  history_.See(MemberId(1), At(0));
  history_.See(MemberId(0), At(10'000));
  history_.See(MemberId(2), At(12'000));
  EXPECT_EQ(Why(10'000), Error::kTimeout);
  EXPECT_EQ(Why(10'001), Error::kTimeoutLeaderFailure);
  EXPECT_EQ(Why(11'999, /*was_connected=*/false), Error::kTimeoutLeaderFailure);
  EXPECT_EQ(Why(12'000), Error::kTimeout);
}

TEST_F(LeaderHistoryTest, WhoWasNotConnectedSaysSo) {
  history_.See(MemberId(1), At(0));
  EXPECT_EQ(Why(5000, /*was_connected=*/false), Error::kTimeoutConnectionLost);
  // Began under a leader that is lost now.
  history_.See(MemberId(0), At(6000));
  EXPECT_EQ(Why(5000, /*was_connected=*/false), Error::kTimeout);
  EXPECT_EQ(Why(5000), Error::kTimeout);
  EXPECT_EQ(Why(6000), Error::kDeadlineExceeded);
}

TEST_F(LeaderHistoryTest, TheSameLeaderSeenAgainIsNoElection) {
  history_.See(MemberId(1), At(0));
  history_.See(MemberId(1), At(5000));
  EXPECT_EQ(Why(4500), Error::kTimeout);
}

}  // namespace
}  // namespace cairn::server
