// The rpcs on members over a node that applies at once: what is asked of whom in which order, and
// what is answered. The rules themselves: membership_rules_test.cc, membership_change_test.cc.
#include "server/cluster_service.h"

#include <fmt/format.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "api/errors.h"
#include "api/peer.pb.h"
#include "api/rpc.pb.h"
#include "base/status.h"
#include "server/fake_node.h"
#include "server/response_buffer.h"
#include "server/rpc/fake_call.h"
#include "server/services.h"

namespace cairn::server {
namespace {

using api::Error;

std::string Text(Error error) {
  return fmt::format("{}: {}", absl::StatusCodeToString(api::Info(error).code),
                     api::Info(error).text);
}

// This member, 22, is a started voter and leads.
class ClusterServiceTest : public testing::Test {
 protected:
  explicit ClusterServiceTest(ServiceLimits limits = {})
      : services_(ServiceContext{node_, node_.store(), budget_, limits}) {
    Know({MemberId(22), "self", {"http://self:1"}, {"http://self:2"}, false});
    node_.raft.id = MemberId(22);
    node_.raft.role = raft::RoleKind::kLeader;
    node_.raft.durable = Index(100);
  }

  // Makes a member, who has been connected for long.
  void Know(Member member) {
    MembershipChange change;
    change.steps = {{member.is_learner ? ChangeKind::kAddLearner : ChangeKind::kAddVoter, member}};
    ASSERT_TRUE(ApplyChange(change, Index(1), node_.membership).refusal.ok());
    node_.connected_ms[member.id] = 60'000;
    node_.raft.peers.push_back({.id = member.id, .match = Index(100)});
    node_.members_ = std::make_shared<const Members>(node_.membership.members);
  }

  // The response without ids that depend on the clock and without its header, which is checked.
  template <typename Request, typename Response>
  std::string Call(std::string_view method, std::string_view request) {
    Request parsed;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(std::string(request), &parsed));
    const absl::StatusOr<std::string> answer =
        rpc::CallUnary(services_.table(), fmt::format("/etcdserverpb.Cluster/{}", method),
                       parsed.SerializeAsString());
    if (!answer.ok()) {
      return fmt::format("{}: {}", absl::StatusCodeToString(answer.status().code()),
                         base::Message(answer.status()));
    }
    Response response;
    EXPECT_TRUE(response.ParseFromString(*answer));
    EXPECT_EQ(response.header().cluster_id(), 11U);
    EXPECT_EQ(response.header().member_id(), 22U);
    EXPECT_EQ(response.header().raft_term(), 3U);
    EXPECT_EQ(response.header().revision(), 0);
    response.clear_header();
    google::protobuf::TextFormat::Printer printer;
    printer.SetSingleLineMode(true);
    std::string text;
    printer.PrintToString(response, &text);
    while (!text.empty() && text.back() == ' ') text.pop_back();
    return text;
  }
  std::string Add(std::string_view request) {
    return Call<etcdserverpb::MemberAddRequest, etcdserverpb::MemberAddResponse>("MemberAdd",
                                                                                 request);
  }
  std::string Remove(std::string_view request) {
    return Call<etcdserverpb::MemberRemoveRequest, etcdserverpb::MemberRemoveResponse>(
        "MemberRemove", request);
  }
  std::string Update(std::string_view request) {
    return Call<etcdserverpb::MemberUpdateRequest, etcdserverpb::MemberUpdateResponse>(
        "MemberUpdate", request);
  }
  std::string Promote(std::string_view request) {
    return Call<etcdserverpb::MemberPromoteRequest, etcdserverpb::MemberPromoteResponse>(
        "MemberPromote", request);
  }
  std::string List() {
    return Call<etcdserverpb::MemberListRequest, etcdserverpb::MemberListResponse>("MemberList",
                                                                                   "");
  }

