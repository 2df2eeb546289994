// The distribution's etcdctl against a fresh server, one transcript a subject: what is typed, what
// is printed, how it exits. Each runs against Cairn and against a real etcd.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/sha.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

using std::chrono::steady_clock;
using testing::HasSubstr;
using testing::MatchesRegex;

constexpr char kEtcdctl[] = "/usr/bin/etcdctl";

struct Step {
  std::vector<std::string> arguments;
  std::string out = {};    // all of standard output
  std::string error = {};  // part of standard error
  int code = 0;
  std::string input = {};
};

class EtcdctlTest : public testing::Test {
 protected:
  EtcdctlTest() : server_(OptionsFor(ServerUnderTest(), "etcdctl")) {}

  void SetUp() override {
    const absl::Status started = server_.Start();
    ASSERT_TRUE(started.ok()) << started;
  }

  ProcessOptions Command(const std::vector<std::string>& arguments) const {
    ProcessOptions options;
    options.argv = {kEtcdctl, "--endpoints=" + server_.address(), "--command-timeout=60s",
                    "--dial-timeout=60s"};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    options.environment = {{"ETCDCTL_API", "3"}};
    return options;
  }

  CommandResult Run(const std::vector<std::string>& arguments, const std::string& input = {}) {
    absl::StatusOr<CommandResult> result = RunCommand(Command(arguments), input);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *result : CommandResult{};
  }

  void Play(const std::vector<Step>& steps) {
    for (const Step& step : steps) {
      SCOPED_TRACE(fmt::format("etcdctl {}", fmt::join(step.arguments, " ")));
      const CommandResult result = Run(step.arguments, step.input);
      EXPECT_EQ(result.out, step.out) << result.err;
      EXPECT_EQ(result.exit.code, step.code) << result.err;
      EXPECT_EQ(result.exit.signal, 0);
      EXPECT_THAT(result.err, HasSubstr(step.error));
    }
  }

  Server server_;
};

TEST_F(EtcdctlTest, PutGetDelete) {
  Play({
      {.arguments = {"put", "a", "1"}, .out = "OK\n"},
      {.arguments = {"get", "a"}, .out = "a\n1\n"},
      {.arguments = {"put", "a", "2", "--prev-kv"}, .out = "OK\na\n1\n"},
      {.arguments = {"get", "a", "--rev=2"}, .out = "a\n1\n"},
      {.arguments = {"put", "empty", ""}, .out = "OK\n"},
      {.arguments = {"get", "empty"}, .out = "empty\n\n"},
      {.arguments = {"put", "--", "-dash", "v"}, .out = "OK\n"},
      {.arguments = {"get", "--", "-dash"}, .out = "-dash\nv\n"},
      {.arguments = {"put", "stdin"}, .out = "OK\n", .input = "from standard input"},
      {.arguments = {"get", "stdin", "--print-value-only"}, .out = "from standard input\n"},
      {.arguments = {"put", "a", "--ignore-value"}, .out = "OK\n"},
      {.arguments = {"get", "a"}, .out = "a\n2\n"},
      {.arguments = {"get", "a", "--consistency=s"}, .out = "a\n2\n"},
      {.arguments = {"get", "absent"}, .out = ""},
      {.arguments = {"del", "a", "--prev-kv"}, .out = "1\na\n2\n"},
      {.arguments = {"del", "a"}, .out = "0\n"},
      {.arguments = {"del", "", "--prefix"}, .out = "3\n"},
      {.arguments = {"get", "", "--prefix"}, .out = ""},
  });
}

