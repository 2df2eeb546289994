#include "server/membership_rules.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <string_view>

#include "api/errors.h"

namespace cairn::server {
namespace {

using api::Error;

// A cluster as text, one letter a member, the first being the one that is asked:
//   V voter that has answered for long, v only for five seconds, x not at all (all started),
//   n voter that never started, N the same but connected,
//   L learner.
class Cluster {
 public:
  explicit Cluster(std::string_view text) {
    uint64_t id = 1;
    for (const char c : text) {
      const bool is_started = c != 'n' && c != 'N' && c != 'l';
      members_.push_back({MemberId(id), is_started ? "name" : "", {}, {}, c == 'L' || c == 'l'});
      if (c == 'V' || c == 'N' || c == 'L' || c == 'l') connected_[MemberId(id)] = 5001;
      if (c == 'v') connected_[MemberId(id)] = 5000;
      ++id;
    }
  }

  template <typename Check>
  auto Ask(const Check& check) const {
    const auto connected_ms = [&](MemberId id) -> std::optional<int64_t> {
      EXPECT_NE(id, MemberId(1));
      const auto found = connected_.find(id);
      return found == connected_.end() ? std::nullopt : std::optional<int64_t>(found->second);
    };
    return check(ClusterView{members_, MemberId(1), connected_ms});
  }

