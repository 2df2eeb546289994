#include <fmt/format.h>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/status.h"
#include "server/snapshot/files.h"
#include "server/snapshot/incoming.h"
#include "server/test_follower.h"
#include "test/crash_points/member_points.h"

namespace cairn::crash_points {

namespace {

using server::Ahead;
using server::Follower;
using server::SnapshotFile;
using server::TestDisk;
using wal::FaultDisk;
using wal::FaultStep;

constexpr uint64_t kSnapshot = 40;

// What the state's files would be; the rows themselves are in MemDisk.
const std::vector<std::pair<std::string, std::string>>& Files() {
  static const std::vector<std::pair<std::string, std::string>> files = {
      {"000007.sst", std::string(700, 's')}, {"MANIFEST-000005", "manifest"}};
  return files;
}

std::vector<SnapshotFile> DescribeThem() {
  wal::FaultFs fs;
  CAIRN_CHECK(fs.CreateDirectory("/files").ok());
  for (const auto& [name, content] : Files()) fs.SetContent("/files/" + name, content);
  return *server::DescribeFiles(fs, "/files");
}

// The transfer's last steps: the files arrive, are verified and become durable.
absl::Status Arrive(TestDisk& disk, const std::string& path) {
  CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<server::IncomingSnapshot> incoming,
                         server::IncomingSnapshot::Begin(disk.fs(), path, DescribeThem()));
  for (const auto& [name, content] : Files()) CAIRN_RETURN_IF_ERROR(incoming->Take(content));
  return server::VerifyFiles(disk.fs(), path, incoming->files());
}

class Installation {
 public:
  Installation(uint64_t applied, uint64_t last, const Bounds& bounds, Report& report)
      : applied_(applied), last_(last), bounds_(bounds), report_(report) {}

  void Play() {
    TestDisk disk;
    server::PrepareFollower(disk, applied_, last_);
    Ahead(kSnapshot).Send(disk);
    auto follower = std::make_unique<Follower>(disk);
    CAIRN_CHECK(follower->status().ok(), follower->status().ToString());
    disk.fs().set_step_observer(
        [&](const FaultStep& step, const FaultDisk& before) { Visit(step, before, disk.rows()); });
    const std::string path = disk.states()->fresh_path();
    const auto outcome = server::Install(disk, *follower, [&] { return Arrive(disk, path); });
    if (!outcome.ok()) return report_.Violation(outcome.status().ToString());
    // And when the leader has heard of it.
    is_done_ = true;
    const FaultStep after{.operation = wal::FaultOperation::kSyncDirectory, .path = "(the end)"};
    Visit(after, disk.fs().disk(), disk.rows());
    disk.fs().set_step_observer(nullptr);
  }

  const std::set<uint64_t>& found() const { return found_; }

 private:
  void Fail(std::string_view what) {
    report_.Violation(fmt::format("follower at {}, log through {}: {}{}: {}", applied_, last_,
                                  where_, again_, what));
  }

  void Visit(const FaultStep& step, const FaultDisk& before, const mvcc::MemDisk& rows) {
    if (!report_.violation().empty()) return;
    row_ = &report_.At(step);
    ++row_->points;
    ++points_;
    const size_t batches = rows.unflushed_batches();
    // Prefixes of the unflushed batches: none, all, half of them.
    for (const size_t kept_batches : std::set<size_t>{0, batches / 2, batches}) {
      const auto start = [&](FaultDisk image, std::string_view kept) {
        where_ = fmt::format("crash before {}: {}, of the state {} batches are kept, of the log {}",
                             report_.phase(), DescribeStep(step), kept_batches, kept);
        StartFrom(std::move(image), rows, kept_batches);
      };
      uint64_t subset = 0;
      for (const auto& kept : Subsets(before.Unsynced().size(), bounds_, points_)) {
        ++row_->outcomes;
        FaultDisk image = before;
        image.CrashKeeping(kept);
        const uint64_t promise = (applied_ * 100 + last_) * 100 + kept_batches * 2 + is_done_;
        // The state changes without a step of the log's file system.
        if (!report_.IsNewImage(image.Fingerprint() + points_, promise)) continue;
        start(std::move(image), fmt::format("subset {}", subset++));
      }
      ++row_->outcomes;
      start(before, "all that is in the page cache");
    }
  }