TEST_F(EtcdctlTest, Ranges) {
  Play({
      {.arguments = {"put", "k1", "c"}, .out = "OK\n"},
      {.arguments = {"put", "k2", "b"}, .out = "OK\n"},
      {.arguments = {"put", "k3", "a"}, .out = "OK\n"},
      {.arguments = {"put", "other", "x"}, .out = "OK\n"},
      {.arguments = {"get", "k", "--prefix"}, .out = "k1\nc\nk2\nb\nk3\na\n"},
      {.arguments = {"get", "k", "--prefix", "--keys-only"}, .out = "k1\n\nk2\n\nk3\n\n"},
      {.arguments = {"get", "k1", "k3"}, .out = "k1\nc\nk2\nb\n"},
      {.arguments = {"get", "k3", "k1"}, .out = ""},
      {.arguments = {"get", "k2", "--from-key"}, .out = "k2\nb\nk3\na\nother\nx\n"},
      {.arguments = {"get", "k", "--prefix", "--limit=2"}, .out = "k1\nc\nk2\nb\n"},
      {.arguments = {"get", "k", "--prefix", "--order=DESCEND"}, .out = "k3\na\nk2\nb\nk1\nc\n"},
      {.arguments = {"get", "k", "--prefix", "--sort-by=VALUE"}, .out = "k3\na\nk2\nb\nk1\nc\n"},
      {.arguments = {"get", "k", "--prefix", "--sort-by=MODIFY", "--order=DESCEND", "--limit=1"},
       .out = "k3\na\n"},
      {.arguments = {"del", "k1", "k3"}, .out = "2\n"},
      {.arguments = {"get", "", "--prefix", "--keys-only"}, .out = "k3\n\nother\n\n"},
      {.arguments = {"get", "", "--prefix", "--keys-only", "--rev=3"}, .out = "k1\n\nk2\n\n"},
  });
}

TEST_F(EtcdctlTest, Transactions) {
  Play({
      {.arguments = {"txn"},
       .out = "SUCCESS\n\nOK\n\nOK\n",
       .input = "mod(\"a\") = \"0\"\n\nput a x\nput b y\n\nget a\n\n"},
      {.arguments = {"txn"},
       .out = "FAILURE\n\na\nx\n\nb\ny\n",
       .input = "value(\"a\") = \"nope\"\n\nput a z\n\nget a\nget b\n\n"},
      {.arguments = {"txn"},
       .out = "SUCCESS\n\na\nx\n\n1\n\nOK\n",
       .input = "version(\"a\") > \"0\"\ncreate(\"a\") < \"3\"\n\nget a\ndel b\nput c new\n\n\n"},
      {.arguments = {"get", "", "--prefix"}, .out = "a\nx\nc\nnew\n"},
      {.arguments = {"txn"},
       .error = "etcdserver: duplicate key given in txn request",
       .code = 1,
       .input = "\nput a 1\nput a 2\n\n\n"},
      {.arguments = {"get", "a"}, .out = "a\nx\n"},
  });
}

TEST_F(EtcdctlTest, Compaction) {
  Play({
      {.arguments = {"put", "a", "1"}, .out = "OK\n"},
      {.arguments = {"put", "a", "2"}, .out = "OK\n"},
      {.arguments = {"put", "a", "3"}, .out = "OK\n"},
      {.arguments = {"compaction", "3"}, .out = "compacted revision 3\n"},
      {.arguments = {"get", "a", "--rev=3"}, .out = "a\n2\n"},
      {.arguments = {"get", "a", "--rev=2"},
       .error = "Error: etcdserver: mvcc: required revision has been compacted",
       .code = 1},
      {.arguments = {"compaction", "3"},
       .error = "Error: etcdserver: mvcc: required revision has been compacted",
       .code = 1},
      {.arguments = {"compaction", "9"},
       .error = "Error: etcdserver: mvcc: required revision is a future revision",
       .code = 1},
      {.arguments = {"compaction", "4", "--physical"}, .out = "compacted revision 4\n"},
      {.arguments = {"get", "a", "--rev=9"},
       .error = "Error: etcdserver: mvcc: required revision is a future revision",
       .code = 1},
      {.arguments = {"get", "a"}, .out = "a\n3\n"},
  });
}

TEST_F(EtcdctlTest, WrongInput) {
  Play({
      {.arguments = {"put", "", "x"}, .error = "Error: etcdserver: key is not provided", .code = 1},
      {.arguments = {"get", ""}, .error = "Error: etcdserver: key is not provided", .code = 1},
      {.arguments = {"del", ""}, .error = "Error: etcdserver: key is not provided", .code = 1},
      {.arguments = {"put", "absent", "--ignore-value"},
       .error = "Error: etcdserver: key not found",
       .code = 1},
      {.arguments = {"put", "absent", "v", "--lease=123"},
       .error = "Error: etcdserver: requested lease not found",
       .code = 1},
      {.arguments = {"get", "", "--prefix"}, .out = ""},
  });
}