 private:
  Members members_;
  std::map<MemberId, int64_t> connected_;
};

const absl::Status kOk;
const absl::Status kNotStarted = api::ToStatus(Error::kNotEnoughStartedMembers);
const absl::Status kUnhealthy = api::ToStatus(Error::kUnhealthyCluster);

TEST(MembershipRulesTest, Additions) {
  struct Case {
    const char* cluster;
    absl::Status voter;
    absl::Status learner;
  };
  const Case cases[] = {
      {"V", kOk, kOk},
      {"n", kNotStarted, kOk},         // It has not said its own name yet.
      {"VV", kOk, kOk},                // Two of three.
      {"Vv", kUnhealthy, kUnhealthy},  // Not for long enough: the first five seconds.
      {"Vx", kUnhealthy, kUnhealthy},
      {"Vn", kNotStarted, kUnhealthy},  // One after the other.
      {"VN", kNotStarted, kOk},
      {"VVV", kOk, kOk},
      {"VVx", kUnhealthy, kUnhealthy},  // Two of three up is not three of four.
      {"VVn", kNotStarted, kUnhealthy},
      {"VVVV", kOk, kOk},
      {"VVVx", kOk, kOk},  // Three of five.
      {"VVVVV", kOk, kOk},
      {"VVVVx", kOk, kOk},
      {"VVVxx", kUnhealthy, kUnhealthy},
      {"VVVnn", kNotStarted, kUnhealthy},
      {"VL", kOk, kOk},  // Learners count for nothing.
      {"VVLL", kOk, kOk},
      {"VxL", kUnhealthy, kUnhealthy},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.cluster);
    const Cluster cluster(c.cluster);
    EXPECT_EQ(cluster.Ask([](const ClusterView& v) { return CheckAddition(v, false); }), c.voter);
    EXPECT_EQ(cluster.Ask([](const ClusterView& v) { return CheckAddition(v, true); }), c.learner);
  }
}

TEST(MembershipRulesTest, Removals) {
  struct Case {
    const char* cluster;
    uint64_t id;
    absl::Status expected;
  };
  const Case cases[] = {
      {"V", 1, kNotStarted},  // The last one.
      {"V", 9, kOk},          // A stranger: the entry will say so.
      {"VL", 2, kOk},          {"VL", 1, kNotStarted},  {"VV", 1, kOk},
      {"VV", 2, kOk},          {"Vx", 2, kOk},  // Down already.
      {"Vx", 1, kUnhealthy},   {"Vv", 2, kUnhealthy},   {"Vn", 2, kOk},
      {"Vn", 1, kNotStarted},  {"VVV", 1, kOk},         {"VVV", 3, kOk},
      {"VVx", 3, kOk},         {"VVx", 2, kUnhealthy},  {"VVx", 1, kUnhealthy},
      {"VVn", 2, kNotStarted}, {"VVn", 3, kOk},         {"VVVV", 4, kOk},
      {"VVVx", 3, kOk},        {"VVVVx", 4, kOk},       {"VVVxx", 3, kUnhealthy},
      {"VVVxx", 4, kOk},       {"VVVxx", 9, kOk},       {"xxn", 9, kOk},
      {"VnnL", 4, kOk},        {"Vnn", 9, kNotStarted},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(fmt::format("{} without {}", c.cluster, c.id));
    EXPECT_EQ(Cluster(c.cluster).Ask(
                  [&](const ClusterView& v) { return CheckRemoval(v, MemberId(c.id)); }),
              c.expected);
  }
}

TEST(MembershipRulesTest, Promotions) {
  const std::pair<const char*, absl::Status> cases[] = {
      {"VL", kOk},           {"VVL", kOk},  {"VnL", kOk},  {"nL", kNotStarted},
      {"VnnL", kNotStarted}, {"VVnL", kOk}, {"VxxL", kOk},
  };
  for (const auto& [cluster, expected] : cases) {
    SCOPED_TRACE(cluster);
    EXPECT_EQ(Cluster(cluster).Ask(CheckPromotion), expected);
  }
}

raft::CoreStatus Leader(uint64_t durable, std::vector<raft::PeerStatus> peers) {
  raft::CoreStatus status;
  status.id = MemberId(1);
  status.role = raft::RoleKind::kLeader;
  status.durable = Index(durable);
  status.peers = std::move(peers);
  return status;
}

raft::PeerStatus Peer(uint64_t id, bool is_learner, uint64_t match) {
  return {.id = MemberId(id),
          .is_learner = is_learner,
          .match = Index(match),
          .is_recently_active = true};
}

TEST(MembershipRulesTest, ALearnerIsReadyAtNineTenths) {
  const raft::CoreStatus leader = Leader(
      1000, {Peer(2, false, 1000), Peer(3, true, 900), Peer(4, true, 899), Peer(5, true, 0)});
  EXPECT_EQ(CheckLearnerReady(leader, MemberId(3)), kOk);
  EXPECT_EQ(CheckLearnerReady(leader, MemberId(4)), api::ToStatus(Error::kLearnerNotReady));
  EXPECT_EQ(CheckLearnerReady(leader, MemberId(5)), api::ToStatus(Error::kLearnerNotReady));
  EXPECT_EQ(CheckLearnerReady(leader, MemberId(9)), api::ToStatus(Error::kMemberNotFound));
  // That they vote already is for the entry to say.
  EXPECT_EQ(CheckLearnerReady(leader, MemberId(1)), kOk);
  EXPECT_EQ(CheckLearnerReady(leader, MemberId(2)), kOk);
  raft::CoreStatus follower = leader;
  follower.role = raft::RoleKind::kFollower;
  EXPECT_EQ(CheckLearnerReady(follower, MemberId(3)), api::ToStatus(Error::kNotLeader));
}

TEST(MembershipRulesTest, WhoIsPromotedUnasked) {
  const auto promoted = [](std::string_view cluster, raft::CoreStatus leader) {
    return Cluster(cluster).Ask(
        [&](const ClusterView& view) { return LearnerToPromote(leader, view, Index(100)); });
  };
  EXPECT_EQ(promoted("VL", Leader(120, {Peer(2, true, 100)})), MemberId(2));
  EXPECT_EQ(promoted("VL", Leader(120, {Peer(2, true, 99)})), std::nullopt);
  EXPECT_EQ(promoted("VV", Leader(120, {Peer(2, false, 120)})), std::nullopt);
  EXPECT_EQ(promoted("VLL", Leader(120, {Peer(2, true, 1), Peer(3, true, 110)})), MemberId(3));
  // It has not started, does not answer, or the others are too few.
  EXPECT_EQ(promoted("Vl", Leader(120, {Peer(2, true, 100)})), std::nullopt);
  raft::PeerStatus silent = Peer(2, true, 100);
  silent.is_recently_active = false;
  EXPECT_EQ(promoted("VL", Leader(120, {silent})), std::nullopt);
  EXPECT_EQ(promoted("VLnn", Leader(120, {Peer(2, true, 100)})), std::nullopt);
  raft::CoreStatus follower = Leader(120, {Peer(2, true, 100)});
  follower.role = raft::RoleKind::kFollower;
  EXPECT_EQ(promoted("VL", follower), std::nullopt);
}

TEST(MembershipRulesTest, PeerUrls) {
  using Urls = std::vector<std::string>;
  EXPECT_EQ(*CheckPeerUrls({"http://b:1", " http://a:2 "}), (Urls{"http://a:2", "http://b:1"}));
  EXPECT_EQ(*CheckPeerUrls({"https://[::1]:2380"}), (Urls{"https://[::1]:2380"}));
  EXPECT_EQ(*CheckPeerUrls({"HTTP://a:1"}), (Urls{"http://a:1"}));
  EXPECT_EQ(*CheckPeerUrls({"unix://socket"}), (Urls{"unix://socket"}));
  for (const char* bad : {"", " ", "a:1", "http://a", "http://", "http:a:1", "ftp://a:1",
                          "http://a:1/", "http://a:1/p", "http://a:b", "http://a:70000",
                          "http://::1:1", "http://a b:1", "http://a:1?q=1"}) {
    EXPECT_EQ(CheckPeerUrls({"http://good:1", bad}).status(),
              api::ToStatus(Error::kInvalidMemberUrls))
        << bad;
  }
  EXPECT_EQ(CheckPeerUrls({}).status(), api::ToStatus(Error::kInvalidMemberUrls));
}

}  // namespace
}  // namespace cairn::server
