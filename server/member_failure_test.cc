// The n-th call of each kind to the file system fails under a whole member, for n = 0, 1, 2, ...
// until a run passes without: the member ends with the reason, or does without what failed, and the
// next start has everything acknowledged, whether only the process ended or the power went, too.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "base/mutex.h"
#include "base/status.h"
#include "server/log_trimmer.h"
#include "server/test_member.h"

namespace cairn::server {
namespace {

constexpr char kKey[] = "key";
// Three to a segment; enough of them that some segments go.
constexpr size_t kValueBytes = 5000;
constexpr int64_t kPuts = 15;

class FailingMember {
 public:
  TestDisk& disk() { return disk_; }

  // Puts values that count up until all are acknowledged or the member fails. The error, if any.
  absl::Status Live() {
    has_failed_ = false;
    auto started = TestMember::Start(disk_);
    CAIRN_RETURN_IF_ERROR(started.status());
    TestMember& member = **started;
    absl::Status status = member.runner().WaitReady(kTestPatience);
    if (status.ok()) status = Check(member);
    if (status.ok()) {
      LogTrimmerOptions options;
      options.replay_entries_max = 8;
      options.poll = std::chrono::milliseconds(1);
      FatalCounter trimming;
      options.on_fatal = [&](const absl::Status& error) {
        trimming.callback()(error);
        has_failed_ = true;
      };
      const wal::Recovered& recovered = member.recovered();
      LogTrimmer trimmer(options, recovered.marker.value_or(wal::Marker()).id.index, member.wal(),
                         member.store(), member.runner(), member.pins());
      while (acknowledged_ < kPuts && !has_failed_ && member.fatal().count() == 0) Put(member);
      trimmer.Stop();
      if (trimming.count() > 0) status = trimming.Wait();
    }
    if (absl::Status stopped = member.runner().Stop(); status.ok()) status = stopped;
    member.StopForGood();
    return status;
  }

  // One that comes up, for the promises' sake, and takes what is missing.
  absl::Status LiveAgain(bool is_power_cut, uint64_t seed) {
    disk_.Crash(seed, is_power_cut, [] {});
    return Live();
  }

 private:
  absl::Status Check(TestMember& member) {
    const std::string value = member.Get(kKey).value;
    const int64_t found = value.empty() ? 0 : std::stoll(value);
    if (found >= acknowledged_ && found <= tried_) {
      acknowledged_ = tried_ = found;
      return absl::OkStatus();
    }
    return base::Error(absl::StatusCode::kDataLoss, "put {}, of {} that were acknowledged", found,
                       acknowledged_);
  }

  // The outcome comes through a callback, so that a failure need not wait for a time-out.
  void Put(TestMember& member) {
    struct Answer {
      base::Mutex mutex;
      std::optional<Node::Outcome> outcome ABSL_GUARDED_BY(mutex);
    };
    etcdserverpb::PutRequest request;
    request.set_key(kKey);
    request.set_value(fmt::format("{}{}", ++tried_, std::string(kValueBytes, ' ')));
    const auto answer = std::make_shared<Answer>();
    member.runner().Propose(CommandKind::kPut, request.SerializeAsString(),
                            [answer](Node::Outcome outcome) {
                              base::MutexLock lock(answer->mutex);
                              answer->outcome = std::move(outcome);
                            });
    while (!has_failed_ && member.fatal().count() == 0) {
      std::this_thread::yield();
      base::MutexLock lock(answer->mutex);
      if (!answer->outcome.has_value()) continue;
      if (answer->outcome->status.ok()) {
        acknowledged_ = tried_;
      } else {
        has_failed_ = true;
      }
      return;
    }
  }

  TestDisk disk_;
  std::atomic<bool> has_failed_ = false;
  int64_t tried_ = 0;
  int64_t acknowledged_ = 0;
};

struct Kind {
  std::string_view name;
  wal::FaultOperation operation;
  absl::StatusCode code;
};

// The threads interleave as they like, so which call is the n-th differs from run to run.
class MemberFailureTest : public testing::TestWithParam<Kind> {};

TEST_P(MemberFailureTest, NothingAcknowledgedIsLostWhicheverCallFails) {
  const Kind& kind = GetParam();
  uint64_t struck = 0;
  bool has_struck = true;
  for (uint64_t n = 0; has_struck; ++n) {
    SCOPED_TRACE(fmt::format("{} {} fails", kind.name, n));
    FailingMember member;
    member.disk().fs().FailOnce(kind.operation, kind.code, n);
    const absl::Status status = member.Live();
    has_struck = !member.disk().fs().has_fault();
    struck += has_struck;
    // What it ends with is what the file system said.
    if (!status.ok()) {
      EXPECT_TRUE(has_struck) << status;
      EXPECT_NE(base::Message(status).find("failed on cue"), std::string_view::npos) << status;
    }
    const absl::Status again = member.LiveAgain(n % 2 == 0, n);
    EXPECT_TRUE(again.ok()) << again;
    const absl::Status last = member.LiveAgain(true, n + 1);
    EXPECT_TRUE(last.ok()) << last;
    if (HasFailure()) return;
  }
  EXPECT_GT(struck, 0U);
  RecordProperty("failures", static_cast<int>(struck));
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, MemberFailureTest,
    testing::Values(
        Kind{"create", wal::FaultOperation::kCreate, absl::StatusCode::kInternal},
        Kind{"write", wal::FaultOperation::kWrite, absl::StatusCode::kInternal},
        Kind{"write_disk_full", wal::FaultOperation::kWrite, absl::StatusCode::kResourceExhausted},
        Kind{"sync", wal::FaultOperation::kSync, absl::StatusCode::kInternal},
        Kind{"rename", wal::FaultOperation::kRename, absl::StatusCode::kInternal},
        Kind{"remove", wal::FaultOperation::kRemove, absl::StatusCode::kInternal},
        Kind{"sync_directory", wal::FaultOperation::kSyncDirectory, absl::StatusCode::kInternal}),
    [](const testing::TestParamInfo<Kind>& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace cairn::server