TEST_F(EtcdctlTest, Json) {
  ASSERT_EQ(Run({"put", "a", "2"}).out, "OK\n");
  EXPECT_THAT(Run({"get", "a", "-w", "json"}).out,
              MatchesRegex("\\{\"header\":\\{\"cluster_id\":[0-9]+,\"member_id\":[0-9]+,"
                           "\"revision\":2,\"raft_term\":[0-9]+\\},\"kvs\":\\[\\{\"key\":\"YQ==\","
                           "\"create_revision\":2,\"mod_revision\":2,\"version\":1,"
                           "\"value\":\"Mg==\"\\}\\],\"count\":1\\}\n"));
}

// Ids in messages are lowercase hexadecimal.
std::string IdOf(const std::string& text) {
  unsigned char digest[SHA_DIGEST_LENGTH];
  SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  uint64_t id = 0;
  for (int i = 0; i < 8; ++i) id = id << 8 | digest[i];
  return fmt::format("{:x}", id);
}

TEST_F(EtcdctlTest, EndpointStatus) {
  ASSERT_EQ(Run({"put", "a", "1"}).out, "OK\n");
  const CommandResult status = Run({"endpoint", "status"});
  EXPECT_EQ(status.exit, ExitState{}) << status.err;
  // Address, member, version, size, leader, learner, term, index, applied index, errors.
  EXPECT_THAT(status.out, MatchesRegex("127\\.0\\.0\\.1:[0-9]+, [0-9a-f]+, 3\\.[0-9]+\\.[0-9]+, "
                                       "[0-9.]+ [kMG]?B, true, false, [0-9]+, [0-9]+, [0-9]+, \n"));
  const CommandResult health = Run({"endpoint", "health"});
  EXPECT_EQ(health.exit, ExitState{});
  EXPECT_THAT(health.err, HasSubstr("is healthy: successfully committed proposal"));
}

TEST_F(EtcdctlTest, MemberListShowsTheIdThatEtcdDerives) {
  // The peer URLs, then the token of the cluster.
  const std::string id = IdOf(server_.peer_url() + "etcd-cluster");
  EXPECT_EQ(Run({"member", "list"}).out, fmt::format("{}, started, one, {}, {}, false\n", id,
                                                     server_.peer_url(), server_.client_url()));
}

// The hash of a history is the same number on every correct server.
TEST_F(EtcdctlTest, HashOfAKnownHistory) {
  ASSERT_EQ(Run({"put", "a", "1"}).out, "OK\n");
  ASSERT_EQ(Run({"put", "b", "2"}).out, "OK\n");
  ASSERT_EQ(Run({"del", "a"}).out, "1\n");
  EXPECT_THAT(Run({"endpoint", "hashkv"}).out, testing::EndsWith(", 1562576432\n"));
}

TEST_F(EtcdctlTest, AlarmsAndDefragmentation) {
  Play({
      {.arguments = {"alarm", "list"}, .out = ""},
      {.arguments = {"put", "a", "1"}, .out = "OK\n"},
      {.arguments = {"defrag"},
       .out = fmt::format("Finished defragmenting etcd member[{}]\n", server_.address())},
      {.arguments = {"get", "a"}, .out = "a\n1\n"},
  });
}

