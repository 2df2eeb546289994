#include "server/proposal_tracker.h"

#include <gtest/gtest.h>

#include <string>

#include "api/errors.h"
#include "base/status.h"

namespace cairn::server {
namespace {

using Time = ProposalTracker::Time;
using std::chrono::seconds;

class ProposalTrackerTest : public testing::Test {
 protected:
  // What the waiter `id` was told: "ID:response" or "ID:error".
  Node::ProposeDone Waiter(int id) {
    return [this, id](Node::Outcome outcome) {
      told_ += fmt::format(
          "{}:{} ", id,
          outcome.status.ok() ? std::string_view(outcome.response) : base::Message(outcome.status));
    };
  }
  bool Add(int id, Time deadline, size_t bytes = 1) {
    Node::ProposeDone done = Waiter(id);
    return tracker_.Add(id, bytes, deadline, done);
  }

  ProposalTracker tracker_{100};
  const Time start_{seconds(1000)};
  const absl::Status timeout_ = base::MakeStatus(absl::StatusCode::kUnavailable, "timeout");
  std::string told_;
};

TEST_F(ProposalTrackerTest, CompletesEachWaiterOnce) {
  ASSERT_TRUE(Add(1, start_));
  ASSERT_TRUE(Add(2, start_));
  std::vector<std::pair<uint64_t, Node::Outcome>> outcomes;
  outcomes.emplace_back(2, Node::Outcome{.response = "two"});
  outcomes.emplace_back(3, Node::Outcome{.response = "nobody"});
  outcomes.emplace_back(1, Node::Outcome{.response = "one"});
  tracker_.Complete(std::move(outcomes));
  EXPECT_EQ(told_, "2:two 1:one ");
  EXPECT_FALSE(tracker_.has_waiters());
  tracker_.Fail(1, timeout_);
  EXPECT_EQ(told_, "2:two 1:one ");
}

TEST_F(ProposalTrackerTest, ExpiresInOrderAndSkipsTheCompleted) {
  for (int id = 1; id <= 4; ++id) ASSERT_TRUE(Add(id, start_ + seconds(id)));
  tracker_.Fail(1, timeout_);
  told_.clear();
  std::vector<ProposalTracker::Time> deadlines;
  tracker_.Expire(start_ + seconds(3), [&](ProposalTracker::Time deadline) {
    deadlines.push_back(deadline);
    return timeout_;
  });
  EXPECT_EQ(told_, "2:timeout 3:timeout ");
  EXPECT_EQ(deadlines, (std::vector{start_ + seconds(2), start_ + seconds(3)}));
  EXPECT_TRUE(tracker_.has_waiters());
}

TEST_F(ProposalTrackerTest, BoundsThePayloadThatIsWaitedFor) {
  ASSERT_TRUE(Add(1, start_, 60));
  EXPECT_FALSE(Add(2, start_, 60));
  tracker_.Fail(1, timeout_);
  EXPECT_TRUE(Add(3, start_, 60));
}

TEST_F(ProposalTrackerTest, StopFailsAllAndTakesNoMore) {
  ASSERT_TRUE(Add(1, start_));
  tracker_.Stop(timeout_);
  EXPECT_EQ(told_, "1:timeout ");
  EXPECT_FALSE(Add(2, start_));
}

}  // namespace
}  // namespace cairn::server
