#include "server/membership_change.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "api/errors.h"
#include "api/internal.pb.h"

namespace cairn::server {
namespace {

using api::Error;

Member MakeMember(uint64_t id, bool is_learner = false) {
  return {MemberId(id), fmt::format("m{}", id), {fmt::format("http://p{}:1", id)}, {}, is_learner};
}

ChangeStep Step(ChangeKind kind, uint64_t id) { return {kind, MakeMember(id)}; }

ChangeStep Update(uint64_t id, std::vector<std::string> urls) {
  ChangeStep step = Step(ChangeKind::kUpdatePeerUrls, id);
  step.member.peer_urls = std::move(urls);
  return step;
}

MembershipChange Change(std::vector<ChangeStep> steps) {
  MembershipChange change;
  change.steps = std::move(steps);
  return change;
}

std::vector<MemberId> Ids(std::initializer_list<uint64_t> ids) {
  return std::vector<MemberId>(ids.begin(), ids.end());
}

// Voters and learners, built by the changes themselves.
Membership Cluster(std::initializer_list<uint64_t> voters,
                   std::initializer_list<uint64_t> learners = {}) {
  Membership membership;
  for (const uint64_t id : voters) {
    EXPECT_TRUE(
        ApplyChange(Change({Step(ChangeKind::kAddVoter, id)}), Index(1), membership).refusal.ok());
  }
  for (const uint64_t id : learners) {
    EXPECT_TRUE(ApplyChange(Change({Step(ChangeKind::kAddLearner, id)}), Index(1), membership)
                    .refusal.ok());
  }
  return membership;
}

std::vector<MemberId> MembersOf(const Membership& membership) {
  std::vector<MemberId> ids;
  for (const Member& member : membership.members) ids.push_back(member.id);
  return ids;
}

TEST(MembershipChangeTest, EachKindDoesWhatItSays) {
  Membership membership = Cluster({1, 3});
  const auto apply = [&](ChangeStep step) {
    return ApplyChange(Change({std::move(step)}), Index(9), membership);
  };
  ChangeEffect effect = apply(Step(ChangeKind::kAddLearner, 2));
  EXPECT_TRUE(effect.refusal.ok()) << effect.refusal;
  EXPECT_EQ(effect.changed, Ids({2}));
  EXPECT_EQ(MembersOf(membership), Ids({1, 2, 3}));
  EXPECT_EQ(membership.configuration.learners, Ids({2}));
  EXPECT_TRUE(membership.members[1].is_learner);

  effect = apply(Step(ChangeKind::kPromoteLearner, 2));
  EXPECT_TRUE(effect.refusal.ok()) << effect.refusal;
  EXPECT_EQ(membership.configuration.voters, Ids({1, 2, 3}));
  EXPECT_TRUE(membership.configuration.learners.empty());
  EXPECT_FALSE(membership.members[1].is_learner);
  // A promotion names its member and nothing else.
  EXPECT_EQ(membership.members[1].name, "m2");

  effect = apply(Update(2, {"http://new:1", "http://new:2"}));
  EXPECT_TRUE(effect.refusal.ok()) << effect.refusal;
  EXPECT_EQ(effect.changed, Ids({2}));
  EXPECT_EQ(membership.members[1].peer_urls,
            (std::vector<std::string>{"http://new:1", "http://new:2"}));
  EXPECT_EQ(membership.members[1].name, "m2");

  effect = apply(Step(ChangeKind::kRemove, 2));
  EXPECT_TRUE(effect.refusal.ok()) << effect.refusal;
  EXPECT_EQ(effect.removed, Ids({2}));
  EXPECT_TRUE(effect.changed.empty());
  EXPECT_EQ(MembersOf(membership), Ids({1, 3}));
  EXPECT_EQ(membership.configuration, (raft::Configuration{Ids({1, 3}), {}, {}, {}}));
  EXPECT_EQ(membership.removed, (std::map<MemberId, Index>{{MemberId(2), Index(9)}}));
}

TEST(MembershipChangeTest, WhatCannotBeIsRefusedAsEtcdDoesAndChangesNothing) {
  struct Case {
    const char* what;
    ChangeStep step;
    Error error;
  };
  ChangeStep same_url = Step(ChangeKind::kAddVoter, 9);
  same_url.member.peer_urls = {"http://fresh:1", "http://p1:1"};
  const Case cases[] = {
      {"add one that is there", Step(ChangeKind::kAddVoter, 1), Error::kMemberExists},
      {"add a learner that votes", Step(ChangeKind::kAddLearner, 1), Error::kMemberExists},
      {"add one that was removed", Step(ChangeKind::kAddVoter, 7), Error::kMemberNotFound},
      {"add with a URL of another", same_url, Error::kPeerUrlExists},
      {"add too many learners", Step(ChangeKind::kAddLearner, 9), Error::kTooManyLearners},
      {"promote nobody", Step(ChangeKind::kPromoteLearner, 9), Error::kMemberNotFound},
      {"promote one that was removed", Step(ChangeKind::kPromoteLearner, 7),
       Error::kMemberNotFound},
      {"promote a voter", Step(ChangeKind::kPromoteLearner, 1), Error::kMemberNotLearner},
      {"remove nobody", Step(ChangeKind::kRemove, 9), Error::kMemberNotFound},
      {"remove one twice", Step(ChangeKind::kRemove, 7), Error::kMemberNotFound},
      {"update nobody", Update(9, {"http://fresh:1"}), Error::kMemberNotFound},
      {"update one that was removed", Update(7, {"http://fresh:1"}), Error::kMemberNotFound},
      {"update to a URL of another", Update(1, {"http://fresh:1", "http://p2:1"}),
       Error::kPeerUrlExists},
  };
  Membership membership = Cluster({1, 2, 7}, {5});
  ASSERT_TRUE(
      ApplyChange(Change({Step(ChangeKind::kRemove, 7)}), Index(4), membership).refusal.ok());
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    MembershipChange change = Change({c.step});
    change.learners_max = 1;
    Membership after = membership;
    const ChangeEffect effect = ApplyChange(change, Index(5), after);
    EXPECT_EQ(effect.refusal, api::ToStatus(c.error));
    EXPECT_TRUE(effect.changed.empty() && effect.removed.empty() && effect.forgotten.empty());
    EXPECT_EQ(after.members, membership.members);
    EXPECT_EQ(after.configuration, membership.configuration);
    EXPECT_EQ(after.removed, membership.removed);
  }
}

TEST(MembershipChangeTest, OwnUrlsAreNoObstacle) {
  Membership membership = Cluster({1, 2});
  EXPECT_TRUE(
      ApplyChange(Change({Update(1, {"http://p1:1", "http://more:1"})}), Index(2), membership)
          .refusal.ok());
  // As etcd, the server takes whatever it is told here.
  EXPECT_TRUE(ApplyChange(Change({Update(1, {"no url"})}), Index(3), membership).refusal.ok());
  EXPECT_TRUE(ApplyChange(Change({Update(1, {})}), Index(4), membership).refusal.ok());
}

TEST(MembershipChangeTest, TheEntrySaysHowManyLearnersThereMayBe) {
  MembershipChange change = Change({Step(ChangeKind::kAddLearner, 9)});
  Membership membership = Cluster({1}, {2, 3});
  change.learners_max = 2;
  EXPECT_EQ(ApplyChange(change, Index(2), membership).refusal,
            api::ToStatus(Error::kTooManyLearners));
  change.learners_max = 3;
  EXPECT_TRUE(ApplyChange(change, Index(3), membership).refusal.ok());
  Membership other = Cluster({1}, {2, 3});
  change.learners_max.reset();
  EXPECT_TRUE(ApplyChange(change, Index(2), other).refusal.ok());
}

TEST(MembershipChangeTest, TheLastVoterStays) {
  Membership membership = Cluster({1}, {2});
  EXPECT_EQ(ApplyChange(Change({Step(ChangeKind::kRemove, 1)}), Index(2), membership).refusal,
            api::ToStatus(Error::kNotEnoughStartedMembers));
  EXPECT_TRUE(
      ApplyChange(Change({Step(ChangeKind::kRemove, 2)}), Index(3), membership).refusal.ok());
}

TEST(MembershipChangeTest, SeveralVotesChangeThroughAJointPhase) {
  Membership membership = Cluster({1, 2, 3});
  ChangeEffect effect =
      ApplyChange(Change({Step(ChangeKind::kAddVoter, 4), Step(ChangeKind::kAddVoter, 5),
                          Step(ChangeKind::kRemove, 1), Step(ChangeKind::kRemove, 2)}),
                  Index(7), membership);
  ASSERT_TRUE(effect.refusal.ok()) << effect.refusal;
  // Who leaves still votes in the old half, so it is still talked to.
  EXPECT_EQ(membership.configuration,
            (raft::Configuration{Ids({3, 4, 5}), Ids({1, 2, 3}), {}, {}}));
  EXPECT_EQ(MembersOf(membership), Ids({1, 2, 3, 4, 5}));
  EXPECT_TRUE(effect.removed.empty());

  // Nothing else until the phase ends.
  EXPECT_EQ(ApplyChange(Change({Step(ChangeKind::kAddVoter, 6)}), Index(8), membership).refusal,
            api::ToStatus(Error::kUnhealthyCluster));

  MembershipChange leave;
  leave.leave_joint = true;
  effect = ApplyChange(leave, Index(9), membership);
  ASSERT_TRUE(effect.refusal.ok()) << effect.refusal;
  EXPECT_EQ(membership.configuration, (raft::Configuration{Ids({3, 4, 5}), {}, {}, {}}));
  EXPECT_EQ(MembersOf(membership), Ids({3, 4, 5}));
  EXPECT_EQ(effect.removed, Ids({1, 2}));
  EXPECT_EQ(membership.removed.at(MemberId(1)), Index(9));
  EXPECT_EQ(ApplyChange(leave, Index(10), membership).refusal,
            api::ToStatus(Error::kUnhealthyCluster));
}

TEST(MembershipChangeTest, SeveralStepsWithOneVoteNeedNoJointPhase) {
  Membership membership = Cluster({1, 2}, {3});
  const ChangeEffect effect =
      ApplyChange(Change({Step(ChangeKind::kPromoteLearner, 3), Step(ChangeKind::kAddLearner, 4),
                          Update(1, {"http://moved:1"})}),
                  Index(2), membership);
  ASSERT_TRUE(effect.refusal.ok()) << effect.refusal;
  EXPECT_EQ(effect.changed, Ids({3, 4, 1}));
  EXPECT_EQ(membership.configuration, (raft::Configuration{Ids({1, 2, 3}), {}, Ids({4}), {}}));
}

TEST(MembershipChangeTest, OneRefusedStepRefusesAll) {
  Membership membership = Cluster({1, 2});
  const ChangeEffect effect = ApplyChange(
      Change({Step(ChangeKind::kAddVoter, 3), Step(ChangeKind::kRemove, 9)}), Index(2), membership);
  EXPECT_EQ(effect.refusal, api::ToStatus(Error::kMemberNotFound));
  EXPECT_EQ(MembersOf(membership), Ids({1, 2}));
}

TEST(MembershipChangeTest, TheFirstRemovedIsForgottenFirst) {
  Membership membership = Cluster({1, 2, 3});
  for (uint64_t id = 100; id < 100 + kRemovedMembersMax; ++id) {
    membership.removed.emplace(MemberId(id), Index(id));
  }
  membership.removed[MemberId(500)] = Index(1);
  const ChangeEffect effect =
      ApplyChange(Change({Step(ChangeKind::kRemove, 2)}), Index(1'000'000), membership);
  EXPECT_EQ(effect.forgotten, Ids({500}));
  EXPECT_EQ(membership.removed.size(), kRemovedMembersMax);
  EXPECT_TRUE(membership.removed.contains(MemberId(2)));
}

TEST(MembershipChangeTest, ChangesRoundTrip) {
  MembershipChange change = Change(
      {Step(ChangeKind::kAddLearner, 3), Update(4, {"http://x:1"}), Step(ChangeKind::kRemove, 5)});
  change.steps[0].member.is_learner = true;
  change.proposer = {MemberId(8), 9, 10};
  change.learners_max = 0;
  EXPECT_EQ(*DecodeChange(EncodeChange(change)), change);
  MembershipChange leave;
  leave.leave_joint = true;
  EXPECT_EQ(*DecodeChange(EncodeChange(leave)), leave);
}

// Cut anywhere, an entry is refused, or says less than before but something that was ever said.
TEST(MembershipChangeTest, EveryTruncationIsHandled) {
  MembershipChange change =
      Change({Step(ChangeKind::kAddLearner, 3), Step(ChangeKind::kRemove, 5)});
  change.proposer = {MemberId(8), 9, 10};
  const std::string bytes = EncodeChange(change);
  for (size_t size = 0; size < bytes.size(); ++size) {
    const absl::StatusOr<MembershipChange> cut =
        DecodeChange(std::string_view(bytes).substr(0, size));
    if (!cut.ok()) {
      EXPECT_TRUE(absl::IsDataLoss(cut.status())) << size << " " << cut.status();
      continue;
    }
    ASSERT_LE(cut->steps.size(), change.steps.size());
    for (size_t i = 0; i < cut->steps.size(); ++i) EXPECT_EQ(cut->steps[i], change.steps[i]);
  }
}

TEST(MembershipChangeTest, EveryFlippedBitIsHandled) {
  const std::string bytes = EncodeChange(Change({Step(ChangeKind::kAddLearner, 3)}));
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    const absl::StatusOr<MembershipChange> change = DecodeChange(flipped);
    Membership membership = Cluster({1});
    if (change.ok()) {
      ApplyChange(*change, Index(2), membership);
    } else {
      EXPECT_TRUE(absl::IsDataLoss(change.status()) || absl::IsUnimplemented(change.status()))
          << change.status();
    }
  }
}