TEST_F(EtcdctlTest, Leases) {
  const CommandResult granted = Run({"lease", "grant", "100"});
  EXPECT_THAT(granted.out, MatchesRegex("lease [0-9a-f]+ granted with TTL\\(100s\\)\n"))
      << granted.err;
  const std::string id = granted.out.substr(6, granted.out.find(' ', 6) - 6);
  Play({
      {.arguments = {"put", "b", "1", "--lease=" + id}, .out = "OK\n"},
      {.arguments = {"put", "a", "2", "--lease=" + id}, .out = "OK\n"},
      {.arguments = {"put", "free", "3", "--lease=" + id}, .out = "OK\n"},
      {.arguments = {"put", "free", "3"}, .out = "OK\n"},
      {.arguments = {"put", "a", "4", "--ignore-lease"}, .out = "OK\n"},
      {.arguments = {"lease", "list"}, .out = "found 1 leases\n" + id + "\n"},
      {.arguments = {"lease", "keep-alive", "--once", id},
       .out = fmt::format("lease {} keepalived with TTL(100)\n", id)},
  });
  EXPECT_THAT(Run({"lease", "timetolive", id}).out,
              MatchesRegex(fmt::format(
                  "lease {} granted with TTL\\(100s\\), remaining\\((9[0-9]|100)s\\)\n", id)));
  EXPECT_THAT(
      Run({"lease", "timetolive", id, "--keys"}).out,
      MatchesRegex(fmt::format("lease {} granted with TTL\\(100s\\), "
                               "remaining\\((9[0-9]|100)s\\), attached keys\\(\\[(a b|b a)\\]\\)\n",
                               id)));
  Play({
      {.arguments = {"lease", "revoke", id}, .out = fmt::format("lease {} revoked\n", id)},
      {.arguments = {"get", "", "--prefix"}, .out = "free\n3\n"},
      {.arguments = {"lease", "timetolive", id},
       .out = fmt::format("lease {} already expired\n", id)},
      {.arguments = {"lease", "keep-alive", "--once", id},
       .error = "etcdserver: requested lease not found",
       .code = 2},
      {.arguments = {"lease", "revoke", id},
       .error = "etcdserver: requested lease not found",
       .code = 1},
      {.arguments = {"lease", "list"}, .out = "found 0 leases\n"},
      {.arguments = {"lease", "grant", "9000000001"},
       .error = "etcdserver: too large lease TTL",
       .code = 1},
  });
}

class LastingKeepAliveTest : public EtcdctlTest {
 protected:
  // A lease of `ttl_s` with the key "held", and an etcdctl that renews it until it is stopped.
  void Start(int64_t ttl_s) {
    const std::string granted = Run({"lease", "grant", std::to_string(ttl_s)}).out;
    granted_ = steady_clock::now();
    ASSERT_THAT(granted, HasSubstr(fmt::format("granted with TTL({}s)", ttl_s)));
    id_ = granted.substr(6, granted.find(' ', 6) - 6);
    renewed_ = fmt::format("lease {} keepalived with TTL({})\n", id_, ttl_s);
    ASSERT_EQ(Run({"put", "held", "x", "--lease=" + id_}).out, "OK\n");
    output_path_ = MakeTempDir("etcdctl_keep_alive") + "/out";
    ProcessOptions options = Command({"lease", "keep-alive", id_});
    options.output_path = output_path_;
    absl::StatusOr<Process> started = Process::Start(options);
    ASSERT_TRUE(started.ok()) << started.status();
    keeper_.emplace(*std::move(started));
  }
  // Renewals that it has told of; it tells of nothing else while it runs.
  int Renewals() const {
    const std::string out = ReadFile(output_path_);
    int renewals = 0;
    for (size_t at = 0; out.compare(at, renewed_.size(), renewed_) == 0; at += renewed_.size()) {
      ++renewals;
    }
    return renewals;
  }
  // Waits until it has told of `renewals`, and until `then`.
  void AwaitRenewals(int renewals, steady_clock::time_point then = {}) {
    const auto deadline = steady_clock::now() + kServerDeadline;
    while (Renewals() < renewals || steady_clock::now() < then) {
      ASSERT_LT(steady_clock::now(), deadline) << ReadFile(output_path_);
      ASSERT_EQ(keeper_->Wait(std::chrono::milliseconds(20)), std::nullopt)
          << ReadFile(output_path_) << server_.Log();
    }
  }
  // Its last words, when the lease is no more.
  void ExpectEnd() {
    EXPECT_EQ(keeper_->Wait(kServerDeadline), ExitState{});
    const std::string out = ReadFile(output_path_);
    EXPECT_EQ(out.substr(renewed_.size() * static_cast<size_t>(Renewals())),
              fmt::format("lease {} expired or revoked.\n", id_));
  }

  steady_clock::time_point granted_;
  std::string id_;
  std::string renewed_;
  std::string output_path_;
  std::optional<Process> keeper_;
};

