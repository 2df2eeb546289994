#include "server/cluster_apply.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "api/errors.h"
#include "api/internal.pb.h"
#include "api/rpc.pb.h"
#include "mvcc/mem_backend.h"
#include "server/cluster_version.h"

namespace cairn::server {
namespace {

using api::Error;
using etcdserverpb::AlarmRequest;

constexpr MemberId kOne(1);
constexpr MemberId kTwo(2);

class ClusterApplyTest : public testing::Test {
 protected:
  ClusterApplyTest() { Open(); }

  // What a restart finds.
  void Open() {
    store_.reset();
    auto store =
        mvcc::Store::Open(disk_.Open(), {.identity = {.cluster = ClusterId(1), .member = kOne}});
    AssertOk(store.status());
    store_ = *std::move(store);
    auto applier = ClusterApplier::Open(*store_);
    AssertOk(applier.status());
    applier_ = *std::move(applier);
  }
  static void AssertOk(const absl::Status& status) { ASSERT_TRUE(status.ok()) << status; }

  // One entry in a batch of its own.
  Node::Outcome Apply(CommandKind kind, const google::protobuf::MessageLite& body) {
    mvcc::Batch batch = store_->BeginBatch();
    auto outcome = applier_.Apply(kind, body.SerializeAsString(), members_, batch);
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_TRUE(batch.Commit({store_->applied().index + 1, Term(1)}).ok());
    return outcome.ok() ? *std::move(outcome) : Node::Outcome();
  }
  // The alarms that the answer shows, as "member kind".
  std::vector<std::string> Ask(AlarmRequest::AlarmAction action, MemberId member,
                               etcdserverpb::AlarmType type) {
    AlarmRequest request;
    request.set_action(action);
    request.set_memberid(member.value());
    request.set_alarm(type);
    const Node::Outcome outcome = Apply(CommandKind::kAlarm, request);
    EXPECT_TRUE(outcome.status.ok()) << outcome.status;
    etcdserverpb::AlarmResponse response;
    EXPECT_TRUE(response.ParseFromString(outcome.response));
    std::vector<std::string> shown;
    for (const auto& alarm : response.alarms()) {
      shown.push_back(std::to_string(alarm.memberid()) + " " +
                      etcdserverpb::AlarmType_Name(alarm.alarm()));
    }
    return shown;
  }
  void Space(MemberId member, bool is_full) {
    internal::SpaceAlarm body;
    body.set_member_id(member.value());
    body.set_is_full(is_full);
    EXPECT_TRUE(Apply(CommandKind::kSpaceAlarm, body).status.ok());
  }

