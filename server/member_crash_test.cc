// Crashes of a whole member: log, state, runner, trimmer and compactor as they ship, over disks
// that lose power at random operations and at every named point between two durable actions. The
// log keeps any subset of unsynced sectors, the state a prefix of its unflushed batches. Nothing
// acknowledged may be missing afterwards, no revision may be issued twice, and no honest crash may
// be refused.
//
// The seed decides when the power fails and what survives; the threads interleave as they like.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/fail_point.h"
#include "base/mutex.h"
#include "base/status.h"
#include "server/compactor.h"
#include "server/log_trimmer.h"
#include "server/test_member.h"

namespace cairn::server {
namespace {

using std::chrono::milliseconds;

constexpr int kWriters = 3;

// The arrows of flush, marker, plan, delete, sync, and the points where the log itself may stop.
constexpr std::array<std::string_view, 12> kPoints = {
    "server.trim.flushed", "server.trim.marked", "wal.gc.planned",   "wal.gc.removed",
    "wal.gc.synced",       "wal.write.done",     "wal.sync.done",    "wal.rotate.synced",
    "wal.rotate.begun",    "wal.spare.created",  "wal.spare.filled", "wal.spare.named"};

// What one writer knows of its key, whose values count up.
struct Written {
  int64_t tried = 0;
  int64_t acknowledged = 0;
};

class MemberCrashRun {
 public:
  explicit MemberCrashRun(uint64_t seed) : random_(seed) {}

  void Run(int lives) {
    for (int i = 0; i < lives && !testing::Test::HasFailure(); ++i) {
      if (random_() % 2 == 0) disk_.fs().PowerOffAfter(random_() % 150);
      Arm(kPoints[random_() % kPoints.size()], static_cast<int>(random_() % 6));
      Live();
    }
    Arm({}, 0);
    disk_.fs().Restart();
    Live();
  }

  static bool has_trimmed() { return has_trimmed_; }
  static bool was_cut(std::string_view point) {
    return cut_at_[static_cast<size_t>(std::find(kPoints.begin(), kPoints.end(), point) -
                                       kPoints.begin())];
  }

 private:
  void Live() {
    std::unique_ptr<TestMember> member;
    std::unique_ptr<LogTrimmer> trimmer;
    std::unique_ptr<Compactor> compactor;
    const bool is_power_cut = random_() % 4 != 0;
    const uint64_t crash_seed = random_();
    {
      const base::ScopedFailPointObserver observer([this](std::string_view name) { Pass(name); });
      member = Start();
      if (member != nullptr && member->runner().WaitReady(kTestPatience).ok()) {
        Check(*member);
        StartHousekeeping(*member, trimmer, compactor);
        Write(*member);
      }
      if (random_() % 4 != 0) disk_.fs().PowerOff();
      if (compactor != nullptr) compactor->Stop();
      if (trimmer != nullptr) trimmer->Stop();
      if (member != nullptr) {
        member->runner().Stop().IgnoreError();
        member->StopForGood();
      }
    }
    disk_.Crash(crash_seed, is_power_cut, [&] {
      compactor.reset();
      trimmer.reset();
      member.reset();
    });
  }

  // The power fails when `point` is passed for the time after `passes` more.
  void Arm(std::string_view point, int passes) {
    base::MutexLock lock(mutex_);
    point_ = point;
    passes_left_ = passes;
  }

  void Pass(std::string_view name) {
    base::MutexLock lock(mutex_);
    if (name != point_ || passes_left_-- > 0) return;
    cut_at_[static_cast<size_t>(std::find(kPoints.begin(), kPoints.end(), name) -
                                kPoints.begin())] = true;
    point_ = {};
    disk_.fs().PowerOff();
  }

  std::unique_ptr<TestMember> Start() {
    auto started = TestMember::Start(disk_);
    if (started.ok()) return *std::move(started);
    // Only the power may stop a start, never what the last crash left behind.
    EXPECT_NE(base::Message(started.status()).find("the power"), std::string_view::npos)
        << started.status();
    return nullptr;
  }

  void Check(TestMember& member) {
    const wal::Recovered& recovered = member.recovered();
    EXPECT_LE(recovered.before_first.index, member.applied_at_start().index);
    EXPECT_LE(member.applied_at_start().index, recovered.last.index);
    // The marker promises a state that is durable: it comes after the flush.
    EXPECT_LE(recovered.marker.value_or(wal::Marker()).id.index, member.applied_at_start().index);
    has_trimmed_ = has_trimmed_ || recovered.before_first.index > Index(0);
    const Revision revision = member.store().published().revision;
    {
      base::MutexLock lock(mutex_);
      EXPECT_GE(revision, revision_acknowledged_);
    }
    for (size_t i = 0; i < writers_.size(); ++i) {
      const TestMember::Found found = member.Get(fmt::format("key {}", i));
      const int64_t value = found.value.empty() ? 0 : std::stoll(found.value);
      EXPECT_GE(value, writers_[i].acknowledged) << "acknowledged and lost, writer " << i;
      EXPECT_LE(value, writers_[i].tried) << "never written, writer " << i;
      EXPECT_LE(found.mod_revision, revision);
      // A put that was not answered may be in or not, but what was seen once must stay.
      writers_[i] = {.tried = value, .acknowledged = value};
    }
  }