TEST_F(LastingKeepAliveTest, KeepsALeaseUntilItIsRevoked) {
  ASSERT_NO_FATAL_FAILURE(Start(2));
  ASSERT_NO_FATAL_FAILURE(AwaitRenewals(4, granted_ + 2 * std::chrono::seconds(2)));
  Play({
      {.arguments = {"get", "held"}, .out = "held\nx\n"},
      {.arguments = {"lease", "revoke", id_}, .out = fmt::format("lease {} revoked\n", id_)},
      {.arguments = {"get", "held"}, .out = ""},
  });
  ExpectEnd();
}

// The client finds the server again by itself. It gives up when a whole time to live has passed
// without an answer, so that is longer than a restart takes.
TEST_F(LastingKeepAliveTest, GoesOnAcrossAKill) {
  ASSERT_NO_FATAL_FAILURE(Start(9));
  ASSERT_NO_FATAL_FAILURE(AwaitRenewals(1));
  server_.Kill();
  const int before = Renewals();
  ASSERT_TRUE(server_.Start().ok());
  ASSERT_NO_FATAL_FAILURE(AwaitRenewals(before + 2));
  Play({
      {.arguments = {"get", "held"}, .out = "held\nx\n"},
      {.arguments = {"lease", "revoke", id_}, .out = fmt::format("lease {} revoked\n", id_)},
  });
  ExpectEnd();
}

// What a lease held goes by itself when nobody renews it any more.
TEST_F(EtcdctlTest, ALeaseEndsWithItsKeys) {
  const std::string granted = Run({"lease", "grant", "1"}).out;
  EXPECT_THAT(granted, MatchesRegex("lease [0-9a-f]+ granted with TTL\\(2s\\)\n"));
  const std::string id = granted.substr(6, granted.find(' ', 6) - 6);
  ASSERT_EQ(Run({"put", "held", "x", "--lease=" + id}).out, "OK\n");
  // Once, and nobody does so again.
  const CommandResult kept = Run({"lease", "keep-alive", "--once", id});
  EXPECT_EQ(kept.out, fmt::format("lease {} keepalived with TTL(2)\n", id)) << kept.err;
  const auto deadline = steady_clock::now() + std::chrono::minutes(1);
  while (!Run({"get", "held"}).out.empty()) {
    ASSERT_LT(steady_clock::now(), deadline);
  }
  EXPECT_EQ(Run({"lease", "timetolive", id}).out, fmt::format("lease {} already expired\n", id));
}

// No lease ends early because the server was killed, and its keys are still known.
TEST_F(EtcdctlTest, LeasesSurviveAKill) {
  const std::string granted = Run({"lease", "grant", "600"}).out;
  const std::string id = granted.substr(6, granted.find(' ', 6) - 6);
  ASSERT_EQ(Run({"put", "held", "x", "--lease=" + id}).out, "OK\n");
  server_.Kill();
  ASSERT_TRUE(server_.Start().ok());
  EXPECT_THAT(
      Run({"lease", "timetolive", id, "--keys"}).out,
      MatchesRegex(fmt::format("lease {} granted with TTL\\(600s\\), "
                               "remaining\\((59[0-9]|60[01])s\\), attached keys\\(\\[held\\]\\)\n",
                               id)));
  Play({
      {.arguments = {"lease", "revoke", id}, .out = fmt::format("lease {} revoked\n", id)},
      {.arguments = {"get", "held"}, .out = ""},
  });
}

TEST_F(EtcdctlTest, RestartKeepsEverything) {
  ASSERT_EQ(Run({"put", "a", "1"}).out, "OK\n");
  const std::string members = Run({"member", "list"}).out;
  const absl::StatusOr<ExitState> exit = server_.Terminate();
  ASSERT_TRUE(exit.ok()) << exit.status();
  ASSERT_TRUE(server_.Start().ok());
  Play({
      {.arguments = {"get", "a"}, .out = "a\n1\n"},
      {.arguments = {"member", "list"}, .out = members},
      {.arguments = {"put", "a", "2"}, .out = "OK\n"},
      {.arguments = {"get", "a", "--rev=2"}, .out = "a\n1\n"},
  });
}

}  // namespace
}  // namespace cairn::test
