// The n-th call of each kind fails, for n = 0, 1, 2, ... until a run passes without: every run ends
// with the error that the file system gave, naming the path, or does without what failed; and the
// next start has everything acknowledged, whether only the process ended or the power went, too.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "wal/fault_fs.h"
#include "wal/format.h"
#include "wal/log_model.h"
#include "wal/test_log.h"

namespace cairn::wal {
namespace {

constexpr Options kOptions{.segment_bytes = 4096};

// One log, and what whoever writes it was told.
class Life {
 public:
  Life() = default;
  // Goes on where another one's disk was.
  Life(FaultDisk disk, std::vector<LogModel> versions)
      : fs_(std::move(disk)), versions_(std::move(versions)), is_created_(true) {}

  FaultFs& fs() { return fs_; }
  const std::vector<LogModel>& versions() const { return versions_; }

  // Each of these returns the first error. What follows an error is not done.
  absl::Status CreateAndWrite() {
    CAIRN_RETURN_IF_ERROR(Open());
    for (int round = 0; round < 3; ++round) {
      for (const size_t bytes : {20, 300, 900, 30, 1500, 300}) {
        CAIRN_RETURN_IF_ERROR(Put(bytes));
      }
      CAIRN_RETURN_IF_ERROR(wal_->MakeSpare(nullptr));
      CAIRN_RETURN_IF_ERROR(Put(6000));
      Append marker = MarkerAt(versions_.back().last() - 2, 1);
      marker.hard_state =
          raft::HardState{.term = Term(1), .vote = MemberId(static_cast<uint64_t>(round))};
      CAIRN_RETURN_IF_ERROR(Write(marker));
      CAIRN_RETURN_IF_ERROR(wal_->CollectCovered(Index(versions_.back().marker)).status());
    }
    CAIRN_RETURN_IF_ERROR(wal_->WriteDurableThrough());
    return wal_->Sync();
  }

  // Restarts with something to cut, and goes on.
  absl::Status OpenAndWrite() {
    CAIRN_RETURN_IF_ERROR(Open());
    for (const size_t bytes : {20, 1500, 900}) CAIRN_RETURN_IF_ERROR(Put(bytes));
    return absl::OkStatus();
  }

  absl::Status Open() {
    auto opened = Wal::Open(fs_, kTestDirectory, kOptions, kTestIdentity);
    if (absl::IsNotFound(opened.status()) && !is_created_) {
      opened = Wal::Create(fs_, kTestDirectory, kOptions, kTestIdentity);
    }
    CAIRN_RETURN_IF_ERROR(opened.status());
    is_created_ = true;
    wal_ = std::move(opened->wal);
    std::string differences;
    for (const LogModel& version : versions_) {
      const std::string difference = Difference(version, opened->recovered, *wal_);
      if (difference.empty()) {
        versions_ = {LogModel(version)};
        return absl::OkStatus();
      }
      differences += difference + "; ";
    }
    // The comparison reads, too.
    const bool has_struck = differences.find("failed on cue") != std::string::npos;
    return base::Error(has_struck ? absl::StatusCode::kInternal : absl::StatusCode::kUnknown,
                       "it has none of {} versions: {}", versions_.size(), differences);
  }

  // An unsynced tail whose first sector a power cut loses.
  void TearTail() {
    const size_t unsynced = fs_.disk().Unsynced().size();
    for (const size_t bytes : {100, 900, 300}) {
      versions_.push_back(versions_.back());
      const Append append = Entry(bytes);
      versions_.back().Apply(append);
      ASSERT_TRUE(wal_->Write({&append, 1}).ok());
    }
    ASSERT_EQ(unsynced, 0U);
    std::vector<bool> kept(fs_.disk().Unsynced().size(), true);
    kept[0] = false;
    Crash(kept);
  }
  void Crash(const std::vector<bool>& kept) {
    wal_.reset();
    fs_.CrashKeeping(kept);
  }
  void EndKeepingNothing() {
    wal_.reset();
    fs_.CrashKeepingNothing();
  }
  void End(bool is_power_cut, uint64_t seed) {
    wal_.reset();
    if (is_power_cut) {
      fs_.Crash(seed);
    } else {
      fs_.Restart();
    }
  }

