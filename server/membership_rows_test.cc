#include "server/membership_rows.h"

#include <gtest/gtest.h>

#include <functional>

namespace cairn::server {
namespace {

const Member kMember{MemberId(7), "name", {"http://p:1", "http://p:2"}, {"http://c:1"}, true};

TEST(MembershipRowsTest, MembersRoundTrip) {
  EXPECT_EQ(*DecodeMember(EncodeMember(kMember)), kMember);
  EXPECT_FALSE(DecodeMember("").ok());
}

TEST(MembershipRowsTest, ConfigurationsRoundTrip) {
  const raft::Configuration configuration{
      {MemberId(1), MemberId(2)}, {MemberId(1)}, {MemberId(3)}, {MemberId(4)}};
  EXPECT_EQ(*DecodeConfiguration(EncodeConfiguration(configuration)), configuration);
}

TEST(MembershipRowsTest, PublishedAttributesRoundTrip) {
  const absl::StatusOr<PublishedAttributes> published =
      DecodePublished(EncodePublished({MemberId(9), "n", {"http://c:1"}}));
  ASSERT_TRUE(published.ok());
  EXPECT_EQ(published->id, MemberId(9));
  EXPECT_EQ(published->client_urls, std::vector<std::string>{"http://c:1"});
}

TEST(MembershipRowsTest, RemovedMembersRoundTrip) {
  const std::string key = RemovedMemberRowKey(MemberId(0xff00000000000001));
  const RemovedMember removed{MemberId(0xff00000000000001), Index(300)};
  EXPECT_EQ(*DecodeRemoved(key, EncodeRemovedIndex(Index(300))), removed);
  // Every row in the order of ids, apart from the other rows of the configuration.
  EXPECT_LT(RemovedMemberRowKey(MemberId(2)), key);
  EXPECT_FALSE(kConfigurationKey.starts_with(kRemovedMemberPrefix));
  EXPECT_FALSE(DecodeRemoved(kConfigurationKey, EncodeRemovedIndex(Index(1))).ok());
  EXPECT_FALSE(DecodeRemoved(RemovedMemberRowKey(MemberId(0)), EncodeRemovedIndex(Index(1))).ok());
}

// Whatever is left of a row is refused or decodes to something without id 0; nothing crashes.
TEST(MembershipRowsTest, EveryTruncationIsHandled) {
  const std::string member = EncodeMember(kMember);
  for (size_t size = 0; size < member.size(); ++size) {
    const absl::StatusOr<Member> decoded = DecodeMember(std::string_view(member).substr(0, size));
    EXPECT_TRUE(absl::IsDataLoss(decoded.status()) || decoded->id == kMember.id) << size;
  }
  const std::string key = RemovedMemberRowKey(MemberId(5));
  const std::string value = EncodeRemovedIndex(Index(6));
  for (size_t size = 0; size < key.size(); ++size) {
    EXPECT_TRUE(absl::IsDataLoss(DecodeRemoved(key.substr(0, size), value).status())) << size;
  }
  for (size_t size = 0; size < value.size(); ++size) {
    EXPECT_TRUE(absl::IsDataLoss(DecodeRemoved(key, value.substr(0, size)).status())) << size;
  }
  EXPECT_TRUE(absl::IsDataLoss(DecodeRemoved(key + "x", value).status()));
  EXPECT_TRUE(absl::IsDataLoss(DecodeRemoved(key, value + "x").status()));
}

}  // namespace
}  // namespace cairn::server
