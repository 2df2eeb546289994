#include "lease/lessor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "lease/lease_table.h"

namespace cairn::lease {
namespace {

constexpr Milliseconds kElectionMs = 1000;

// One cluster seen from the member that leads, loses the lead and leads again: a log whose end is
// lost with the lead, and a dumb account of what clients were promised.
class World {
 public:
  explicit World(uint32_t seed)
      : random_(seed),
        lessor_({.election_timeout_ms = kElectionMs, .checkpoint_interval_ms = 5000}) {}

  void Step() {
    now_ms_ += Pick(400);
    switch (Pick(12)) {
      case 0:
      case 1:
        return Grant();
      case 2:
        return Revoke();
      case 3:
        return ChangeLead();
      case 4:
        return ApplySome();
      case 5:
        return Attach();
      default:
        Renew();
        return Drive();
    }
  }

  // With a steady leader that nobody renews from, everything ends soon after it is due.
  void EndAll() {
    if (!lessor_.is_primary()) ChangeLead();
    ApplyAll();
    Milliseconds last_ms = now_ms_;
    for (const LeaseView& view : lessor_.All(now_ms_)) {
      last_ms = std::max(last_ms, now_ms_ + *view.remaining_ms);
    }
    // A hundred rounds more than needed: some proposals are refused, and rounds take few leases.
    while (now_ms_ <= last_ms + 10'000) {
      now_ms_ += 100;
      Drive();
      ApplyAll();
    }
    EXPECT_EQ(table_.size(), 0u);
    EXPECT_EQ(lessor_.size(), 0u);
    EXPECT_TRUE(waiting_.empty());
  }

 private:
  struct Entry {
    std::function<void()> effect;
  };

  uint32_t Pick(uint32_t limit) { return random_() % limit; }
  LeaseId AnyId() { return LeaseId(1 + Pick(20)); }

  void Append(std::function<void()> effect) {
    log_.push_back({std::move(effect)});
    ++last_;
  }

  void Grant() {
    const LeaseId id = AnyId();
    const int64_t ttl_s = 2 + Pick(30);
    Append([this, id, ttl_s, index = Index(last_ + 1)] {
      if (!table_.Grant(id, index, ttl_s)) return;
      promised_ms_[id] = now_ms_ + ttl_s * 1000;
    });
  }

  void Revoke() {
    const LeaseId id = AnyId();
    Append([this, id] { End(id); });
  }

  void Attach() {
    const LeaseId id = AnyId();
    Append([this, id] {
      if (table_.Find(id) != nullptr) table_.Attach(id);
    });
  }

  void End(LeaseId id) {
    if (table_.Find(id) == nullptr) return;
    while (table_.Find(id)->key_count > 0) table_.Detach(id);
    table_.Remove(id);
    promised_ms_.erase(id);
  }

  void Renew() {
    const LeaseId id = AnyId();
    if (Ask(id) == RenewResult::kRevoking || !waiting_.insert(id).second) return;
    if (Ask(id) != RenewResult::kClearing) waiting_.erase(id);
  }

  RenewResult Ask(LeaseId id) {
    const Renewal renewal = lessor_.Renew(id, now_ms_);
    if (renewal.result == RenewResult::kRenewed) {
      EXPECT_EQ(renewal.ttl_s, table_.Find(id)->ttl_s);
      promised_ms_[id] = std::max(promised_ms_[id], now_ms_ + renewal.ttl_s * 1000);
    }
    EXPECT_EQ(renewal.result == RenewResult::kNoSuchLease,
              lessor_.is_primary() && table_.Find(id) == nullptr);
    return renewal.result;
  }