  void StartFrom(FaultDisk image, const mvcc::MemDisk& rows, size_t kept) {
    if (!report_.violation().empty()) return;
    ++row_->images;
    again_.clear();
    struct Moment {
      std::string step;
      FaultDisk before;
      std::unique_ptr<mvcc::MemDisk> rows;
    };
    std::vector<Moment> moments;
    TestDisk disk(std::move(image), rows, kept);
    if (++images_ % bounds_.deep_every == 0) {
      disk.fs().set_step_observer([&](const FaultStep& step, const FaultDisk& before) {
        auto left = std::make_unique<mvcc::MemDisk>();
        left->BecomeCrashed(disk.rows(), 0);
        moments.push_back({DescribeStep(step), before, std::move(left)});
      });
    }
    std::unique_ptr<Follower> follower = Start(disk);
    disk.fs().set_step_observer(nullptr);
    if (follower == nullptr) return;
    const uint64_t at = follower->store().applied().index.value();
    found_.insert(at);
    // Started twice it is the same, and goes on.
    disk.Crash(0, true, [&] { follower.reset(); });
    again_ = "; another when the start is done";
    follower = Start(disk);
    if (follower == nullptr) return;
    if (follower->store().applied().index != Index(at)) return Fail("another state than before");
    if (const std::string problem = GoOn(*follower, at); !problem.empty()) return Fail(problem);
    for (const Moment& moment : moments) {
      const size_t effects = moment.before.Unsynced().size();
      for (const auto& subset : FewSubsets(effects, bounds_.deep_subsets, images_)) {
        again_ = fmt::format("; in the recovery another before {}", moment.step);
        FaultDisk again = moment.before;
        again.CrashKeeping(subset);
        TestDisk next(std::move(again), *moment.rows, 0);
        if (Start(next) == nullptr) return;
      }
    }
  }

  // Null when it is refused or not what it should be.
  std::unique_ptr<Follower> Start(TestDisk& disk) {
    ++row_->recoveries;
    if (absl::Status status = server::ReadStatePointer(disk.fs(), TestDisk::kStates).status();
        !status.ok()) {
      Fail(fmt::format("no state is in force: {}", base::Message(status)));
      return nullptr;
    }
    // As the data directory does: the pointer that is read counts, so it must be on the disk; and
    // what is not in force is in the way of the next snapshot.
    server::CheckOk(disk.fs().SyncDirectory(TestDisk::kStates));
    const std::string current = disk.states()->current_path();
    disk.rows().Remove(disk.states()->fresh_path());
    auto follower = std::make_unique<Follower>(disk);
    if (!follower->status().ok()) {
      Fail(fmt::format("refused: {}", base::Message(follower->status())));
      return nullptr;
    }
    const uint64_t at = follower->store().applied().index.value();
    const Index last = follower->wal().last().index;
    std::string problem;
    if (at != applied_ && at != kSnapshot) problem = fmt::format("a state at {}", at);
    if (at != kSnapshot && is_done_) problem = "the installation was acknowledged and is gone";
    if (at == kSnapshot && (last != Index(at) || follower->wal().before_first().index != last)) {
      problem = fmt::format("the log ends at {}, the snapshot at {}", last, at);
    }
    if (at == applied_ && last != Index(last_)) problem = fmt::format("the log ends at {}", last);
    if (at == kSnapshot && problem.empty()) problem = MissingFile(disk, current);
    if (problem.empty()) return follower;
    Fail(problem);
    return nullptr;
  }

  static std::string MissingFile(TestDisk& disk, const std::string& current) {
    for (const auto& [name, content] : Files()) {
      if (disk.fs().Content(fmt::format("{}/{}", current, name)) != content) {
        return fmt::format("the state in force has not its {}", name);
      }
    }
    return {};
  }

  // The history after `at` arrives; empty when the member then has what it should.
  std::string GoOn(Follower& follower, uint64_t at) {
    const absl::Status status = follower.Append(server::History(at + 1, at + 5), Index(at + 5));
    if (!status.ok()) return fmt::format("it does not go on: {}", base::Message(status));
    if (follower.store().applied().index != Index(at + 5)) return "it does not apply";
    std::optional<uint32_t>& hash = hashes_[at + 5];
    if (!hash.has_value()) hash = Ahead(at + 5).store().HashKv(mvcc::kCurrent)->hash;
    return follower.store().HashKv(mvcc::kCurrent)->hash == *hash ? "" : "another content";
  }

  const uint64_t applied_;
  const uint64_t last_;
  const Bounds bounds_;
  Report& report_;
  Report::Row* row_ = nullptr;
  bool is_done_ = false;
  uint64_t points_ = 0;
  uint64_t images_ = 0;
  std::set<uint64_t> found_;
  std::map<uint64_t, std::optional<uint32_t>> hashes_;
  std::string where_;
  std::string again_;
};

}  // namespace

void EnumerateInstallations(const Bounds& bounds, Report& report) {
  struct Case {
    uint64_t applied, last;
  };
  for (const Case& c : {Case{3, 3}, Case{3, 8}, Case{10, 30}, Case{10, 40}, Case{10, 60}}) {
    report.Begin("install");
    Installation installation(c.applied, c.last, bounds, report);
    installation.Play();
    if (report.violation().empty() &&
        installation.found() != std::set<uint64_t>{c.applied, kSnapshot}) {
      report.Violation("only one of the two states was ever met");
    }
  }
}

}  // namespace cairn::crash_points
