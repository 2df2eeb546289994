#include "server/lease_manager.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "api/errors.h"
#include "base/status.h"

namespace cairn::server {
namespace {

constexpr LeaseId kId{1};

class LeaseManagerTest : public testing::Test {
 protected:
  LeaseManagerTest()
      : manager_({.lessor = {.election_timeout_ms = 1000, .checkpoint_interval_ms = 5000},
                  .wait = std::chrono::seconds(7),
                  .now_ms = [this] { return now_ms_.load(); }}) {}

  void Lead() {
    manager_.Promote();
    manager_.Confirm(lease::Lessor::kForEver);
    manager_.AnswerWaiting();
  }
  void Grant(int64_t ttl_s) {
    facts_ = {.granted = Index(++index_), .ttl_s = ttl_s};
    Tell();
  }
  void Tell() { manager_.Applied(Index(index_), std::vector{lease::LeaseUpdate{kId, facts_}}); }
  void End() {
    manager_.Applied(Index(++index_), std::vector{lease::LeaseUpdate{kId, std::nullopt}});
  }
  // Appends to `answers_` what a waiting renewal is told.
  void RenewLater() {
    manager_.RenewLater(kId, [this](absl::StatusOr<int64_t> ttl_s) {
      answers_.push_back(ttl_s.ok() ? std::to_string(*ttl_s)
                                    : std::string(base::Message(ttl_s.status())));
    });
  }

  std::atomic<lease::Milliseconds> now_ms_ = 0;
  LeaseManager manager_;
  lease::LeaseFacts facts_;
  uint64_t index_ = 0;
  std::vector<std::string> answers_;
};

using Answers = std::vector<std::string>;

// A revocation in pieces: it waits for as long as they come, and for its own grant alone.
TEST_F(LeaseManagerTest, AwaitsAnEnd) {
  Lead();
  const auto await = [this] {
    manager_.AwaitEnd({kId, facts_.granted}, [this](const absl::StatusOr<int64_t>& gone) {
      answers_.push_back(gone.ok() ? "gone" : std::string(base::Message(gone.status())));
    });
  };
  const auto begin_end = [this] {
    Grant(10);
    facts_.ttl_s = 0;
    facts_.key_count = 300;
    Tell();
  };
  begin_end();
  await();
  // Each piece is worth a wait of its own.
  for (int piece = 0; piece < 2; ++piece) {
    now_ms_ += 6999;
    manager_.Tick();
    facts_.key_count -= 100;
    Tell();
  }
  EXPECT_EQ(answers_, Answers{});
  End();
  EXPECT_EQ(answers_, Answers{"gone"});
  await();
  EXPECT_EQ(answers_, (Answers{"gone", "gone"})) << "at once";

  // The id is another lease's before anyone has looked.
  answers_.clear();
  begin_end();
  await();
  Grant(10);
  EXPECT_EQ(answers_, Answers{"gone"});

  answers_.clear();
  begin_end();
  await();
  now_ms_ += 7001;
  manager_.Tick();
  EXPECT_EQ(answers_, Answers{"etcdserver: request timed out"});
  answers_.clear();
  await();
  manager_.Stop();
  await();
  EXPECT_EQ(answers_, Answers(2, "etcdserver: server stopped"));
}

TEST_F(LeaseManagerTest, NoMoreEndsAreAwaitedThanAreLookedAt) {
  Grant(10);
  int refused = 0;
  for (size_t i = 0; i <= LeaseManager::kEndsAwaitedMax; ++i) {
    manager_.AwaitEnd({kId, facts_.granted}, [&](const absl::StatusOr<int64_t>& gone) {
      refused += gone.status() == api::ToStatus(api::Error::kTimeout);
    });
  }
  EXPECT_EQ(refused, 1);
}

TEST_F(LeaseManagerTest, RenewsAtOnceWhenItCan) {
  Lead();
  Grant(10);
  EXPECT_EQ(manager_.Renew(kId), 10);
  EXPECT_EQ(manager_.Renew(LeaseId(2)), 0);
  RenewLater();
  EXPECT_EQ(answers_, (Answers{"10"}));
  EXPECT_EQ(manager_.count(), 1u);
}

TEST_F(LeaseManagerTest, ARenewalOfALeaseThatIsBeingRevokedFindsNone) {
  Lead();
  Grant(10);
  now_ms_ = 10'100;
  ASSERT_EQ(manager_.TakeDue(500).size(), 1u);
  EXPECT_EQ(manager_.Renew(kId), std::nullopt);
  RenewLater();
  RenewLater();
  manager_.Tick();
  EXPECT_EQ(answers_, (Answers{}));
  End();
  EXPECT_EQ(answers_, (Answers{"0", "0"}));
}

// The grant may be committed, and answered by another member, while this leader has yet to apply
// it.
class LeaseBarrierTest : public testing::Test {
 protected:
  LeaseBarrierTest() {
    manager_.Promote();
    manager_.Confirm(lease::Lessor::kForEver);
  }
  void Renew(LeaseId id) {
    manager_.RenewLater(id, [this](absl::StatusOr<int64_t> ttl_s) {
      answers_.push_back(ttl_s.ok() ? std::to_string(*ttl_s)
                                    : std::string(base::Message(ttl_s.status())));
    });
  }
  void Apply(uint64_t index, std::optional<lease::LeaseFacts> facts) {
    manager_.Applied(Index(index), std::vector{lease::LeaseUpdate{kId, facts}});
  }

