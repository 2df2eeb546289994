// Members come, learn, vote, move and go: real processes on loopback, driven by stock etcdctl as an
// operator would.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

using std::chrono::steady_clock;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr char kEtcdctl[] = "/usr/bin/etcdctl";

std::vector<std::string> Split(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  size_t start = 0;
  for (size_t end; (end = text.find(separator, start)) != std::string::npos;) {
    parts.push_back(text.substr(start, end - start));
    start = end + separator.size();
  }
  parts.push_back(text.substr(start));
  return parts;
}

class MembershipTest : public testing::Test {
 protected:
  // A server called `name`, which names the members of `cluster` when it starts.
  std::unique_ptr<Server> Make(const std::string& name) {
    auto server = std::make_unique<Server>(OptionsFor(ServerUnderTest(), "member_" + name));
    server->options().extra_flags = {"--name=" + name};
    return server;
  }
  // How a member learns who it belongs to.
  void SetCluster(Server& server, const std::string& initial_cluster, const std::string& state) {
    std::string name = server.options().extra_flags[0];
    server.options().extra_flags = {std::move(name), "--initial-cluster=" + initial_cluster,
                                    "--initial-cluster-state=" + state};
  }

  // Runs etcdctl on one server: what it prints, errors included, and "-> code" if that is not 0.
  std::string Ctl(const Server& server, const std::vector<std::string>& arguments) {
    ProcessOptions options;
    options.argv = {kEtcdctl, "--endpoints=" + server.address(), "--command-timeout=20s",
                    "--dial-timeout=20s"};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    options.environment = {{"ETCDCTL_API", "3"}};
    const absl::StatusOr<CommandResult> result = RunCommand(options);
    if (!result.ok()) return result.status().ToString();
    std::string text = result->out;
    if (result->exit.code != 0) text += fmt::format("{}-> {}", result->err, result->exit.code);
    return text;
  }
  // Asks again until `expected` is part of the answer: for what needs its time.
  ::testing::AssertionResult CtlUntil(const Server& server,
                                      const std::vector<std::string>& arguments,
                                      const std::string& expected) {
    const auto deadline = steady_clock::now() + kServerDeadline;
    std::string answer;
    while (steady_clock::now() < deadline) {
      answer = Ctl(server, arguments);
      if (answer.find(expected) != std::string::npos) return ::testing::AssertionSuccess();
    }
    return ::testing::AssertionFailure() << answer << "\nserver: " << LastLines(server.Log(), 20);
  }
  // The id of the member that listens at `peer_url`, as etcdctl shows it.
  std::string IdOf(const Server& asked, const std::string& peer_url) {
    for (const std::string& line : Split(Ctl(asked, {"member", "list"}), "\n")) {
      // Not of one whose URL begins so.
      if (line.find(peer_url + ",") != std::string::npos) return line.substr(0, line.find(','));
    }
    return "no such member";
  }
  static std::string InitialCluster(const std::vector<std::pair<std::string, const Server*>>& all) {
    std::string text;
    for (const auto& [name, server] : all) {
      text += fmt::format("{}{}={}", text.empty() ? "" : ",", name, server->peer_url());
    }
    return text;
  }
  void ExpectEnds(Server& server, int code, const std::string& words) {
    const absl::StatusOr<ExitState> exit = server.WaitForExit();
    ASSERT_TRUE(exit.ok()) << exit.status();
    EXPECT_EQ(exit->code, code) << server.Log();
    EXPECT_EQ(exit->signal, 0);
    EXPECT_THAT(server.Log(), HasSubstr(words));
  }

  // Brings a second voter to `one`, as a learner first.
  void JoinAsLearner(Server& one, Server& two) {
    ASSERT_THAT(Ctl(one, {"member", "add", "two", "--learner", "--peer-urls=" + two.peer_url()}),
                HasSubstr("ETCD_INITIAL_CLUSTER_STATE=\"existing\""));
    SetCluster(two, InitialCluster({{"one", &one}, {"two", &two}}), "existing");
    ASSERT_TRUE(two.Launch().ok());
    ASSERT_TRUE(CtlUntil(one, {"member", "list"}, "started, two"));
    ASSERT_TRUE(CtlUntil(one, {"member", "promote", IdOf(one, two.peer_url())}, "promoted"));
  }
};