  void Drive() {
    const std::vector<LeaseName> due = lessor_.TakeDue(now_ms_, 1 + Pick(5));
    for (const LeaseName& name : due) {
      if (!table_.Holds(name)) continue;
      EXPECT_LE(promised_ms_.at(name.id), now_ms_) << "lease " << name.id << " ends early";
    }
    if (!due.empty() && Pick(4) == 0) {
      lessor_.RefusedDue(due, now_ms_);
    } else if (!due.empty()) {
      Append([this, due] {
        for (const LeaseName& name : due) {
          if (!table_.Holds(name)) continue;
          EXPECT_LE(promised_ms_.at(name.id), now_ms_) << "lease " << name.id << " ends early";
          End(name.id);
        }
      });
    }
    const std::vector<LeaseName> clears = lessor_.TakeClears(now_ms_, 1 + Pick(3));
    if (!clears.empty() && Pick(4) == 0) {
      lessor_.RefusedClears(clears);
    } else if (!clears.empty()) {
      Append([this, clears] {
        for (const LeaseName& name : clears) table_.Clear(name);
      });
    }
    const std::vector<CheckpointItem> items = lessor_.TakeCheckpoints(now_ms_, 1 + Pick(3));
    if (!items.empty() && Pick(4) == 0) {
      lessor_.RefusedCheckpoints(items);
    } else if (!items.empty()) {
      lessor_.ProposedCheckpoints(items, Index(last_ + 1));
      Append([this, items] {
        for (const CheckpointItem& item : items) table_.Checkpoint(item.name, item.remaining_ms);
      });
    }
  }

  void ApplySome() {
    for (uint32_t n = Pick(4); n > 0 && !log_.empty(); --n) ApplyOne();
    Tell();
  }
  void ApplyAll() {
    while (!log_.empty()) ApplyOne();
    Tell();
  }
  void ApplyOne() {
    ++applied_;
    const Entry entry = std::move(log_.front());
    log_.pop_front();
    entry.effect();
  }
  void Tell() {
    lessor_.Update(Index(applied_), table_.TakeUpdates(), now_ms_);
    for (auto it = waiting_.begin(); it != waiting_.end();) {
      it = Ask(*it) == RenewResult::kClearing ? std::next(it) : waiting_.erase(it);
    }
  }

  void ChangeLead() {
    if (lessor_.is_primary()) {
      lessor_.Demote();
      waiting_.clear();  // Refused; nothing was promised.
      // The end of the log is lost; its indexes are used again by others.
      while (!log_.empty() && Pick(2) == 0) {
        log_.pop_back();
        --last_;
      }
      return;
    }
    ApplyAll();
    lessor_.Promote(now_ms_);
    lessor_.Confirm(Lessor::kForEver);
  }

