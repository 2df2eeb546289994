#include "server/log_pins.h"

#include <gtest/gtest.h>

#include <vector>

namespace cairn::server {
namespace {

using std::chrono::milliseconds;
using wal::Pin;
using wal::PinKind;

class LogPinsTest : public testing::Test {
 protected:
  std::chrono::steady_clock::time_point now_;
  LogPins pins_{{.now = [this] { return now_; }}};
};

TEST_F(LogPinsTest, TheTailIsForOthers) {
  EXPECT_EQ(pins_.Now().tail.entries_max, 0u);
  pins_.SetAlone(false);
  EXPECT_EQ(pins_.Now().tail.entries_max, wal::kFollowerTail.entries_max);
  EXPECT_EQ(pins_.Now().tail.bytes_max, wal::kFollowerTail.bytes_max);
  pins_.SetAlone(true);
  EXPECT_EQ(pins_.Now().tail.bytes_max, 0u);
}

TEST_F(LogPinsTest, FollowersNeedWhatComesAfterWhatTheyHave) {
  pins_.SetFollowers({{.id = MemberId(7), .match = Index(41)},
                      {.id = MemberId(8), .is_learner = true, .match = Index(0)}});
  EXPECT_EQ(pins_.Now().pins, (std::vector<Pin>{{PinKind::kFollower, 7, Index(42)},
                                                {PinKind::kLearner, 8, Index(1)}}));
  pins_.SetFollowers({});
  EXPECT_TRUE(pins_.Now().pins.empty());
}

TEST_F(LogPinsTest, ACopyPinsUntilAWhileAfterItsRelease) {
  LogPins::Hold first = pins_.Add(PinKind::kSnapshot, 1, Index(10));
  {
    LogPins::Hold second = pins_.Add(PinKind::kBackup, 2, Index(5));
    const LogPins::Hold moved = std::move(second);
    second.Release();
    EXPECT_EQ(pins_.Now().pins, (std::vector<Pin>{{PinKind::kSnapshot, 1, Index(10)},
                                                  {PinKind::kBackup, 2, Index(5)}}));
  }
  EXPECT_EQ(pins_.Now().pins, (std::vector<Pin>{{PinKind::kSnapshot, 1, Index(10)}}));
  first.Release(milliseconds(100));
  now_ += milliseconds(99);
  EXPECT_EQ(pins_.Now().pins.size(), 1u);
  now_ += milliseconds(1);
  EXPECT_TRUE(pins_.Now().pins.empty());
}

}  // namespace
}  // namespace cairn::server
