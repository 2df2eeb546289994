#include "server/cluster_keeper.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "api/errors.h"
#include "api/internal.pb.h"
#include "api/rpc.pb.h"
#include "api/version.h"
#include "server/cluster_state.h"
#include "server/cluster_version.h"
#include "server/test_member.h"

namespace cairn::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

class ClusterKeeperTest : public testing::Test {
 protected:
  void Start() {
    auto started = TestMember::Start(disk_);
    ASSERT_TRUE(started.ok()) << started.status();
    member_ = *std::move(started);
    ASSERT_TRUE(member_->runner().WaitReady(kTestPatience).ok());
  }
  void StartKeeper(int64_t quota_bytes) {
    ClusterKeeperOptions options;
    options.quota_backend_bytes = quota_bytes;
    options.poll = milliseconds(1);
    keeper_ = std::make_unique<ClusterKeeper>(options, member_->store(), member_->runner());
  }
  void TearDown() override { keeper_.reset(); }

  // Puts until the answer is `expected`.
  ::testing::AssertionResult PutUntil(const absl::Status& expected) {
    const auto deadline = steady_clock::now() + kTestPatience;
    absl::Status status;
    while (steady_clock::now() < deadline) {
      status = member_->Put("key", std::string(100, 'v')).status;
      if (status == expected) return ::testing::AssertionSuccess();
    }
    return ::testing::AssertionFailure() << status;
  }
  const Alarm* OwnAlarm() {
    cluster_ = member_->runner().cluster_state();
    return FindAlarm(*cluster_, AlarmKind::kNoSpace, member_->runner().member_id());
  }
  // Leaves one revision of one key.
  void MakeRoom() {
    const Revision revision = member_->store().published().revision;
    ASSERT_TRUE(member_->Compact(revision).ok());
    while (true) {
      auto step = member_->store().FindRemovalStep(1000);
      ASSERT_TRUE(step.ok());
      if (step->empty()) return;
      ASSERT_TRUE(member_->runner().CommitRemoval(*std::move(step)).ok());
    }
  }

  TestDisk disk_;
  std::unique_ptr<TestMember> member_;
  std::unique_ptr<ClusterKeeper> keeper_;
  std::shared_ptr<const ClusterState> cluster_;
};

const absl::Status kNoSpace = api::ToStatus(api::Error::kNoSpace);

TEST_F(ClusterKeeperTest, RaisesTheAlarmAndTakesItBack) {
  ASSERT_NO_FATAL_FAILURE(Start());
  StartKeeper(20'000);
  ASSERT_TRUE(PutUntil(kNoSpace));
  ASSERT_NE(OwnAlarm(), nullptr);
  EXPECT_TRUE(OwnAlarm()->is_automatic);
  EXPECT_TRUE(member_->Compact(Revision(2)).ok());
  ASSERT_NO_FATAL_FAILURE(MakeRoom());
  EXPECT_TRUE(PutUntil(absl::OkStatus()));
  EXPECT_EQ(OwnAlarm(), nullptr);
}

// Whoever disarms it by hand has it back as long as there is no room.
TEST_F(ClusterKeeperTest, RaisesItAgainWhileThereIsNoRoom) {
  ASSERT_NO_FATAL_FAILURE(Start());
  StartKeeper(20'000);
  ASSERT_TRUE(PutUntil(kNoSpace));
  etcdserverpb::AlarmRequest disarm;
  disarm.set_action(etcdserverpb::AlarmRequest::DEACTIVATE);
  disarm.set_memberid(member_->runner().member_id().value());
  disarm.set_alarm(etcdserverpb::NOSPACE);
  EXPECT_TRUE(member_->Propose(CommandKind::kAlarm, disarm).status.ok());
  EXPECT_TRUE(PutUntil(kNoSpace));
}

TEST_F(ClusterKeeperTest, TheAlarmSurvivesARestartAndEndsWithTheQuota) {
  ASSERT_NO_FATAL_FAILURE(Start());
  StartKeeper(20'000);
  ASSERT_TRUE(PutUntil(kNoSpace));
  keeper_.reset();
  ASSERT_TRUE(member_->runner().Stop().ok());
  member_.reset();
  ASSERT_NO_FATAL_FAILURE(Start());
  EXPECT_NE(OwnAlarm(), nullptr);
  EXPECT_EQ(member_->Put("key", "v").status, kNoSpace);
  StartKeeper(0);
  EXPECT_TRUE(PutUntil(absl::OkStatus()));
}

// A single refusal is enough, far below the quota.
TEST_F(ClusterKeeperTest, ARefusalRaisesItAtOnce) {
  ASSERT_NO_FATAL_FAILURE(Start());
  StartKeeper(1 << 20);
  ASSERT_TRUE(PutUntil(absl::OkStatus()));
  EXPECT_EQ(OwnAlarm(), nullptr);
  keeper_->RefusedGrowth((1 << 20) - 100);
  EXPECT_TRUE(PutUntil(kNoSpace));
  // What never fits must not hold up what does.
  EXPECT_TRUE(PutUntil(absl::OkStatus()));
}

TEST_F(ClusterKeeperTest, AFullDiskRaisesItToo) {
  ASSERT_NO_FATAL_FAILURE(Start());
  StartKeeper(0);
  member_->runner().SetDiskRoom(DiskRoom::kLow);
  EXPECT_TRUE(PutUntil(kNoSpace));
  member_->runner().SetDiskRoom(DiskRoom::kEnough);
  EXPECT_TRUE(PutUntil(absl::OkStatus()));
}

// As with etcd: down one step while a downgrade is under way, up again when it was cancelled.
TEST_F(ClusterKeeperTest, KeepsTheClusterAtTheVersionOfItsMembers) {
  ASSERT_NO_FATAL_FAILURE(Start());
  StartKeeper(0);
  const Version own = ClusterVersionOf(*ParseVersion(api::kEtcdVersion));
  const Version below = {own.major_number, own.minor_number - 1, 0};
  const auto await = [&](const Version& version) {
    const auto deadline = steady_clock::now() + kTestPatience;
    do {
      ASSERT_LT(steady_clock::now(), deadline) << FullText(version);
      ASSERT_TRUE(member_->Put("key", "v").status.ok());
      cluster_ = member_->runner().cluster_state();
    } while (cluster_->version != version);
  };
  ASSERT_NO_FATAL_FAILURE(await(own));
  internal::Downgrade downgrade;
  downgrade.set_target_version(FullText(below));
  EXPECT_TRUE(member_->Propose(CommandKind::kDowngrade, downgrade).status.ok());
  ASSERT_NO_FATAL_FAILURE(await(below));
  EXPECT_EQ(cluster_->downgrade_target, below);
  EXPECT_TRUE(member_->Propose(CommandKind::kDowngrade, internal::Downgrade()).status.ok());
  ASSERT_NO_FATAL_FAILURE(await(own));
  EXPECT_EQ(cluster_->downgrade_target, std::nullopt);
}

}  // namespace
}  // namespace cairn::server
