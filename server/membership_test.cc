#include "server/membership.h"

#include <gtest/gtest.h>

#include "base/coding.h"
#include "server/membership_change.h"

namespace cairn::server {
namespace {

// The ids that a real etcd shows for its default flags.
TEST(MembershipTest, IdsAreEtcds) {
  const MemberId member = DeriveMemberId({"http://localhost:2380"}, "etcd-cluster");
  EXPECT_EQ(fmt::format("{:x}", member), "8e9e05c52164694d");
  EXPECT_EQ(fmt::format("{:x}", DeriveClusterId({member})), "cdf818194e3a8c32");
}

TEST(MembershipTest, IdsDoNotDependOnOrderButOnToken) {
  EXPECT_EQ(DeriveMemberId({"http://a:1", "http://b:1"}, "t"),
            DeriveMemberId({"http://b:1", "http://a:1"}, "t"));
  EXPECT_NE(DeriveMemberId({"http://a:1"}, "t"), DeriveMemberId({"http://a:1"}, "u"));
  EXPECT_EQ(DeriveClusterId({MemberId(1), MemberId(2)}),
            DeriveClusterId({MemberId(2), MemberId(1)}));
}

TEST(MembershipTest, TheIdOfAnAddedMemberDependsOnTheSecond) {
  EXPECT_EQ(DeriveAddedMemberId({"http://a:1"}, 17), DeriveMemberId({"http://a:1"}, "17"));
  EXPECT_NE(DeriveAddedMemberId({"http://a:1"}, 17), DeriveAddedMemberId({"http://a:1"}, 18));
}

TEST(MembershipTest, BootstrapEntriesMakeTheInitialCluster) {
  const Members members = InitialMembers(
      {{"a", {"http://a:1"}}, {"b", {"http://b:1"}}, {"c", {"http://c:1", "http://c:2"}}}, "t");
  ASSERT_EQ(members.size(), 3u);
  EXPECT_LT(members[0].id, members[1].id);
  Membership membership;
  Index expected_index(1);
  for (const raft::Entry& entry : BootstrapEntries(members)) {
    EXPECT_EQ(entry.term, Term(1));
    EXPECT_EQ(entry.index, expected_index);
    const absl::StatusOr<MembershipChange> change = DecodeChange(*entry.data);
    ASSERT_TRUE(change.ok()) << change.status();
    EXPECT_TRUE(ApplyChange(*change, expected_index, membership).refusal.ok());
    ++expected_index;
  }
  EXPECT_EQ(membership.members, members);
  EXPECT_EQ(membership.configuration.voters,
            (std::vector<MemberId>{members[0].id, members[1].id, members[2].id}));
}

// What data directories hold already.
TEST(MembershipTest, BootstrapEntriesStayAsTheyAre) {
  const Members members = InitialMembers({{"a", {"http://a:1"}}}, "t");
  std::string bytes = "\x0a\x19\x08\x01\x12\x15\x08";
  base::AppendVarint(bytes, members[0].id.value());
  bytes += "\x1a\x0ahttp://a:1";
  bytes[1] = static_cast<char>(bytes.size() - 2);
  bytes[5] = static_cast<char>(bytes.size() - 6);
  EXPECT_EQ(*BootstrapEntries(members)[0].data, bytes);
}

}  // namespace
}  // namespace cairn::server