TEST_F(MembershipTest, WhatCannotBeIsRefusedAsEtcdDoes) {
  const std::unique_ptr<Server> one = Make("one");
  ASSERT_TRUE(one->Start().ok());
  const std::string id = IdOf(*one, one->peer_url());
  const auto refused = [&](const std::vector<std::string>& arguments, const std::string& why) {
    EXPECT_THAT(Ctl(*one, arguments), AllOf(HasSubstr(why), HasSubstr("-> 1")));
  };
  refused({"member", "remove", "1234"}, "etcdserver: member not found");
  refused({"member", "promote", "1234"}, "etcdserver: member not found");
  refused({"member", "update", "1234", "--peer-urls=http://a:1"}, "etcdserver: member not found");
  refused({"member", "promote", id}, "etcdserver: can only promote a learner member");
  refused({"member", "remove", id},
          "etcdserver: re-configuration failed due to not enough started members");
  refused({"member", "add", "x", "--peer-urls=" + one->peer_url()},
          "etcdserver: Peer URLs already exists");
  EXPECT_THAT(Ctl(*one, {"member", "add", "x", "--learner", "--peer-urls=http://127.0.0.1:1"}),
              HasSubstr("added"));
  refused({"member", "add", "y", "--learner", "--peer-urls=http://127.0.0.1:2"},
          "etcdserver: too many learner members in cluster");
  const std::string learner = IdOf(*one, "http://127.0.0.1:1");
  refused({"member", "promote", learner},
          "etcdserver: can only promote a learner member which is in sync with leader");
  EXPECT_THAT(Ctl(*one, {"member", "remove", learner}), HasSubstr("removed from cluster"));
  refused({"member", "remove", learner}, "etcdserver: member not found");
  // A learner that never came costs the cluster nothing.
  EXPECT_EQ(Ctl(*one, {"put", "a", "1"}), "OK\n");
}

// One voter adds another and stands still until that has started, as with etcd.
TEST_F(MembershipTest, TwoVotersNeedTheSecond) {
  const std::unique_ptr<Server> one = Make("one");
  const std::unique_ptr<Server> two = Make("two");
  ASSERT_TRUE(one->Start().ok());
  EXPECT_EQ(Ctl(*one, {"put", "a", "1"}), "OK\n");
  EXPECT_THAT(Ctl(*one, {"member", "add", "two", "--peer-urls=" + two->peer_url()}),
              HasSubstr("added"));
  EXPECT_THAT(Ctl(*one, {"--command-timeout=500ms", "put", "a", "2"}),
              HasSubstr("context deadline exceeded"));
  SetCluster(*two, InitialCluster({{"one", one.get()}, {"two", two.get()}}), "existing");
  ASSERT_TRUE(two->Start().ok()) << LastLines(two->Log(), 20);
  EXPECT_EQ(Ctl(*two, {"put", "b", "3"}), "OK\n");
  EXPECT_EQ(Ctl(*one, {"get", "b"}), "b\n3\n");
}