  lease::Milliseconds now_ms_ = 0;
  std::vector<LeaseManagerOptions::BarrierDone> barriers_;
  std::vector<std::string> answers_;
  LeaseManager manager_{{.wait = std::chrono::seconds(7),
                         .now_ms = [this] { return now_ms_; },
                         .read_barrier =
                             [this](LeaseManagerOptions::BarrierDone done) {
                               barriers_.push_back(std::move(done));
                             }}};
};

TEST_F(LeaseBarrierTest, AnUnknownLeaseIsDeniedOnlyBehindABarrier) {
  EXPECT_EQ(manager_.Renew(kId), std::nullopt);
  Renew(kId);
  Renew(LeaseId(2));
  Renew(LeaseId(2));
  EXPECT_EQ(answers_, (Answers{}));
  ASSERT_EQ(barriers_.size(), 1u);
  // The grant arrives.
  Apply(1, lease::LeaseFacts{.granted = Index(1), .ttl_s = 10});
  EXPECT_EQ(answers_, (Answers{"10"}));
  barriers_[0](absl::OkStatus());
  EXPECT_EQ(answers_, (Answers{"10"}));
  // Both who asked for the other came after that barrier, and share the next one; who comes after
  // it needs another. A barrier that fails says nothing; the next tick asks for another.
  ASSERT_EQ(barriers_.size(), 2u);
  Renew(LeaseId(2));
  barriers_[1](absl::OkStatus());
  EXPECT_EQ(answers_, (Answers{"10", "0", "0"}));
  ASSERT_EQ(barriers_.size(), 3u);
  barriers_[2](absl::UnavailableError("leader changed"));
  EXPECT_EQ(answers_, (Answers{"10", "0", "0"}));
  manager_.Tick();
  ASSERT_EQ(barriers_.size(), 4u);
  barriers_[3](absl::OkStatus());
  EXPECT_EQ(answers_, (Answers{"10", "0", "0", "0"}));
  EXPECT_EQ(manager_.waiting(), 0u);
}

// It may take many entries, and its owner need not wait for the last.
TEST_F(LeaseBarrierTest, AnEndingLeaseIsDeniedBehindABarrier) {
  lease::LeaseFacts facts = {.granted = Index(1), .ttl_s = 10, .key_count = 300'000};
  Apply(1, facts);
  now_ms_ = 10'100;
  ASSERT_EQ(manager_.TakeDue(500).size(), 1u);
  Renew(kId);
  EXPECT_EQ(answers_, (Answers{}));
  // The first piece.
  facts.ttl_s = 0;
  facts.key_count -= 100'000;
  Apply(2, facts);
  Renew(kId);
  ASSERT_EQ(barriers_.size(), 1u);
  barriers_[0](absl::OkStatus());
  EXPECT_EQ(answers_, (Answers{"0"}));
  ASSERT_EQ(barriers_.size(), 2u);
  barriers_[1](absl::OkStatus());
  EXPECT_EQ(answers_, (Answers{"0", "0"}));
  EXPECT_EQ(manager_.waiting(), 0u);
}

// A client that renews what was never granted costs as little as one that renews what was.
TEST_F(LeaseBarrierTest, AStormOfUnknownLeasesTakesTwoBarriers) {
  constexpr int kLeases = 1000;
  for (int id = 1; id <= kLeases; ++id) Renew(LeaseId(id));
  ASSERT_EQ(barriers_.size(), 1u);
  barriers_[0](absl::OkStatus());
  ASSERT_EQ(barriers_.size(), 2u);
  barriers_[1](absl::OkStatus());
  EXPECT_EQ(answers_, Answers(kLeases, "0"));
  EXPECT_EQ(barriers_.size(), 2u);
}

// Its id may be granted anew in an entry that this leader has yet to apply.
TEST_F(LeaseBarrierTest, ALeaseThatEndsIsDeniedOnlyBehindABarrierToo) {
  Renew(kId);
  Apply(1, std::nullopt);
  EXPECT_EQ(answers_, (Answers{}));
  Apply(2, lease::LeaseFacts{.granted = Index(2), .ttl_s = 20});
  EXPECT_EQ(answers_, (Answers{"20"}));
}

TEST_F(LeaseBarrierTest, WhoCameAfterTheBarrierIsNotDeniedInThePlaceOfWhoLeft) {
  Renew(kId);
  now_ms_ = 7000;
  manager_.Tick();
  EXPECT_EQ(answers_, (Answers{"etcdserver: request timed out"}));
  Renew(kId);
  ASSERT_EQ(barriers_.size(), 1u);
  barriers_[0](absl::OkStatus());
  EXPECT_EQ(answers_.size(), 1u);
  ASSERT_EQ(barriers_.size(), 2u);
  barriers_[1](absl::OkStatus());
  EXPECT_EQ(answers_.back(), "0");
}

TEST_F(LeaseManagerTest, SoManyMayWaitAndNoMore) {
  Grant(10);  // Nobody leads.
  size_t told = 0;
  for (size_t i = 0; i < LeaseManager::kWaitersMax; ++i) {
    manager_.RenewLater(LeaseId(static_cast<int64_t>(i % 100)),
                        [&told](const absl::StatusOr<int64_t>&) { ++told; });
  }
  EXPECT_EQ(told, 0u);
  RenewLater();
  EXPECT_EQ(answers_, (Answers{"etcdserver: too many requests"}));
  // Those whose time is over make room, and so do those who are answered.
  now_ms_ = 7'000;
  manager_.Tick();
  EXPECT_EQ(told, LeaseManager::kWaitersMax);
  for (size_t i = 0; i < LeaseManager::kWaitersMax; ++i) {
    manager_.RenewLater(kId, [&told](const absl::StatusOr<int64_t>&) { ++told; });
  }
  Lead();
  EXPECT_EQ(told, 2 * LeaseManager::kWaitersMax);
  manager_.Demote();
  RenewLater();
  EXPECT_EQ(answers_.size(), 1u);
}

TEST_F(LeaseManagerTest, ARefusedRevocationLetsTheRenewalThrough) {
  Lead();
  Grant(10);
  now_ms_ = 10'100;
  const std::vector<lease::LeaseName> due = manager_.TakeDue(500);
  RenewLater();
  manager_.RefusedDue(due);
  EXPECT_EQ(answers_, (Answers{"10"}));
  EXPECT_TRUE(manager_.TakeDue(500).empty());
}

TEST_F(LeaseManagerTest, ARenewalWaitsForTheClearingEntry) {
  Lead();
  Grant(60);
  now_ms_ = 5100;
  const std::vector<lease::CheckpointItem> items = manager_.TakeCheckpoints(10);
  ASSERT_EQ(items.size(), 1u);
  manager_.ProposedCheckpoints(items, Index(++index_));
  RenewLater();
  facts_.checkpoint_ms = items[0].remaining_ms;
  Tell();
  EXPECT_EQ(answers_, (Answers{}));
  ASSERT_EQ(manager_.TakeClears(10).size(), 1u);
  ++index_;
  facts_.checkpoint_ms.reset();
  Tell();
  EXPECT_EQ(answers_, (Answers{"60"}));
}

TEST_F(LeaseManagerTest, WaitsForALeaderAndGivesUp) {
  Grant(10);
  RenewLater();
  now_ms_ = 6000;
  manager_.Tick();
  EXPECT_EQ(answers_, (Answers{}));
  now_ms_ = 7000;
  manager_.Tick();
  EXPECT_EQ(answers_, (Answers{"etcdserver: no leader"}));
  RenewLater();
  Lead();
  EXPECT_EQ(answers_, (Answers{"etcdserver: no leader", "10"}));
}

TEST_F(LeaseManagerTest, AConfirmationEnds) {
  Grant(10);
  manager_.Promote();
  manager_.Confirm(100);
  EXPECT_EQ(manager_.Renew(kId), 10);
  now_ms_ = 100;
  EXPECT_EQ(manager_.Renew(kId), std::nullopt);
  EXPECT_FALSE(manager_.HasWork());
  EXPECT_FALSE(manager_.is_confirmed());
  RenewLater();
  manager_.Confirm(200);
  EXPECT_TRUE(manager_.is_confirmed());
  EXPECT_EQ(answers_, (Answers{}));
  manager_.AnswerWaiting();
  EXPECT_EQ(answers_, (Answers{"10"}));
}

TEST_F(LeaseManagerTest, StopRefusesWhatWaitsAndWhatComes) {
  Grant(10);
  RenewLater();
  manager_.Stop();
  RenewLater();
  EXPECT_EQ(answers_, (Answers{"etcdserver: server stopped", "etcdserver: server stopped"}));
  EXPECT_EQ(manager_.Renew(kId), std::nullopt);
}

// For the thread sanitizer: every kind of thread at once, and no waiter is forgotten.
TEST_F(LeaseManagerTest, ManyThreads) {
  Lead();
  std::atomic<int> asked = 0;
  std::atomic<int> answered = 0;
  std::vector<std::thread> threads;
  for (int n = 0; n < 3; ++n) {
    threads.emplace_back([&] {
      for (int i = 0; i < 3000; ++i) {
        if (manager_.Renew(kId).has_value()) continue;
        ++asked;
        manager_.RenewLater(kId, [&](const absl::StatusOr<int64_t>&) { ++answered; });
      }
    });
  }
  threads.emplace_back([&] {
    for (int i = 0; i < 1000; ++i) {
      Grant(2);
      now_ms_ += 2100;
      const std::vector<lease::LeaseName> due = manager_.TakeDue(500);
      if (!due.empty() && i % 3 == 0) {
        manager_.RefusedDue(due);
      } else {
        End();
      }
      manager_.Tick();
      manager_.FindAll(std::vector<LeaseId>{kId}, manager_.Now());
    }
  });
  for (std::thread& thread : threads) thread.join();
  manager_.Stop();
  EXPECT_EQ(asked, answered);
}

// A member that does not lead, and what it asks the leader.
class LeaseFollowerTest : public testing::Test {
 protected:
  using LeaderDone = LeaseManagerOptions::LeaderDone;

  LeaseFollowerTest() {
    LeaseManagerOptions options;
    options.now_ms = [this] { return now_ms_.load(); };
    options.renew_on_leader = [this](LeaseId id, LeaderDone done) {
      if (!has_leader_) return false;
      asked_.emplace_back(id, std::move(done));
      return true;
    };
    manager_ = std::make_unique<LeaseManager>(std::move(options));
    manager_->Applied(Index(1), std::vector{lease::LeaseUpdate{
                                    kId, lease::LeaseFacts{.granted = Index(1), .ttl_s = 10}}});
  }

  void RenewLater() {
    manager_->RenewLater(kId, [this](absl::StatusOr<int64_t> ttl_s) {
      answers_.push_back(ttl_s.ok() ? std::to_string(*ttl_s)
                                    : std::string(base::Message(ttl_s.status())));
    });
  }
  void Answer(absl::StatusOr<int64_t> ttl_s) {
    LeaderDone done = std::move(asked_.front().second);
    asked_.erase(asked_.begin());
    done(std::move(ttl_s));
  }

  std::atomic<lease::Milliseconds> now_ms_ = 0;
  bool has_leader_ = true;
  std::vector<std::pair<LeaseId, LeaderDone>> asked_;
  std::vector<std::string> answers_;
  std::unique_ptr<LeaseManager> manager_;
};

TEST_F(LeaseFollowerTest, AsksTheLeaderOnceForAllThatWait) {
  RenewLater();
  ASSERT_EQ(asked_.size(), 1u);
  EXPECT_EQ(asked_[0].first, kId);
  // These came after the question, so its answer is not theirs.
  RenewLater();
  RenewLater();
  EXPECT_EQ(asked_.size(), 1u);
  Answer(10);
  EXPECT_EQ(answers_, (Answers{"10"}));
  ASSERT_EQ(asked_.size(), 1u);
  Answer(0);
  EXPECT_EQ(answers_, (Answers{"10", "0", "0"}));
  EXPECT_TRUE(asked_.empty());
}

TEST_F(LeaseFollowerTest, AsksAgainAtEachTickUntilTheWaitEnds) {
  has_leader_ = false;
  RenewLater();
  EXPECT_TRUE(asked_.empty());
  has_leader_ = true;
  manager_->Tick();
  ASSERT_EQ(asked_.size(), 1u);
  Answer(api::ToStatus(api::Error::kNoLeader));
  EXPECT_TRUE(answers_.empty());
  manager_->Tick();
  ASSERT_EQ(asked_.size(), 1u);
  now_ms_ = 7'000;
  manager_->Tick();
  EXPECT_EQ(answers_, (Answers{std::string(base::Message(api::ToStatus(api::Error::kNoLeader)))}));
  Answer(10);
  EXPECT_EQ(answers_.size(), 1u);
}

// The leader that was asked stands still, and with it the call.
TEST_F(LeaseFollowerTest, AsksTheNextLeaderWhatTheLastOneHasNotAnswered) {
  manager_->Follow(MemberId(1));
  RenewLater();
  ASSERT_EQ(asked_.size(), 1u);
  has_leader_ = false;
  manager_->Follow(MemberId(0));
  manager_->Tick();
  EXPECT_EQ(asked_.size(), 1u);
  has_leader_ = true;
  manager_->Follow(MemberId(2));
  ASSERT_EQ(asked_.size(), 2u);
  manager_->Follow(MemberId(2));
  RenewLater();
  EXPECT_EQ(asked_.size(), 2u);
  // What the last one says at last is news of another time.
  Answer(10);
  EXPECT_EQ(answers_, (Answers{}));
  manager_->Tick();
  ASSERT_EQ(asked_.size(), 1u);
  Answer(20);
  EXPECT_EQ(answers_, (Answers{"20"}));
  ASSERT_EQ(asked_.size(), 1u);
  Answer(20);
  EXPECT_EQ(answers_, (Answers{"20", "20"}));
}

TEST_F(LeaseFollowerTest, SaysWhetherThereWasALeaderWhenTheWaitEnds) {
  manager_->Follow(MemberId(2));
  RenewLater();
  now_ms_ = 7'000;
  manager_->Tick();
  EXPECT_EQ(answers_, (Answers{"etcdserver: request timed out"}));
  manager_->Follow(MemberId(0));
  RenewLater();
  now_ms_ = 14'000;
  manager_->Tick();
  EXPECT_EQ(answers_, (Answers{"etcdserver: request timed out", "etcdserver: no leader"}));
}

TEST_F(LeaseFollowerTest, AnAnswerAfterTheEndFindsNobody) {
  RenewLater();
  manager_->Stop();
  EXPECT_EQ(answers_.size(), 1u);
  Answer(10);
  EXPECT_EQ(answers_.size(), 1u);
}

TEST_F(LeaseFollowerTest, WhoComesToLeadAnswersByItself) {
  RenewLater();
  manager_->Promote();
  manager_->Confirm(lease::Lessor::kForEver);
  manager_->AnswerWaiting();
  EXPECT_EQ(answers_, (Answers{"10"}));
  Answer(10);
  EXPECT_EQ(answers_.size(), 1u);
}

}  // namespace
}  // namespace cairn::server