 private:
  Append Entry(size_t bytes) const {
    const uint64_t next = versions_.back().last() + 1;
    return EntriesOf(next, next, 1, bytes);
  }
  absl::Status Put(size_t bytes) { return Write(Entry(bytes)); }
  absl::Status Write(const Append& append) {
    versions_.push_back(versions_.back());
    versions_.back().Apply(append);
    CAIRN_RETURN_IF_ERROR(WriteAndSync(*wal_, append));
    versions_ = {LogModel(versions_.back())};
    return absl::OkStatus();
  }

  FaultFs fs_;
  std::vector<LogModel> versions_ = {LogModel()};
  std::unique_ptr<Wal> wal_;
  bool is_created_ = false;
};

struct Kind {
  std::string_view name;
  FaultOperation operation;
  absl::StatusCode code;
};
constexpr Kind kKinds[] = {
    {"create", FaultOperation::kCreate, absl::StatusCode::kInternal},
    {"create, disk full", FaultOperation::kCreate, absl::StatusCode::kResourceExhausted},
    {"open", FaultOperation::kOpen, absl::StatusCode::kPermissionDenied},
    {"read", FaultOperation::kRead, absl::StatusCode::kInternal},
    {"write", FaultOperation::kWrite, absl::StatusCode::kInternal},
    {"write, disk full", FaultOperation::kWrite, absl::StatusCode::kResourceExhausted},
    {"sync", FaultOperation::kSync, absl::StatusCode::kInternal},
    {"rename", FaultOperation::kRename, absl::StatusCode::kInternal},
    {"remove", FaultOperation::kRemove, absl::StatusCode::kInternal},
    {"sync directory", FaultOperation::kSyncDirectory, absl::StatusCode::kInternal},
};

// `make` begins a life and `live` is where the fault strikes. Returns how often it did.
template <typename Make, typename Live>
uint64_t FailEach(const Kind& kind, const Make& make, const Live& live) {
  for (uint64_t n = 0;; ++n) {
    bool has_struck = false;
    for (const bool is_power_cut : {false, true}) {
      SCOPED_TRACE(fmt::format("{} {} fails, {}", kind.name, n,
                               is_power_cut ? "then the power" : "the process ends"));
      const std::unique_ptr<Life> life = make();
      life->fs().FailOnce(kind.operation, kind.code, n);
      const absl::Status status = live(*life);
      has_struck = !life->fs().has_fault();
      if (!status.ok()) {
        EXPECT_TRUE(has_struck);
        EXPECT_EQ(status.code(), kind.code) << status;
        EXPECT_NE(base::Message(status).find(kTestDirectory.substr(0, 5)), std::string_view::npos)
            << status;
      }
      life->End(is_power_cut, n);
      const absl::Status next = life->OpenAndWrite();
      EXPECT_TRUE(next.ok()) << next;
      // That is durable, too: what a failed sync left behind proves nothing.
      life->EndKeepingNothing();
      const absl::Status last = life->Open();
      EXPECT_TRUE(last.ok()) << last;
      if (::testing::Test::HasFailure()) return n;
    }
    if (!has_struck) return n;
  }
}

TEST(FailureTest, OfEveryCallOfALogThatGrows) {
  for (const Kind& kind : kKinds) {
    const uint64_t runs = FailEach(
        kind, [] { return std::make_unique<Life>(); },
        [](Life& life) { return life.CreateAndWrite(); });
    if (HasFailure()) return;
    fmt::print("{}: {} runs\n", kind.name, runs);
    // A log that grows opens nothing again and reads nothing.
    const bool is_reading =
        kind.operation == FaultOperation::kOpen || kind.operation == FaultOperation::kRead;
    EXPECT_EQ(runs > 2, !is_reading);
  }
}

TEST(FailureTest, OfEveryCallOfAStart) {
  Life torn;
  ASSERT_TRUE(torn.CreateAndWrite().ok());
  ASSERT_NO_FATAL_FAILURE(torn.TearTail());
  for (const Kind& kind : kKinds) {
    const uint64_t runs = FailEach(
        kind, [&] { return std::make_unique<Life>(torn.fs().disk(), torn.versions()); },
        [](Life& life) { return life.OpenAndWrite(); });
    if (HasFailure()) return;
    fmt::print("{}: {} runs\n", kind.name, runs);
    EXPECT_GT(runs, 0U);
  }
}

}  // namespace
}  // namespace cairn::wal
