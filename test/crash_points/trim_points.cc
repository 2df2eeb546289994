#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/fail_point.h"
#include "base/mutex.h"
#include "base/status.h"
#include "server/log_trimmer.h"
#include "server/test_member.h"
#include "test/crash_points/member_points.h"

namespace cairn::crash_points {

namespace {

using server::LogTrimmer;
using server::TestDisk;
using server::TestMember;
using wal::FaultDisk;
using wal::FaultStep;

constexpr char kKey[] = "key";
// Four to a segment of 16 KiB.
constexpr size_t kValueBytes = 3000;
constexpr uint64_t kReplayEntriesMax = 8;
// Of the log, so many segments must have gone at least.
constexpr int kRemovalsMin = 4;
constexpr int kPutsMax = 400;

class Trimming {
 public:
  Trimming(const Bounds& bounds, Report& report) : bounds_(bounds), report_(report) {}

  void Play() {
    TestDisk disk;
    disk.fs().set_step_observer(
        [&](const FaultStep& step, const FaultDisk& before) { Visit(step, before, disk.rows()); });
    {
      const base::ScopedFailPointObserver observer([this](std::string_view name) { Pass(name); });
      auto started = TestMember::Start(disk);
      CAIRN_CHECK(started.ok(), started.status().ToString());
      TestMember& member = **started;
      CAIRN_CHECK(member.runner().WaitReady(server::kTestPatience).ok());
      server::LogTrimmerOptions options;
      options.replay_entries_max = kReplayEntriesMax;
      options.poll = std::chrono::milliseconds(1);
      options.on_fatal = [this](const absl::Status& status) {
        report_.Violation(status.ToString());
      };
      LogTrimmer trimmer(options, Index(0), member.wal(), member.store(), member.runner(),
                         member.pins());
      for (int i = 0; i < kPutsMax && removals() < kRemovalsMin; ++i) Put(member);
      trimmer.Stop();
      member.runner().Stop().IgnoreError();
    }
    disk.fs().set_step_observer(nullptr);
    CheckOrder();
  }

 private:
  void Put(TestMember& member) {
    const int64_t number = tried_.fetch_add(1) + 1;
    const auto outcome =
        member.Put(kKey, fmt::format("{}{}", number, std::string(kValueBytes, ' ')));
    if (!outcome.status.ok()) return report_.Violation(outcome.status.ToString());
    acknowledged_ = number;
  }

  // The trimmer's thread alone passes these.
  void Pass(std::string_view name) {
    if (name.starts_with("server.trim.") || name.starts_with("wal.gc.")) {
      base::MutexLock lock(mutex_);
      passed_.emplace_back(name);
    }
  }
  int removals() const {
    base::MutexLock lock(mutex_);
    return static_cast<int>(std::count(passed_.begin(), passed_.end(), "wal.gc.synced"));
  }

  // A turn is flush and marker; then, in this turn or a later one, plan, delete and directory for
  // each segment.
  void CheckOrder() {
    base::MutexLock lock(mutex_);
    std::string_view before = "server.trim.marked";
    for (const std::string& name : passed_) {
      const bool is_next = (name == "server.trim.flushed" &&
                            (before == "server.trim.marked" || before == "wal.gc.synced")) ||
                           (name == "server.trim.marked" && before == "server.trim.flushed") ||
                           (name == "wal.gc.planned" &&
                            (before == "server.trim.marked" || before == "wal.gc.synced")) ||
                           (name == "wal.gc.removed" && before == "wal.gc.planned") ||
                           (name == "wal.gc.synced" && before == "wal.gc.removed");
      if (!is_next) report_.Violation(fmt::format("trimming: {} after {}", name, before));
      before = name;
    }
    if (std::count(passed_.begin(), passed_.end(), "wal.gc.synced") < kRemovalsMin) {
      report_.Violation("trimming: hardly a segment was removed");
    }
  }