  std::mt19937 random_;
  Milliseconds now_ms_ = 0;
  Lessor lessor_;
  LeaseTable table_;
  std::deque<Entry> log_;
  uint64_t applied_ = 0;
  uint64_t last_ = 0;
  // Until when some client believes that it holds the lease.
  std::map<LeaseId, Milliseconds> promised_ms_;
  std::set<LeaseId> waiting_;
};

TEST(LessorTest, NoLeaseEndsEarlyAndAllEnd) {
  for (uint32_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    World world(seed);
    for (int step = 0; step < 400; ++step) world.Step();
    world.EndAll();
    if (HasFailure()) return;
  }
}

LeaseUpdate Granted(int64_t id, int64_t ttl_s) {
  return {LeaseId(id), LeaseFacts{.granted = Index(1), .ttl_s = ttl_s, .key_count = 1}};
}

// A million leases; a tenth of them due at once comes in entries of 500, and taking one looks at no
// lease that is not due.
TEST(LessorTest, ScalesToAMillionLeases) {
  constexpr int64_t kLeases = 1'000'000;
  Lessor lessor({});
  std::vector<LeaseUpdate> grants;
  grants.reserve(kLeases);
  for (int64_t id = 1; id <= kLeases; ++id) {
    grants.push_back(Granted(id, id % 10 == 0 ? 60 : 6000));
  }
  lessor.Promote(0);
  lessor.Confirm(Lessor::kForEver);
  lessor.Update(Index(1), grants, 0);
  EXPECT_FALSE(lessor.HasWork(59'000));
  size_t entries = 0;
  size_t taken = 0;
  while (lessor.HasWork(60'100)) {
    const std::vector<LeaseName> due = lessor.TakeDue(60'100, 500);
    EXPECT_LE(due.size(), 500u);
    taken += due.size();
    ++entries;
    std::vector<LeaseUpdate> gone;
    for (const LeaseName& name : due) gone.push_back({name.id, std::nullopt});
    lessor.Update(Index(1 + entries), gone, 60'100);
  }
  EXPECT_EQ(taken, static_cast<size_t>(kLeases / 10));
  EXPECT_EQ(entries, static_cast<size_t>(kLeases / 10 / 500));
  EXPECT_EQ(lessor.size(), static_cast<size_t>(kLeases - kLeases / 10));
}

// Renewed leases come up once per time to live, not once per renewal, and one call looks at a
// bounded number of them.
TEST(LessorTest, RenewalsCostTheQueueNothing) {
  constexpr int64_t kLeases = 3 * Lessor::kItemsPerCallMax;
  Lessor lessor({});
  lessor.Promote(0);
  lessor.Confirm(Lessor::kForEver);
  std::vector<LeaseUpdate> grants;
  for (int64_t id = 1; id <= kLeases; ++id) grants.push_back(Granted(id, 10));
  lessor.Update(Index(1), grants, 0);
  for (int round = 1; round <= 3; ++round) {
    for (int64_t id = 1; id <= kLeases; ++id) {
      ASSERT_EQ(lessor.Renew(LeaseId(id), round * 3000).result, RenewResult::kRenewed);
    }
  }
  EXPECT_EQ(lessor.queued_items(), static_cast<size_t>(kLeases));
  int calls = 0;
  for (; lessor.HasWork(10'100); ++calls) EXPECT_TRUE(lessor.TakeDue(10'100, 500).empty());
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(lessor.queued_items(), static_cast<size_t>(kLeases));
}

// Leases that are granted for ages and revoked at once leave nothing behind that grows.
TEST(LessorTest, ChurnDoesNotGrowTheQueues) {
  Lessor lessor({});
  lessor.Promote(0);
  lessor.Confirm(Lessor::kForEver);
  size_t most = 0;
  for (int64_t n = 1; n <= 100'000; ++n) {
    lessor.Update(Index(static_cast<uint64_t>(n)), std::vector{Granted(n, 9'000'000'000)}, n);
    lessor.Update(Index(static_cast<uint64_t>(n)),
                  std::vector{LeaseUpdate{LeaseId(n), std::nullopt}}, n);
    most = std::max(most, lessor.queued_items());
  }
  EXPECT_LE(most, 2000u);
}

// What a loss of the leader adds to a quiet lease: at most an interval, an election timeout, and
// the time without a leader.
TEST(LessorTest, ALossOfTheLeaderLengthensByAKnownBound) {
  constexpr Milliseconds kIntervalMs = 5000;
  constexpr Milliseconds kTickMs = 100;
  for (Milliseconds lost_ms = 1000; lost_ms < 55'000; lost_ms += 1700) {
    Lessor lessor({.election_timeout_ms = kElectionMs, .checkpoint_interval_ms = kIntervalMs});
    LeaseUpdate lease = Granted(1, 60);
    lessor.Promote(0);
    lessor.Confirm(Lessor::kForEver);
    lessor.Update(Index(1), std::vector{lease}, 0);
    uint64_t index = 1;
    for (Milliseconds now_ms = 0; now_ms < lost_ms; now_ms += kTickMs) {
      for (const CheckpointItem& item : lessor.TakeCheckpoints(now_ms, 10)) {
        lessor.ProposedCheckpoints(std::vector{item}, Index(++index));
        lease.facts->checkpoint_ms = item.remaining_ms;
        lessor.Update(Index(index), std::vector{lease}, now_ms);
      }
    }
    constexpr Milliseconds kGapMs = 3000;
    lessor.Demote();
    lessor.Promote(lost_ms + kGapMs);
    const Milliseconds end_ms =
        lost_ms + kGapMs + *lessor.Find(LeaseId(1), lost_ms + kGapMs)->remaining_ms;
    EXPECT_GE(end_ms, 60'000);
    EXPECT_LE(end_ms, 60'000 + kIntervalMs + 2 * kTickMs + kElectionMs + kGapMs) << lost_ms;
  }
}

}  // namespace
}  // namespace cairn::lease