TEST(MembershipChangeTest, WhatThisVersionDoesNotKnowStopsTheMember) {
  EXPECT_TRUE(absl::IsDataLoss(DecodeChange("\xff\xff").status()));
  EXPECT_TRUE(absl::IsDataLoss(DecodeChange("").status()));
  internal::ConfigurationChange message;
  internal::ConfigurationChange::Step& step = *message.add_steps();
  step.mutable_member()->set_id(3);
  EXPECT_TRUE(absl::IsDataLoss(DecodeChange(message.SerializeAsString()).status()));
  step.set_kind(static_cast<internal::ConfigurationChange::Kind>(6));
  EXPECT_TRUE(absl::IsUnimplemented(DecodeChange(message.SerializeAsString()).status()));
  step.set_kind(internal::ConfigurationChange::REMOVE);
  EXPECT_TRUE(DecodeChange(message.SerializeAsString()).ok());
  step.mutable_member()->set_id(0);
  EXPECT_TRUE(absl::IsDataLoss(DecodeChange(message.SerializeAsString()).status()));
  step.mutable_member()->set_id(3);
  message.set_leave_joint(true);
  EXPECT_TRUE(absl::IsDataLoss(DecodeChange(message.SerializeAsString()).status()));
  message.set_leave_joint(false);
  // Field 100, a number.
  EXPECT_TRUE(absl::IsUnimplemented(
      DecodeChange(message.SerializeAsString() + std::string("\xa0\x06\x01")).status()));
}

}  // namespace
}  // namespace cairn::server