  void StartHousekeeping(TestMember& member, std::unique_ptr<LogTrimmer>& trimmer,
                         std::unique_ptr<Compactor>& compactor) {
    LogTrimmerOptions trimming;
    trimming.replay_entries_max = 16;
    trimming.poll = milliseconds(1);
    trimming.on_fatal = [this](const absl::Status&) { has_failed_ = true; };
    const Index marked =
        member.recovered().marker.has_value() ? member.recovered().marker->id.index : Index(0);
    trimmer = std::make_unique<LogTrimmer>(trimming, marked, member.wal(), member.store(),
                                           member.runner(), member.pins());
    CompactorOptions compacting;
    compacting.step_rows = 7;
    compacting.pause = milliseconds(0);
    compacting.poll = milliseconds(1);
    compacting.on_fatal = [this](const absl::Status&) { has_failed_ = true; };
    compactor = std::make_unique<Compactor>(compacting, member.store(), member.runner());
  }

  // Each writer counts its own key up until it has done enough or something has failed. Their
  // outcomes come through callbacks, so that a failure need not wait for a time-out.
  void Write(TestMember& member) {
    has_failed_ = false;
    const int puts = 20 + static_cast<int>(random_() % 60);
    const size_t value_bytes = random_() % 1200;
    std::vector<std::thread> threads;
    for (size_t i = 0; i < writers_.size(); ++i) {
      threads.emplace_back([&, i] { WriteKey(member, i, puts, value_bytes); });
    }
    for (std::thread& thread : threads) thread.join();
  }

  void WriteKey(TestMember& member, size_t i, int puts, size_t padding_bytes) {
    struct Answer {
      base::Mutex mutex;
      std::optional<Node::Outcome> outcome ABSL_GUARDED_BY(mutex);
    };
    Written& own = writers_[i];
    for (int put = 0; put < puts; ++put) {
      etcdserverpb::PutRequest request;
      request.set_key(fmt::format("key {}", i));
      // stoll reads the number and stops at the padding.
      request.set_value(fmt::format("{}{}", ++own.tried, std::string(padding_bytes, ' ')));
      const auto answer = std::make_shared<Answer>();
      member.runner().Propose(CommandKind::kPut, request.SerializeAsString(),
                              [answer](Node::Outcome outcome) {
                                base::MutexLock lock(answer->mutex);
                                answer->outcome = std::move(outcome);
                              });
      std::optional<Node::Outcome> outcome;
      while (!outcome.has_value()) {
        if (has_failed_ || member.fatal().count() > 0) return;
        std::this_thread::yield();
        base::MutexLock lock(answer->mutex);
        outcome = answer->outcome;
      }
      if (!outcome->status.ok()) return;
      own.acknowledged = own.tried;
      {
        base::MutexLock lock(mutex_);
        revision_acknowledged_ = std::max(revision_acknowledged_, outcome->revision);
      }
      if (i == 0 && put % 16 == 15) Compact(member, outcome->revision);
    }
  }

  // Whatever comes of it: removal then runs beside everything else.
  void Compact(TestMember& member, Revision revision) {
    etcdserverpb::CompactionRequest request;
    request.set_revision(revision.value() - 5);
    member.runner().Propose(CommandKind::kCompact, request.SerializeAsString(),
                            [](Node::Outcome) {});
  }

  inline static bool has_trimmed_ = false;
  inline static std::array<bool, kPoints.size()> cut_at_ = {};

  std::mt19937_64 random_;
  TestDisk disk_;
  std::array<Written, kWriters> writers_;
  std::atomic<bool> has_failed_ = false;
  base::Mutex mutex_;
  Revision revision_acknowledged_ ABSL_GUARDED_BY(mutex_);
  std::string_view point_ ABSL_GUARDED_BY(mutex_);
  int passes_left_ ABSL_GUARDED_BY(mutex_) = 0;
};

TEST(MemberCrashTest, NothingAcknowledgedIsLostAndNoCrashIsRefused) {
  for (uint64_t seed = 1; seed <= 120; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    MemberCrashRun(seed).Run(5);
    ASSERT_FALSE(testing::Test::HasFailure());
  }
  // The runs were worth something only if they came this far.
  EXPECT_TRUE(MemberCrashRun::has_trimmed());
  for (const std::string_view point : kPoints) {
    EXPECT_TRUE(MemberCrashRun::was_cut(point)) << point;
  }
}

}  // namespace
}  // namespace cairn::server
