#include "server/force_new_cluster.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "server/bootstrap.h"
#include "server/membership.h"
#include "server/test_member.h"

namespace cairn::server {
namespace {

std::vector<MemberId> Ids(std::initializer_list<uint64_t> ids) {
  return std::vector<MemberId>(ids.begin(), ids.end());
}

MembershipChange Change(std::vector<ChangeStep> steps) {
  MembershipChange change;
  change.steps = std::move(steps);
  return change;
}

ChangeStep Step(ChangeKind kind, uint64_t id) {
  return {kind, {MemberId(id), "", {"http://" + std::to_string(id) + ":1"}, {}, false}};
}

Membership After(std::vector<MembershipChange> changes, Membership membership = {}) {
  for (const MembershipChange& change : changes) {
    EXPECT_TRUE(ApplyChange(change, Index(1), membership).refusal.ok());
  }
  return membership;
}

const Membership kThree =
    After({Change({Step(ChangeKind::kAddVoter, 1)}), Change({Step(ChangeKind::kAddVoter, 2)}),
           Change({Step(ChangeKind::kAddLearner, 3)})});

TEST(ForceNewClusterTest, TheChangesLeaveOneVoter) {
  for (const uint64_t self : {1, 2, 3}) {
    const auto changes = ChangesToAlone(kThree, MemberId(self));
    ASSERT_TRUE(changes.ok()) << changes.status();
    const Membership alone = After(*changes, kThree);
    EXPECT_EQ(alone.configuration, (raft::Configuration{Ids({self}), {}, {}, {}})) << self;
    EXPECT_EQ(alone.members.size(), 1U);
    EXPECT_EQ(alone.removed.size(), 2U);
    EXPECT_TRUE(ChangesToAlone(alone, MemberId(self))->empty());
  }
  EXPECT_EQ(ChangesToAlone(kThree, MemberId(9)).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(ForceNewClusterTest, AJointPhaseIsLeftFirst) {
  const Membership joint =
      After({Change({Step(ChangeKind::kAddVoter, 4), Step(ChangeKind::kAddVoter, 5),
                     Step(ChangeKind::kRemove, 1)})},
            kThree);
  ASSERT_FALSE(joint.configuration.outgoing.empty());
  const Membership alone = After(*ChangesToAlone(joint, MemberId(4)), joint);
  EXPECT_EQ(alone.configuration, (raft::Configuration{Ids({4}), {}, {}, {}}));
  // Who leaves with the joint phase is nobody to go on with.
  EXPECT_FALSE(ChangesToAlone(joint, MemberId(1)).ok());
}

// One of three, with entries that were never committed.
class ForcedStartTest : public testing::Test {
 protected:
  ForcedStartTest() {
    config_.initial_cluster = {
        {"n1", {"http://n1:1"}}, {"n2", {"http://n2:1"}}, {"n3", {"http://n3:1"}}};
    members_ = InitialMembers(config_.initial_cluster, config_.initial_cluster_token);
    self_ = DeriveMemberId({"http://n1:1"}, config_.initial_cluster_token);
  }

  void MakeLog(uint64_t last, uint64_t commit) {
    std::vector<MemberId> ids;
    for (const Member& member : members_) ids.push_back(member.id);
    const Foundation base = disk_.foundation();
    auto log =
        wal::Wal::Create(base.fs, base.wal_path, base.wal_options, {DeriveClusterId(ids), self_});
    ASSERT_TRUE(log.ok()) << log.status();
    wal::Append append;
    append.entries = BootstrapEntries(members_);
    // Committed, not applied: one more leaves.
    for (const Member& member : members_) {
      if (member.id == self_ || append.entries.size() > 3) continue;
      append.entries.push_back({Term(3), Index(4), raft::EntryKind::kConfiguration,
                                std::make_shared<const std::string>(EncodeChange(
                                    Change({{ChangeKind::kRemove, {.id = member.id}}})))});
    }
    while (append.entries.size() < last) {
      append.entries.push_back({Term(3), Index(append.entries.size() + 1)});
    }
    append.hard_state = raft::HardState{Term(5), members_[0].id, Index(commit)};
    append.commit = Index(commit);
    ASSERT_TRUE(log->wal->Write({&append, 1}).ok());
    ASSERT_TRUE(log->wal->Sync().ok());
  }

  TestDisk disk_;
  Config config_ = TestConfig();
  Members members_;
  MemberId self_;
};

// What lies beyond the commit index that the log has noted may have been acknowledged.
TEST_F(ForcedStartTest, EverythingInTheLogStaysAndEveryoneElseIsRemoved) {
  MakeLog(9, 6);
  config_.force_new_cluster = true;
  {
    absl::StatusOr<Bootstrapped> member = Bootstrap(disk_.foundation(), config_);
    ASSERT_TRUE(member.ok()) << member.status();
    // Of the two others one has been removed already.
    EXPECT_EQ(member->raft.last, (raft::EntryId{Term(6), Index(10)}));
    EXPECT_EQ(member->raft.hard_state,
              (raft::HardState{.term = Term(6), .vote = MemberId(0), .commit = Index(10)}));
    const auto entries = member->wal->ReadEntries(Index(1), Index(11), size_t{1} << 20);
    ASSERT_TRUE(entries.ok()) << entries.status();
    ASSERT_EQ(entries->size(), 10U);
    ASSERT_TRUE(member->applier->Apply(*entries).ok());
    const Membership& membership = member->applier->membership();
    EXPECT_EQ(membership.configuration.voters, std::vector<MemberId>{self_});
    EXPECT_EQ(membership.removed.size(), 2U);
    ASSERT_TRUE(member->store->Flush().ok());
  }
  // A second time there is nothing to do.
  absl::StatusOr<Bootstrapped> again = Bootstrap(disk_.foundation(), config_);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->raft.last, (raft::EntryId{Term(6), Index(10)}));
}

TEST_F(ForcedStartTest, WithoutTheFlagNothingIsWritten) {
  MakeLog(9, 6);
  const absl::StatusOr<Bootstrapped> member = Bootstrap(disk_.foundation(), config_);
  ASSERT_TRUE(member.ok()) << member.status();
  EXPECT_EQ(member->raft.last, (raft::EntryId{Term(3), Index(9)}));
  EXPECT_EQ(member->raft.hard_state.commit, Index(6));
}

}  // namespace
}  // namespace cairn::server