TEST_F(MembershipTest, MembersComeLearnVoteMoveAndGo) {
  const std::unique_ptr<Server> one = Make("one");
  const std::unique_ptr<Server> two = Make("two");
  const std::unique_ptr<Server> three = Make("three");
  ASSERT_TRUE(one->Start().ok());
  for (int i = 0; i < 20; ++i) Ctl(*one, {"put", fmt::format("k{}", i), "v"});
  ASSERT_NO_FATAL_FAILURE(JoinAsLearner(*one, *two));
  ASSERT_TRUE(two->WaitUntilAnswering().ok());
  EXPECT_EQ(Ctl(*two, {"get", "k19"}), "k19\nv\n");

  // The rest through a follower, who has to hear of the leader for five seconds first.
  ASSERT_TRUE(CtlUntil(
      *two, {"member", "add", "three", "--learner", "--peer-urls=" + three->peer_url()}, "added"));
  SetCluster(*three,
             InitialCluster({{"one", one.get()}, {"two", two.get()}, {"three", three.get()}}),
             "existing");
  ASSERT_TRUE(three->Launch().ok());
  ASSERT_TRUE(CtlUntil(*two, {"member", "list"}, "started, three"));
  ASSERT_TRUE(CtlUntil(*two, {"member", "promote", IdOf(*two, three->peer_url())}, "promoted"));
  ASSERT_TRUE(three->WaitUntilAnswering().ok());
  EXPECT_THAT(
      Ctl(*three, {"member", "list"}),
      AllOf(HasSubstr("started, one"), HasSubstr("started, two"), HasSubstr("started, three")));

  // The addresses change, the member stays.
  const std::string moved = "http://localhost:" + std::to_string(three->peer_port());
  const std::string third = IdOf(*one, three->peer_url());
  EXPECT_THAT(Ctl(*three, {"member", "update", third, "--peer-urls=" + moved}),
              HasSubstr("updated in cluster"));
  EXPECT_EQ(IdOf(*one, moved), third);
  EXPECT_EQ(Ctl(*three, {"put", "moved", "yes"}), "OK\n");

  // Who is removed says so and ends; coming back is refused.
  ASSERT_TRUE(CtlUntil(*one, {"member", "remove", third}, "removed from cluster"));
  ExpectEnds(*three, 0, "the member has been permanently removed from the cluster");
  EXPECT_THAT(Ctl(*two, {"member", "list"}), Not(HasSubstr("three")));
  ASSERT_TRUE(three->Launch().ok());
  absl::StatusOr<ExitState> exit = three->WaitForExit();
  ASSERT_TRUE(exit.ok()) << exit.status();
  EXPECT_THAT(three->Log(), HasSubstr("permanently removed from the cluster"));
  EXPECT_EQ(Ctl(*two, {"put", "still", "here"}), "OK\n");

  // What was wiped must not come back under its old name.
  two->Kill();
  std::filesystem::remove_all(two->data_dir());
  ASSERT_TRUE(two->Launch().ok());
  ExpectEnds(*two, 1, "has already been bootstrapped");
  EXPECT_THAT(two->Log(), AllOf(HasSubstr("etcdctl member remove"),
                                HasSubstr("--initial-cluster-state=existing")));

  // The last resort of the one that is left.
  one->Kill();
  one->options().extra_flags.push_back("--force-new-cluster");
  ASSERT_TRUE(one->Start().ok()) << LastLines(one->Log(), 20);
  EXPECT_THAT(Ctl(*one, {"member", "list"}), Not(HasSubstr("two")));
  EXPECT_EQ(Ctl(*one, {"get", "still"}), "still\nhere\n");
  EXPECT_EQ(Ctl(*one, {"put", "alone", "again"}), "OK\n");
}

TEST_F(MembershipTest, ALearnerIsPromotedUnaskedIfTheFlagSaysSo) {
  const std::unique_ptr<Server> one = Make("one");
  const std::unique_ptr<Server> two = Make("two");
  one->options().extra_flags.push_back("--auto-promote-learners");
  ASSERT_TRUE(one->Start().ok());
  ASSERT_THAT(Ctl(*one, {"member", "add", "two", "--learner", "--peer-urls=" + two->peer_url()}),
              HasSubstr("added"));
  SetCluster(*two, InitialCluster({{"one", one.get()}, {"two", two.get()}}), "existing");
  ASSERT_TRUE(two->Start().ok()) << LastLines(two->Log(), 20);  // Reads as only voters do.
  EXPECT_THAT(Ctl(*two, {"member", "list"}), Not(HasSubstr("true")));
}

TEST_F(MembershipTest, WhoIsNotExpectedDoesNotJoin) {
  const std::unique_ptr<Server> one = Make("one");
  const std::unique_ptr<Server> two = Make("two");
  ASSERT_TRUE(one->Start().ok());
  SetCluster(*two, InitialCluster({{"one", one.get()}, {"two", two.get()}}), "existing");
  ASSERT_TRUE(two->Launch().ok());
  ExpectEnds(*two, 1, "member count is unequal");
  ASSERT_THAT(Ctl(*one, {"member", "add", "two", "--learner", "--peer-urls=http://127.0.0.1:1"}),
              HasSubstr("added"));
  ASSERT_TRUE(two->Launch().ok());
  ExpectEnds(*two, 1, "PeerURLs: no match found for existing member");
  SetCluster(*two, "one=http://127.0.0.1:1,two=" + two->peer_url(), "existing");
  ASSERT_TRUE(two->Launch().ok());
  ExpectEnds(*two, 1,
             "cannot fetch cluster info from peer urls: could not retrieve cluster information "
             "from the given URLs");
  SetCluster(*two, InitialCluster({{"one", one.get()}}), "existing");
  ASSERT_TRUE(two->Launch().ok());
  ExpectEnds(*two, 1, "couldn't find local name \"two\" in the initial cluster configuration");
}

}  // namespace
}  // namespace cairn::test
