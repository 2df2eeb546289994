#include "server/cluster_version.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "api/errors.h"

namespace cairn::server {
namespace {

using api::Error;

constexpr auto kUnknown = std::nullopt;
constexpr Version k36{3, 6, 0};
constexpr Version k37{3, 7, 0};
constexpr Version k38{3, 8, 0};

TEST(ClusterVersionTest, Parses) {
  EXPECT_EQ(ParseVersion("3.7.1"), (Version{3, 7, 1}));
  EXPECT_EQ(ParseVersion("3.8.0-alpha.0+git"), (Version{3, 8, 0}));
  for (const char* text : {"", "3", "3.7", "3.7.", "3.7.1.0", "a.b.c", "3.7.x", "3..1", ".3.7.1",
                           "-3.7.1", "3.7.99999999999", " 3.7.1", "3.7.1 "}) {
    EXPECT_EQ(ParseVersion(text), kUnknown) << text;
  }
  EXPECT_EQ(ParseDowngradeTarget("3.6"), k36);
  EXPECT_EQ(ParseDowngradeTarget("3.6.9"), k36);
  for (const char* text : {"", "3", "3.6.1.2", "three"}) {
    EXPECT_EQ(ParseDowngradeTarget(text), kUnknown) << text;
  }
  EXPECT_EQ(FullText({3, 7, 1}), "3.7.1");
  EXPECT_EQ(ShortText({3, 7, 1}), "3.7");
}

TEST(ClusterVersionTest, IsDecidedFromWhatTheMembersSpeak) {
  struct Case {
    const char* name;
    std::optional<Version> current;
    std::vector<std::optional<Version>> members;
    std::optional<Version> downgrade;
    std::optional<Version> expected;
  };
  const Case cases[] = {
      {"a new cluster, all known", kUnknown, {{{3, 7, 3}}, {{3, 7, 0}}}, kUnknown, k37},
      {"the lowest decides", kUnknown, {{{3, 7, 3}}, {{3, 6, 9}}}, kUnknown, k36},
      {"a new cluster, one unknown",
       kUnknown,
       {{{3, 7, 3}}, kUnknown},
       kUnknown,
       kMinClusterVersion},
      {"the last one has come", kMinClusterVersion, {k37, k37}, kUnknown, k37},
      {"one is away", k36, {k37, kUnknown}, kUnknown, kUnknown},
      {"all were upgraded", k36, {{{3, 7, 3}}, {{3, 7, 4}}}, kUnknown, k37},
      {"two versions at once", k36, {k38, k38}, kUnknown, k38},
      {"not all were upgraded", k36, {k37, k36}, kUnknown, kUnknown},
      {"as it is", k37, {{{3, 7, 3}}, k37}, kUnknown, kUnknown},
      {"never down by itself", k37, {k36, k37}, kUnknown, kUnknown},
      {"nor over a major version", k37, {{{4, 0, 0}}, {{4, 0, 0}}}, kUnknown, kUnknown},
      {"a downgrade begins", k37, {{{3, 7, 3}}, k37}, k36, k36},
      {"a downgrade under way", k36, {k36, k37}, k36, kUnknown},
      {"a downgrade while one is away", k37, {k37, kUnknown}, k36, kUnknown},
      {"a target too far", k38, {k38, k38}, k36, kUnknown},
      {"a member is below already", k37, {k37, {{3, 5, 0}}}, k36, kUnknown},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(DecideClusterVersion(c.current, c.members, c.downgrade), c.expected) << c.name;
  }
}

TEST(ClusterVersionTest, ADowngradeGoesOneStepAtATime) {
  const absl::Status invalid = api::ToStatus(Error::kInvalidDowngradeTarget);
  EXPECT_EQ(CheckDowngrade(kUnknown, k36, kUnknown),
            api::ToStatus(Error::kClusterVersionUnavailable));
  EXPECT_TRUE(CheckDowngrade(k37, k36, kUnknown).ok());
  for (const Version& target : {k37, k38, Version{3, 5, 0}, Version{2, 6, 0}, Version{4, 6, 0}}) {
    EXPECT_EQ(CheckDowngrade(k37, target, kUnknown), invalid) << FullText(target);
  }
  EXPECT_EQ(CheckDowngrade(Version{4, 0, 0}, Version{3, 9, 0}, kUnknown), invalid);
  EXPECT_EQ(CheckDowngrade(Version{3, 0, 0}, Version{3, UINT32_MAX, 0}, kUnknown), invalid);
  EXPECT_EQ(CheckDowngrade(k37, k36, k36), api::ToStatus(Error::kDowngradeInProgress));
  // The target is judged first.
  EXPECT_EQ(CheckDowngrade(k36, k36, k36), invalid);
}

TEST(ClusterVersionTest, ADowngradeEndsWhenAllSpeakTheTarget) {
  EXPECT_TRUE(IsDowngradeDone({{{3, 6, 5}}, k36}, k36));
  EXPECT_FALSE(IsDowngradeDone({k36, k37}, k36));
  EXPECT_FALSE(IsDowngradeDone({k36, kUnknown}, k36));
}

}  // namespace
}  // namespace cairn::server
