// Crash enumeration: seeded runs of the real log on a disk that loses power at any operation,
// several times a run, also while it recovers. Nothing acknowledged may be lost, no honest power
// cut refused, nothing read back that was not written.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "base/status.h"
#include "wal/fault_fs.h"
#include "wal/log_model.h"
#include "wal/test_log.h"

namespace cairn::wal {
namespace {

class CrashRun {
 public:
  explicit CrashRun(uint64_t seed) : random_(seed) {}

  void Run(int crashes) {
    for (int i = 0; i < crashes && !::testing::Test::HasFatalFailure(); ++i) {
      fs_.PowerOffAfter(1 + random_() % (i == 0 ? 120 : 60));
      Live();
      wal_.reset();
      // Now and then only the process dies: the page cache survives.
      if (random_() % 4 == 0) {
        fs_.Restart();
      } else {
        fs_.Crash(random_());
      }
    }
    ASSERT_NO_FATAL_FAILURE(Start());
  }

 private:
  // Opens, works until the power fails.
  void Live() {
    if (!Start()) return;
    while (Step()) {
    }
  }

  bool Start() {
    auto opened = Wal::Open(fs_, kTestDirectory, options_, kTestIdentity);
    if (opened.status().code() == absl::StatusCode::kNotFound && !is_created_) {
      opened = Wal::Create(fs_, kTestDirectory, options_, kTestIdentity);
      if (opened.ok()) is_created_ = true;
    }
    if (!opened.ok()) {
      // Only the power may stop a start, never what the last cut left behind.
      EXPECT_EQ(opened.status().code(), absl::StatusCode::kInternal) << opened.status();
      EXPECT_NE(base::Message(opened.status()).find("the power"), std::string_view::npos)
          << opened.status();
      return false;
    }
    is_created_ = true;
    wal_ = std::move(opened->wal);
    Check(opened->recovered);
    return !::testing::Test::HasFatalFailure();
  }

  // The log must equal one of the versions since the last acknowledged one.
  void Check(const Recovered& recovered) {
    std::string problems;
    for (size_t i = 0; i < versions_.size(); ++i) {
      const std::string problem = Difference(versions_[i], recovered, *wal_);
      if (problem.empty()) {
        versions_ = {versions_[i]};
        return;
      }
      problems += "\n  version " + std::to_string(i) + ": " + problem;
    }
    FAIL() << "what came back is none of " << versions_.size() << " versions:" << problems;
  }

  // False once the power is off.
  bool Step() {
    const uint64_t dice = random_() % 20;
    if (dice == 0) return wal_->MakeSpare(nullptr).ok();
    if (dice == 1) return wal_->WriteDurableThrough().ok() && Acknowledge();
    if (dice == 2 && versions_.size() == 1) {
      const TailToKeep tail = {.entries_max = random_() % 20, .bytes_max = random_() % 40'000};
      return wal_->CollectCovered(Index(versions_.back().marker), {.tail = tail}).ok();
    }
    std::vector<Append> appends;
    LogModel next = versions_.back();
    for (uint64_t i = 0; i <= random_() % 3; ++i) {
      appends.push_back(RandomAppend(next));
      next.Apply(appends.back());
    }
    versions_.push_back(next);
    if (!wal_->Write(appends).ok()) return false;
    return random_() % 3 == 0 || Acknowledge();
  }

  bool Acknowledge() {
    if (!wal_->Sync().ok()) return false;
    versions_ = {versions_.back()};
    return true;
  }

  Append RandomAppend(const LogModel& model) {
    Append append;
    const uint64_t last = model.last();
    const uint64_t commit = model.hard_state.commit.value();
    uint64_t term = std::max(model.last_term(), model.hard_state.term.value());
    if (random_() % 8 == 0) ++term;
    uint64_t first = last + 1;
    if (term > model.last_term() && last > commit) first = commit + 1 + random_() % (last - commit);
    if (random_() % 40 == 0) {
      append.snapshot_installed = SnapshotInstalled{
          .id = {.term = Term(term), .index = Index(last + 5)}, .configuration = "configuration"};
      first = last + 6;
    }
    const uint64_t count = random_() % 4;
    for (uint64_t i = first; i < first + count; ++i) {
      // Zeros are what the mask is for.
      const char fill = random_() % 2 == 0 ? '\0' : static_cast<char>(random_());
      append.entries.push_back(MakeEntry(i, term, std::string(1 + random_() % 1500, fill)));
    }
    const uint64_t new_last = count > 0 ? first + count - 1 : (first > last + 1 ? last + 5 : last);
    append.commit = Index(std::max(commit, commit + random_() % (new_last - commit + 1)));
    if (append.snapshot_installed) append.commit = append.snapshot_installed->id.index;
    append.hard_state = raft::HardState{
        .term = Term(term), .vote = MemberId(random_() % 4), .commit = append.commit};
    if (random_() % 6 == 0 && commit >= model.snapshot && commit > model.marker &&
        !append.snapshot_installed) {
      const auto entry = model.entries.find(commit);
      if (entry != model.entries.end()) {
        append.marker = Marker{.id = {.term = entry->second.term, .index = Index(commit)}};
      }
    }
    return append;
  }

  std::mt19937_64 random_;
  FaultFs fs_;
  const Options options_{.segment_bytes = 16384};
  std::unique_ptr<Wal> wal_;
  bool is_created_ = false;
  // The last acknowledged one and everything written since.
  std::vector<LogModel> versions_ = {LogModel()};
};

TEST(CrashTest, NothingAcknowledgedIsLostAndNoPowerCutIsRefused) {
  for (uint64_t seed = 1; seed <= 1500; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    CrashRun(seed).Run(5);
    ASSERT_FALSE(::testing::Test::HasFailure());
  }
}

}  // namespace
}  // namespace cairn::wal