  FakeNode node_;
  ResponseBudget budget_;
  Services services_;
};

constexpr char kSelf[] =
    R"(members { ID: 22 name: "self" peerURLs: "http://self:1" clientURLs: "http://self:2" })";

TEST_F(ClusterServiceTest, AMemberIsAddedWithTheUrlsSorted) {
  const std::string answer = Add(R"(peerURLs: "http://b:1" peerURLs: "http://a:1")");
  ASSERT_EQ(node_.membership.members.size(), 2U);
  const Member& added = node_.membership.members[node_.membership.members[0].name.empty() ? 0 : 1];
  EXPECT_EQ(added.peer_urls, (std::vector<std::string>{"http://a:1", "http://b:1"}));
  EXPECT_FALSE(added.is_learner);
  const std::string shown =
      fmt::format(R"(ID: {} peerURLs: "http://a:1" peerURLs: "http://b:1")", added.id.value());
  const std::string first = fmt::format("member {{ {} }} ", shown);
  ASSERT_TRUE(answer.starts_with(first)) << answer;
  EXPECT_NE(answer.find(kSelf), std::string::npos) << answer;
  EXPECT_NE(answer.find(fmt::format("members {{ {} }}", shown)), std::string::npos) << answer;
  // Nobody else than the two.
  EXPECT_EQ(List(), answer.substr(first.size()));
}

TEST_F(ClusterServiceTest, AdditionsAreRefusedInEtcdsOrder) {
  EXPECT_EQ(Add(""), Text(Error::kInvalidMemberUrls));
  EXPECT_EQ(Add(R"(peerURLs: "a:1")"), Text(Error::kInvalidMemberUrls));
  EXPECT_EQ(Add(R"(peerURLs: "http://self:1")"), Text(Error::kPeerUrlExists));
  EXPECT_NE(Add(R"(peerURLs: "http://l:1" isLearner: true)").find("isLearner: true"),
            std::string::npos);
  EXPECT_EQ(Add(R"(peerURLs: "http://m:1" isLearner: true)"), Text(Error::kTooManyLearners));
  // Two voters, the second of whom does not answer: URLs first, then the rules, then the rest.
  Know({MemberId(30), "other", {"http://other:1"}, {}, false});
  node_.connected_ms.clear();
  EXPECT_EQ(Add(R"(peerURLs: "nonsense")"), Text(Error::kInvalidMemberUrls));
  EXPECT_EQ(Add(R"(peerURLs: "http://self:1")"), Text(Error::kUnhealthyCluster));
  Know({MemberId(31), "", {"http://third:1"}, {}, false});
  EXPECT_EQ(Add(R"(peerURLs: "http://self:1")"), Text(Error::kNotEnoughStartedMembers));
}

TEST_F(ClusterServiceTest, Removals) {
  EXPECT_EQ(Remove("ID: 9"), Text(Error::kMemberNotFound));
  EXPECT_EQ(Remove("ID: 22"), Text(Error::kNotEnoughStartedMembers));
  Know({MemberId(30), "other", {"http://other:1"}, {}, false});
  EXPECT_EQ(Remove("ID: 30"), kSelf);
  node_.connected_ms.erase(MemberId(30));
  EXPECT_EQ(Remove("ID: 30"), Text(Error::kMemberNotFound));
}

TEST_F(ClusterServiceTest, UpdatesTakeAnything) {
  EXPECT_EQ(Update(R"(ID: 9 peerURLs: "http://new:1")"), Text(Error::kMemberNotFound));
  EXPECT_EQ(Update(R"(ID: 22 peerURLs: "z" peerURLs: "no url")"),
            R"(members { ID: 22 name: "self" peerURLs: "z" peerURLs: "no url" )"
            R"(clientURLs: "http://self:2" })");
}

TEST_F(ClusterServiceTest, Promotions) {
  EXPECT_EQ(Promote("ID: 9"), Text(Error::kMemberNotFound));
  EXPECT_EQ(Promote("ID: 22"), Text(Error::kMemberNotLearner));
  Know({MemberId(30), "", {"http://learner:1"}, {}, true});
  node_.raft.peers.back().match = Index(89);
  EXPECT_EQ(Promote("ID: 30"), Text(Error::kLearnerNotReady));
  node_.raft.peers.back().match = Index(90);
  EXPECT_EQ(Promote("ID: 30"),
            fmt::format(R"({} members {{ ID: 30 peerURLs: "http://learner:1" }})", kSelf));
  EXPECT_EQ(Promote("ID: 30"), Text(Error::kMemberNotLearner));
}

TEST_F(ClusterServiceTest, AFollowerAsksTheLeaderForAPromotion) {
  node_.raft.role = raft::RoleKind::kFollower;
  node_.status_.leader = MemberId();
  EXPECT_EQ(Promote("ID: 30"), Text(Error::kNoLeader));
  EXPECT_TRUE(node_.called.empty());

  node_.status_.leader = MemberId(25);
  etcdserverpb::MemberPromoteResponse made;
  made.add_members()->set_id(30);
  peer::PromoteResponse answer;
  answer.set_response(made.SerializeAsString());
  node_.call_answer = answer.SerializeAsString();
  EXPECT_EQ(Promote("ID: 30"), "members { ID: 30 }");
  ASSERT_EQ(node_.called.size(), 1U);
  EXPECT_EQ(node_.called[0], (std::pair<MemberId, std::string>(MemberId(25), "Promote")));

  // The leader's refusals are the client's; those of the way there become etcd's.
  node_.call_answer = api::ToStatus(Error::kLearnerNotReady);
  EXPECT_EQ(Promote("ID: 30"), Text(Error::kLearnerNotReady));
  node_.call_answer = api::ToStatus(Error::kNotLeader);
  EXPECT_EQ(Promote("ID: 30"), Text(Error::kNoLeader));
  node_.call_answer = absl::UnavailableError("connection refused");
  EXPECT_EQ(Promote("ID: 30"), Text(Error::kTimeoutConnectionLost));
  node_.call_answer = absl::DeadlineExceededError("deadline");
  EXPECT_EQ(Promote("ID: 30"), Text(Error::kTimeout));
  node_.call_answer = std::string("\xff");
  EXPECT_EQ(Promote("ID: 30"), Text(Error::kTimeoutConnectionLost));
}

TEST_F(ClusterServiceTest, LearnersAnswerNothing) {
  node_.status_.is_learner = true;
  EXPECT_EQ(List(), Text(Error::kNotSupportedForLearner));
  EXPECT_EQ(Add(R"(peerURLs: "http://a:1")"), Text(Error::kNotSupportedForLearner));
}

class LaxClusterServiceTest : public ClusterServiceTest {
 protected:
  LaxClusterServiceTest()
      : ClusterServiceTest({.strict_reconfig_check = false, .learners_max = 2}) {}
};

TEST_F(LaxClusterServiceTest, WithoutStrictnessOnlyTheImpossibleIsRefused) {
  Know({MemberId(30), "", {"http://never:1"}, {}, false});
  node_.connected_ms.clear();
  for (const char* url : {"http://a:1", "http://b:1"}) {
    EXPECT_TRUE(Add(fmt::format(R"(peerURLs: "{}" isLearner: true)", url)).starts_with("member"));
  }
  EXPECT_EQ(Add(R"(peerURLs: "http://c:1" isLearner: true)"), Text(Error::kTooManyLearners));
  EXPECT_TRUE(Remove("ID: 30").starts_with("members"));
  EXPECT_EQ(Remove("ID: 22"), Text(Error::kNotEnoughStartedMembers));
}

}  // namespace
}  // namespace cairn::server