  // On whichever thread makes the step; everything else waits for the disk meanwhile.
  void Visit(const FaultStep& step, const FaultDisk& before, const mvcc::MemDisk& rows) {
    if (!report_.violation().empty()) return;
    const int64_t acknowledged = acknowledged_;
    Report::Row& row = report_.At(step);
    ++row.points;
    ++points_;
    const size_t batches = rows.unflushed_batches();
    for (const size_t kept_batches : std::set<size_t>{0, batches / 2, batches}) {
      uint64_t subset = 0;
      for (const auto& kept : Subsets(before.Unsynced().size(), bounds_, points_)) {
        ++row.outcomes;
        FaultDisk image = before;
        image.CrashKeeping(kept);
        // The state differs at each point.
        if (!report_.IsNewImage(image.Fingerprint(), points_ * 1000 + kept_batches)) continue;
        ++row.images;
        ++row.recoveries;
        TestDisk disk(std::move(image), rows, kept_batches);
        const std::string problem = Start(disk, acknowledged, tried_);
        if (!problem.empty()) {
          return report_.Violation(fmt::format(
              "crash before {}: {}, {} of {} batches of the state and subset {} of the "
              "log are kept: {}",
              report_.phase(), DescribeStep(step), kept_batches, batches, subset, problem));
        }
        ++subset;
      }
    }
  }

  // Empty when a member comes up with everything acknowledged, and nothing that was never written.
  static std::string Start(TestDisk& disk, int64_t acknowledged, int64_t tried) {
    auto opened = server::Bootstrap(disk.foundation(), server::TestConfig());
    if (!opened.ok()) return fmt::format("refused: {}", base::Message(opened.status()));
    server::Bootstrapped& member = *opened;
    const wal::Recovered& recovered = member.recovered;
    const Index applied = member.store->applied().index;
    if (recovered.marker.value_or(wal::Marker()).id.index > applied) {
      return fmt::format("the marker says {}, the state has {}", recovered.marker->id.index,
                         applied);
    }
    if (recovered.last.index > applied) {
      const auto entries =
          member.wal->ReadEntries(applied + 1, recovered.last.index + 1, size_t{1} << 30);
      if (!entries.ok()) return std::string(base::Message(entries.status()));
      if (entries->size() != recovered.last.index - applied) return "entries are missing";
      // With one voter all of them are committed.
      if (const auto status = member.applier->Apply(*entries).status(); !status.ok()) {
        return std::string(base::Message(status));
      }
    }
    int64_t found = 0;
    const auto take = [&](const mvcc::KeyValueView& row) {
      found = std::stoll(std::string(row.value));
      return true;
    };
    if (const auto got = member.store->Get(kKey, mvcc::kCurrent, take); !got.ok()) {
      return std::string(base::Message(got.status()));
    }
    if (found < acknowledged) return fmt::format("{} of {} puts", found, acknowledged);
    if (found > tried) return fmt::format("put {} was never made", found);
    return {};
  }

  const Bounds bounds_;
  Report& report_;
  uint64_t points_ = 0;
  std::atomic<int64_t> tried_ = 0;
  std::atomic<int64_t> acknowledged_ = 0;
  mutable base::Mutex mutex_;
  std::vector<std::string> passed_ ABSL_GUARDED_BY(mutex_);
};

constexpr std::string_view kSteps[] = {
    "install: create 000007.sst",
    "install: create CURRENT.new",
    "install: create MANIFEST-000005",
    "install: rename CURRENT.new to CURRENT",
    "install: sync *.wal",
    "install: sync 000007.sst",
    "install: sync CURRENT.new",
    "install: sync MANIFEST-000005",
    "install: sync directory /data/rows",
    "install: sync directory /data/state",
    "install: sync directory /data/state/2",
    "install: write *.wal",
    "install: write 000007.sst",
    "install: write CURRENT.new",
    "install: write MANIFEST-000005",
    "trim: create *.wal.new",
    "trim: remove *.wal",
    "trim: rename *.wal.new to *.wal",
    "trim: sync *.wal",
    "trim: sync *.wal.new",
    "trim: sync directory /data/rows",
    "trim: sync directory /data/wal",
    "trim: write *.wal",
    "trim: write header of *.wal",
    "trim: write zeros to *.wal.new",
};

}  // namespace

std::span<const std::string_view> MemberSteps() { return kSteps; }

void EnumerateTrimming(const Bounds& bounds, Report& report) {
  report.Begin("trim");
  Trimming(bounds, report).Play();
}

}  // namespace cairn::crash_points