  Members members_ = {{.id = kOne}, {.id = kTwo}};
  mvcc::MemDisk disk_;
  std::unique_ptr<mvcc::Store> store_;
  ClusterApplier applier_;
};

using Shown = std::vector<std::string>;

TEST_F(ClusterApplyTest, AClientRaisesAndClearsAsWithEtcd) {
  EXPECT_EQ(Ask(AlarmRequest::ACTIVATE, kTwo, etcdserverpb::NOSPACE), Shown{"2 NOSPACE"});
  EXPECT_NE(applier_.TakeChange(), nullptr);
  // Again: shown, nothing changed.
  EXPECT_EQ(Ask(AlarmRequest::ACTIVATE, kTwo, etcdserverpb::NOSPACE), Shown{"2 NOSPACE"});
  EXPECT_EQ(Ask(AlarmRequest::ACTIVATE, kTwo, etcdserverpb::NONE), Shown());
  EXPECT_EQ(Ask(AlarmRequest::DEACTIVATE, kTwo, etcdserverpb::NONE), Shown());
  EXPECT_EQ(Ask(AlarmRequest::DEACTIVATE, MemberId(0), etcdserverpb::NOSPACE), Shown());
  EXPECT_EQ(Ask(AlarmRequest::DEACTIVATE, kTwo, etcdserverpb::CORRUPT), Shown());
  // What another version may know, nobody stumbles over.
  EXPECT_EQ(Ask(static_cast<AlarmRequest::AlarmAction>(9), kTwo, etcdserverpb::NOSPACE), Shown());
  EXPECT_EQ(Ask(AlarmRequest::ACTIVATE, kTwo, static_cast<etcdserverpb::AlarmType>(9)), Shown());
  EXPECT_EQ(applier_.TakeChange(), nullptr);
  EXPECT_EQ(Ask(AlarmRequest::DEACTIVATE, kTwo, etcdserverpb::NOSPACE), Shown{"2 NOSPACE"});
  const std::shared_ptr<const ClusterState> state = applier_.TakeChange();
  ASSERT_NE(state, nullptr);
  EXPECT_TRUE(state->alarms.empty());
}

TEST_F(ClusterApplyTest, AMemberTakesBackItsOwnAlarmOnly) {
  Space(kOne, true);
  Ask(AlarmRequest::ACTIVATE, kTwo, etcdserverpb::NOSPACE);
  EXPECT_EQ(applier_.state().alarms,
            (std::vector<Alarm>{{AlarmKind::kNoSpace, kOne, true}, {AlarmKind::kNoSpace, kTwo}}));
  Space(kTwo, false);
  Space(kOne, false);
  EXPECT_EQ(applier_.state().alarms, (std::vector<Alarm>{{AlarmKind::kNoSpace, kTwo}}));
}

TEST_F(ClusterApplyTest, AlarmsSurviveARestart) {
  Space(kOne, true);
  Ask(AlarmRequest::ACTIVATE, MemberId(0), etcdserverpb::CORRUPT);
  Ask(AlarmRequest::ACTIVATE, kTwo, etcdserverpb::CORRUPT);
  Ask(AlarmRequest::DEACTIVATE, kTwo, etcdserverpb::CORRUPT);
  const ClusterState before = applier_.state();
  ASSERT_TRUE(store_->Flush().ok());
  Open();
  EXPECT_EQ(applier_.state(), before);
  EXPECT_EQ(before.alarms.size(), 2U);
}

TEST_F(ClusterApplyTest, WhoIsRemovedTakesItsAutomaticAlarmAlong) {
  Space(kOne, true);
  Ask(AlarmRequest::ACTIVATE, kTwo, etcdserverpb::NOSPACE);
  Ask(AlarmRequest::ACTIVATE, kOne, etcdserverpb::CORRUPT);
  {
    mvcc::Batch batch = store_->BeginBatch();
    applier_.OnRemoved(kOne, batch);
    applier_.OnRemoved(kTwo, batch);
    ASSERT_TRUE(batch.Commit({store_->applied().index + 1, Term(1)}).ok());
  }
  EXPECT_EQ(applier_.state().alarms,
            (std::vector<Alarm>{{AlarmKind::kNoSpace, kTwo}, {AlarmKind::kCorrupt, kOne}}));
}

TEST_F(ClusterApplyTest, TheNumberOfAlarmsIsBounded) {
  AlarmRequest request;
  request.set_action(AlarmRequest::ACTIVATE);
  request.set_alarm(etcdserverpb::NOSPACE);
  for (size_t i = 0; i <= kAlarmsMax; ++i) {
    request.set_memberid(1000 + i);
    EXPECT_EQ(Apply(CommandKind::kAlarm, request).status.ok(), i < kAlarmsMax);
  }
  // What the cluster itself has to say always fits.
  Space(kOne, true);
  EXPECT_EQ(Ask(AlarmRequest::ACTIVATE, kTwo, etcdserverpb::CORRUPT).size(), 1U);
  EXPECT_EQ(Ask(AlarmRequest::ACTIVATE, MemberId(0), etcdserverpb::CORRUPT).size(), 1U);
  EXPECT_EQ(applier_.state().alarms.size(), kAlarmsMax + 3);
  ASSERT_TRUE(store_->Flush().ok());
  Open();
  EXPECT_EQ(applier_.state().alarms.size(), kAlarmsMax + 3);
}

TEST_F(ClusterApplyTest, WhatAClientRaisesOverAnAutomaticAlarmIsTheClients) {
  Space(kOne, true);
  EXPECT_EQ(Ask(AlarmRequest::ACTIVATE, kOne, etcdserverpb::NOSPACE).size(), 1U);
  Space(kOne, false);
  EXPECT_NE(FindAlarm(applier_.state(), AlarmKind::kNoSpace, kOne), nullptr);
  ASSERT_TRUE(store_->Flush().ok());
  Open();
  Space(kOne, false);
  EXPECT_NE(FindAlarm(applier_.state(), AlarmKind::kNoSpace, kOne), nullptr);
  EXPECT_EQ(Ask(AlarmRequest::DEACTIVATE, kOne, etcdserverpb::NOSPACE).size(), 1U);
  EXPECT_TRUE(applier_.state().alarms.empty());
}

TEST_F(ClusterApplyTest, WhoWasRemovedRaisesNothing) {
  members_ = {{.id = kTwo}};
  Space(kOne, true);
  EXPECT_TRUE(applier_.state().alarms.empty());
}

TEST_F(ClusterApplyTest, RefusesWhatEtcdRefuses) {
  etcdserverpb::TxnRequest reads;
  reads.add_success()->mutable_request_range()->set_key("a");
  etcdserverpb::TxnRequest grows;
  grows.add_failure()->mutable_request_put()->set_key("a");
  etcdserverpb::TxnRequest nested;
  *nested.add_success()->mutable_request_txn() = grows;
  struct Case {
    CommandKind kind;
    std::string body;
    absl::Status no_space;
    absl::Status corrupt;
  };
  const absl::Status no_space = api::ToStatus(Error::kNoSpace);
  const absl::Status corrupt = api::ToStatus(Error::kCorrupt);
  const absl::Status ok;
  const Case cases[] = {
      {CommandKind::kPut, "", no_space, corrupt},
      {CommandKind::kLeaseGrant, "", no_space, corrupt},
      {CommandKind::kTxn, grows.SerializeAsString(), no_space, corrupt},
      {CommandKind::kTxn, nested.SerializeAsString(), no_space, corrupt},
      {CommandKind::kTxn, reads.SerializeAsString(), ok, corrupt},
      {CommandKind::kDeleteRange, "", ok, corrupt},
      {CommandKind::kCompact, "", ok, corrupt},
      {CommandKind::kLeaseRevoke, "", ok, corrupt},
      {CommandKind::kLeaseExpire, "", ok, ok},
      {CommandKind::kLeaseCheckpoint, "", ok, ok},
      {CommandKind::kLeaseClear, "", ok, ok},
      {CommandKind::kPublishMember, "", ok, ok},
  };
  const auto expect = [&](absl::Status Case::*expected) {
    for (const Case& c : cases) {
      EXPECT_EQ(applier_.Refuses(c.kind, c.body), expected == nullptr ? ok : c.*expected)
          << static_cast<int>(c.kind);
    }
  };
  expect(nullptr);
  // Whoever has it: it holds everywhere.
  Space(kTwo, true);
  expect(&Case::no_space);
  Ask(AlarmRequest::ACTIVATE, MemberId(0), etcdserverpb::CORRUPT);
  expect(&Case::corrupt);
  Space(kTwo, false);
  expect(&Case::corrupt);
  Ask(AlarmRequest::DEACTIVATE, MemberId(0), etcdserverpb::CORRUPT);
  expect(nullptr);
}

TEST_F(ClusterApplyTest, VersionAndDowngradeSurviveARestart) {
  internal::ClusterVersion version;
  internal::Downgrade downgrade;
  version.set_version("3.7.0");
  Apply(CommandKind::kClusterVersion, version);
  EXPECT_EQ(applier_.TakeChange()->version, (Version{3, 7, 0}));
  Apply(CommandKind::kClusterVersion, version);
  EXPECT_EQ(applier_.TakeChange(), nullptr);
  downgrade.set_target_version("3.6.0");
  Apply(CommandKind::kDowngrade, downgrade);
  version.set_version("3.6.0");
  Apply(CommandKind::kClusterVersion, version);
  ClusterState before = applier_.state();
  EXPECT_EQ(before.version, (Version{3, 6, 0}));
  EXPECT_EQ(before.downgrade_target, (Version{3, 6, 0}));
  ASSERT_TRUE(store_->Flush().ok());
  Open();
  EXPECT_EQ(applier_.state(), before);
  Apply(CommandKind::kDowngrade, internal::Downgrade());
  before.downgrade_target.reset();
  EXPECT_EQ(applier_.state(), before);
  ASSERT_TRUE(store_->Flush().ok());
  Open();
  EXPECT_EQ(applier_.state(), before);
}

// A server must not go on with entries that it may not understand.
TEST_F(ClusterApplyTest, ANewerClusterStopsAnOlderServer) {
  internal::ClusterVersion version;
  version.set_version("3.8.0");
  {
    mvcc::Batch batch = store_->BeginBatch();
    EXPECT_EQ(
        applier_.Apply(CommandKind::kClusterVersion, version.SerializeAsString(), members_, batch)
            .status()
            .code(),
        absl::StatusCode::kFailedPrecondition);
    // As a newer server would have left it.
    batch.PutMeta(kClusterVersionKey, version.SerializeAsString());
    ASSERT_TRUE(batch.Commit({Index(1), Term(1)}).ok());
  }
  const absl::Status status = ClusterApplier::Open(*store_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(std::string(status.message()).find("downgrade enable 3.7"), std::string::npos)
      << status;
}

TEST_F(ClusterApplyTest, BytesThatNobodyWroteAreFinal) {
  mvcc::Batch batch = store_->BeginBatch();
  for (const CommandKind kind : {CommandKind::kAlarm, CommandKind::kSpaceAlarm,
                                 CommandKind::kClusterVersion, CommandKind::kDowngrade}) {
    EXPECT_EQ(applier_.Apply(kind, "\xff", members_, batch).status().code(),
              absl::StatusCode::kDataLoss);
  }
  ASSERT_TRUE(batch.Commit({Index(1), Term(1)}).ok());
}

}  // namespace
}  // namespace cairn::server
