#include "server/peer/member_service.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "api/errors.h"
#include "api/peer.pb.h"
#include "server/fake_node.h"
#include "server/rpc/fake_call.h"
#include "server/rpc/service_table.h"

namespace cairn::server {
namespace {

using api::Error;

// Cluster 11, whose members are 22, who leads, and the learner 30.
class PeerMemberServiceTest : public testing::Test {
 protected:
  PeerMemberServiceTest() : service_(node_, {}) {
    service_.Register(table_);
    for (const Member& member : members_) {
      MembershipChange change;
      change.steps = {
          {member.is_learner ? ChangeKind::kAddLearner : ChangeKind::kAddVoter, member}};
      EXPECT_TRUE(ApplyChange(change, Index(1), node_.membership).refusal.ok());
    }
    node_.members_ = std::make_shared<const Members>(node_.membership.members);
    node_.raft.id = MemberId(22);
    node_.raft.role = raft::RoleKind::kLeader;
    node_.raft.durable = Index(100);
    node_.raft.peers = {{.id = MemberId(30), .is_learner = true, .match = Index(100)}};
  }

  absl::StatusOr<std::string> Promote(uint64_t cluster, uint64_t member) {
    peer::PromoteRequest request;
    request.set_cluster_id(cluster);
    request.set_member_id(member);
    return rpc::CallUnary(table_, "/cairn.peer.Peer/Promote", request.SerializeAsString());
  }

  const Members members_ = {
      {MemberId(22), "self", {"http://self:1"}, {"http://self:2"}, false},
      {MemberId(30), "learner", {"http://learner:1", "http://learner:2"}, {}, true}};
  FakeNode node_;
  PeerMemberService service_;
  rpc::ServiceTable table_;
};

TEST_F(PeerMemberServiceTest, AnyoneIsToldWhoTheMembersAre) {
  const absl::StatusOr<std::string> answer = rpc::CallUnary(table_, "/cairn.peer.Peer/Members", "");
  ASSERT_TRUE(answer.ok()) << answer.status();
  const absl::StatusOr<ExistingCluster> existing = DecodeMembersResponse(*answer);
  ASSERT_TRUE(existing.ok()) << existing.status();
  EXPECT_EQ(existing->id, ClusterId(11));
  EXPECT_EQ(existing->members, members_);
}

TEST_F(PeerMemberServiceTest, WhatNoMemberSendsIsRefused) {
  EXPECT_TRUE(absl::IsDataLoss(DecodeMembersResponse("\xff").status()));
  EXPECT_TRUE(absl::IsDataLoss(DecodeMembersResponse("").status()));
  const std::string answer = *rpc::CallUnary(table_, "/cairn.peer.Peer/Members", "");
  for (size_t size = 0; size < answer.size(); ++size) {
    const absl::StatusOr<ExistingCluster> cut =
        DecodeMembersResponse(std::string_view(answer).substr(0, size));
    EXPECT_TRUE(absl::IsDataLoss(cut.status()) || cut->members.size() < members_.size()) << size;
  }
}

TEST_F(PeerMemberServiceTest, TheLeaderPromotesForAFollower) {
  const absl::StatusOr<std::string> answer = Promote(11, 30);
  ASSERT_TRUE(answer.ok()) << answer.status();
  peer::PromoteResponse response;
  ASSERT_TRUE(response.ParseFromString(*answer));
  etcdserverpb::MemberPromoteResponse promoted;
  ASSERT_TRUE(promoted.ParseFromString(response.response()));
  ASSERT_EQ(promoted.members_size(), 2);
  EXPECT_FALSE(promoted.members(1).islearner());
  EXPECT_EQ(Promote(11, 30).status(), api::ToStatus(Error::kMemberNotLearner));
}

TEST_F(PeerMemberServiceTest, OthersAreRefused) {
  EXPECT_EQ(Promote(12, 30).status(), api::ToStatus(Error::kClusterIdMismatch));
  EXPECT_EQ(Promote(11, 99).status(), api::ToStatus(Error::kMemberNotFound));
  node_.raft.role = raft::RoleKind::kFollower;
  EXPECT_EQ(Promote(11, 30).status(), api::ToStatus(Error::kNotLeader));
  EXPECT_FALSE(rpc::CallUnary(table_, "/cairn.peer.Peer/Promote", "\xff\xff").ok());
}

}  // namespace
}  // namespace cairn::server
