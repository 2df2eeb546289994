#include "server/membership.h"

#include <gtest/gtest.h>

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
    ++expected_index;
    absl::StatusOr<Membership> after = ApplyChange(std::move(membership), *entry.data);
    ASSERT_TRUE(after.ok()) << after.status();
    membership = *std::move(after);
  }
  EXPECT_EQ(membership.members, members);
  EXPECT_EQ(membership.configuration.voters,
            (std::vector<MemberId>{members[0].id, members[1].id, members[2].id}));
}

TEST(MembershipTest, AChangeThatCannotBeIsRefused) {
  const Members members = InitialMembers({{"a", {"http://a:1"}}}, "t");
  const std::string data = *BootstrapEntries(members)[0].data;
  const Membership once = *ApplyChange({}, data);
  EXPECT_EQ(ApplyChange(once, data).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ApplyChange({}, "\xff\xff").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ApplyChange({}, "").status().code(), absl::StatusCode::kUnimplemented);
}

TEST(MembershipTest, RowsRoundTrip) {
  const Member member{MemberId(7), "name", {"http://p:1", "http://p:2"}, {"http://c:1"}, true};
  EXPECT_EQ(*DecodeMember(EncodeMember(member)), member);
  EXPECT_FALSE(DecodeMember("").ok());
  const raft::Configuration configuration{
      {MemberId(1), MemberId(2)}, {MemberId(1)}, {MemberId(3)}, {MemberId(4)}};
  EXPECT_EQ(*DecodeConfiguration(EncodeConfiguration(configuration)), configuration);
  const absl::StatusOr<PublishedAttributes> published =
      DecodePublished(EncodePublished({MemberId(9), "n", {"http://c:1"}}));
  ASSERT_TRUE(published.ok());
  EXPECT_EQ(published->id, MemberId(9));
  EXPECT_EQ(published->client_urls, std::vector<std::string>{"http://c:1"});
}

}  // namespace
}  // namespace cairn::server
