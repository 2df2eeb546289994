#include "server/join.h"

#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "base/status.h"

namespace cairn::server {
namespace {

// "n2" of three, of whom the flags name all.
Config ThreeMembers() {
  Config config;
  config.name = "n2";
  config.initial_cluster = {
      {"n1", {"http://n1:1"}}, {"n2", {"http://n2:1", "http://n2:2"}}, {"n3", {"http://n3:1"}}};
  return config;
}

// The same as a cluster knows them: n2 was added and has never started.
ExistingCluster Expecting() {
  return {ClusterId(77),
          {{.id = MemberId(1), .name = "n1", .peer_urls = {"http://n1:1"}},
           {.id = MemberId(5), .peer_urls = {"http://n2:2", "http://n2:1"}},
           {.id = MemberId(9), .name = "n3", .peer_urls = {"http://n3:1"}}}};
}

// Answers as told, and remembers who was asked.
struct World {
  std::map<std::string, ExistingCluster> answers;
  std::vector<std::string> asked;

  AskMembers ask() {
    return [this](const std::string& url) -> absl::StatusOr<ExistingCluster> {
      asked.push_back(url);
      const auto found = answers.find(url);
      if (found == answers.end()) return absl::UnavailableError("connection refused");
      return found->second;
    };
  }
};

std::string Words(const absl::Status& status) { return std::string(base::Message(status)); }

TEST(JoinTest, TheFirstThatAnswersIsBelieved) {
  World world;
  world.answers["http://n3:1"] = Expecting();
  const absl::StatusOr<ExistingCluster> found = FindCluster(ThreeMembers(), world.ask());
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->id, ClusterId(77));
  // Not itself.
  EXPECT_EQ(world.asked, (std::vector<std::string>{"http://n1:1", "http://n3:1"}));
}

TEST(JoinTest, NobodyAnswers) {
  World world;
  world.answers["http://n1:1"] = {ClusterId(77), {}};  // It has only just joined itself.
  const absl::Status status = FindCluster(ThreeMembers(), world.ask()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(Words(status).starts_with(
      "cannot fetch cluster info from peer urls: could not retrieve cluster information from the "
      "given URLs"))
      << status;
}

TEST(JoinTest, TheOwnIdIsTheOneWithTheOwnUrls) {
  const absl::StatusOr<MemberId> id = FindOwnId(ThreeMembers(), Expecting());
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_EQ(*id, MemberId(5));
}

TEST(JoinTest, WhatDoesNotFitIsRefusedInEtcdsWords) {
  ExistingCluster fewer = Expecting();
  fewer.members.pop_back();
  ExistingCluster moved = Expecting();
  moved.members[0].peer_urls = {"http://elsewhere:1"};
  ExistingCluster started = Expecting();
  started.members[1].name = "n2";
  ExistingCluster twice = Expecting();
  twice.members[1].peer_urls = {"http://n1:1"};
  const std::pair<ExistingCluster, const char*> cases[] = {
      {fewer, "member count is unequal"},
      {moved, "PeerURLs: no match found for existing member (1, [http://elsewhere:1])"},
      {twice, "PeerURLs: none of them is n2"},
      {started, "member 5 has already been bootstrapped"},
  };
  for (const auto& [existing, words] : cases) {
    const absl::Status status = FindOwnId(ThreeMembers(), existing).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_NE(Words(status).find(words), std::string::npos) << status;
  }
  EXPECT_TRUE(Words(FindOwnId(ThreeMembers(), fewer).status())
                  .starts_with("error validating peerURLs {ClusterID:4d Members:[{ID:1 "));
}

TEST(JoinTest, ANewMemberAsksWhetherItIsNewIndeed) {
  World world;
  // A cluster begins with nobody answering.
  EXPECT_TRUE(CheckNotBootstrapped(ThreeMembers(), MemberId(5), world.ask()).ok());
  world.answers["http://n1:1"] = Expecting();
  EXPECT_TRUE(CheckNotBootstrapped(ThreeMembers(), MemberId(5), world.ask()).ok());
  EXPECT_TRUE(CheckNotBootstrapped(ThreeMembers(), MemberId(6), world.ask()).ok());
  const absl::Status status = CheckNotBootstrapped(ThreeMembers(), MemberId(9), world.ask());
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(Words(status).find("etcdctl member remove 9"), std::string::npos) << status;
}

}  // namespace
}  // namespace cairn::server
