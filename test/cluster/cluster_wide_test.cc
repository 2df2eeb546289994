// What holds for a cluster as a whole: alarms that one member raises and all obey, its version and
// the way back, compactions that the leader alone proposes. Driven through stock etcdctl, against
// Cairn and a real etcd.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "test/cluster/cluster.h"
#include "test/cluster/cluster_fixture.h"
#include "test/harness/client.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

using etcdserverpb::AlarmRequest;
using etcdserverpb::DowngradeRequest;
using std::chrono::steady_clock;
using testing::HasSubstr;
using testing::Not;

constexpr char kNoSpaceText[] = "etcdserver: mvcc: database space exceeded";
constexpr char kCorruptText[] = "etcdserver: corrupt cluster";

class ClusterWideTest : public testing::Test {
 protected:
  void Start(std::vector<std::string> flags) {
    cluster_ = std::make_unique<Cluster>(ServerUnderTest(), 3, std::move(flags));
    ASSERT_OK(cluster_->Start());
  }

  // What etcdctl prints when it asks member `i`, errors included.
  std::string Ctl(int i, const std::vector<std::string>& arguments) {
    const CommandResult result = Etcdctl(cluster_->server(i).address(), arguments);
    return result.out + result.err;
  }
  // Asks again until `is_wanted`: for what needs its time.
  ::testing::AssertionResult CtlUntil(int i, const std::vector<std::string>& arguments,
                                      const std::function<bool(const std::string&)>& is_wanted) {
    const auto deadline = steady_clock::now() + kServerDeadline;
    std::string answer;
    while (steady_clock::now() < deadline) {
      answer = Ctl(i, arguments);
      if (is_wanted(answer)) return ::testing::AssertionSuccess();
    }
    return ::testing::AssertionFailure() << answer;
  }
  static std::function<bool(const std::string&)> Has(std::string text) {
    return [text = std::move(text)](const std::string& answer) {
      return answer.find(text) != std::string::npos;
    };
  }
  grpc::Status Put(int i, std::string_view key, size_t value_bytes) {
    etcdserverpb::PutRequest request;
    request.set_key(std::string(key));
    request.set_value(std::string(value_bytes, 'v'));
    etcdserverpb::PutResponse response;
    return Client(cluster_->server(i).address()).Put(request, &response);
  }
  etcdserverpb::StatusResponse StatusOf(int i) {
    etcdserverpb::StatusResponse status;
    EXPECT_TRUE(Client(cluster_->server(i).address()).StatusOf(&status).ok());
    return status;
  }
  grpc::Status SetAlarm(int i, AlarmRequest::AlarmAction action, uint64_t member,
                        etcdserverpb::AlarmType type) {
    const Client client(cluster_->server(i).address());
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kServerDeadline);
    AlarmRequest request;
    request.set_action(action);
    request.set_memberid(member);
    request.set_alarm(type);
    etcdserverpb::AlarmResponse response;
    return etcdserverpb::Maintenance::NewStub(client.channel())
        ->Alarm(&context, request, &response);
  }

  std::unique_ptr<Cluster> cluster_;
};

TEST_F(ClusterWideTest, AFullMemberIsFullForAllUntilThereIsRoom) {
  ASSERT_NO_FATAL_FAILURE(Start({"--quota-backend-bytes=4194304"}));
  const std::string granted = Ctl(1, {"lease", "grant", "1000"});
  const std::string lease = granted.substr(6, granted.find(' ', 6) - 6);
  ASSERT_TRUE(Put(0, "last", 1).ok());
  grpc::Status status;
  int acknowledged = 0;
  while (acknowledged < 400 && status.ok()) {
    status = Put(0, fmt::format("k{:03}", acknowledged), 100'000);
    if (status.ok()) ++acknowledged;
  }
  ASSERT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), kNoSpaceText);
  // Whoever was the first to notice; all of them are full.
  const std::string alarm = "alarm:NOSPACE";
  ASSERT_TRUE(CtlUntil(1, {"alarm", "list"}, Has(alarm)));

  for (int i = 0; i < cluster_->size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_THAT(Ctl(i, {"put", "small", "x"}), HasSubstr(kNoSpaceText));
    EXPECT_THAT(Ctl(i, {"lease", "grant", "100"}), HasSubstr(kNoSpaceText));
    EXPECT_EQ(Ctl(i, {"get", "k000", "--keys-only"}), "k000\n\n");
    EXPECT_EQ(Ctl(i, {"del", "absent"}), "0\n");
    EXPECT_THAT(Ctl(i, {"alarm", "list"}), HasSubstr(alarm));
    const etcdserverpb::StatusResponse shown = StatusOf(i);
    ASSERT_GE(shown.errors_size(), 1);
    EXPECT_THAT(fmt::format("{}", fmt::join(shown.errors(), ";")), HasSubstr(alarm));
  }
  EXPECT_THAT(Ctl(1, {"lease", "revoke", lease}), HasSubstr("revoked"));
  // It outlives the member that it concerns.
  cluster_->server(0).Kill();
  EXPECT_THAT(Ctl(1, {"put", "small", "x"}), HasSubstr(kNoSpaceText));
  ASSERT_OK(cluster_->StartStopped());
  EXPECT_THAT(Ctl(0, {"put", "small", "x"}), HasSubstr(kNoSpaceText));

  const std::string deleted = Ctl(2, {"del", "k", "--prefix"});
  // etcd may apply the one that it refuses; here "not enough space" means "not applied".
  if (!ServerUnderTest().is_reference) {
    EXPECT_EQ(deleted, fmt::format("{}\n", acknowledged));
  }
  EXPECT_EQ(Ctl(2, {"del", "last"}), "1\n");
  etcdserverpb::StatusResponse shown = StatusOf(2);
  EXPECT_THAT(Ctl(2, {"compaction", std::to_string(shown.header().revision()), "--physical"}),
              HasSubstr("compacted"));
  if (ServerUnderTest().is_reference) return;
  // Nobody disarms anything.
  EXPECT_TRUE(CtlUntil(1, {"put", "small", "x"}, Has("OK")));
  EXPECT_TRUE(CtlUntil(1, {"alarm", "list"}, [](const std::string& list) { return list.empty(); }));
  // A list is linearizable, so what comes after it knows as much.
  EXPECT_EQ(Ctl(0, {"alarm", "list"}), "");
  EXPECT_EQ(StatusOf(0).errors_size(), 0);
  ASSERT_OK(cluster_->WaitForEqualState());
}

TEST_F(ClusterWideTest, WhatACorruptClusterRefuses) {
  ASSERT_NO_FATAL_FAILURE(Start({}));
  const std::string granted = Ctl(1, {"lease", "grant", "1000"});
  const std::string lease = granted.substr(6, granted.find(' ', 6) - 6);
  EXPECT_EQ(Ctl(0, {"put", "a", "1"}), "OK\n");
  // In this order: up to etcd 3.5 the one that was raised last counts.
  ASSERT_TRUE(SetAlarm(1, AlarmRequest::ACTIVATE, 0, etcdserverpb::NOSPACE).ok());
  ASSERT_TRUE(SetAlarm(1, AlarmRequest::ACTIVATE, 5, etcdserverpb::CORRUPT).ok());
  for (int i = 0; i < cluster_->size(); ++i) {
    SCOPED_TRACE(i);
    const std::string list = Ctl(i, {"alarm", "list"});
    EXPECT_THAT(list, HasSubstr("memberID:5 alarm:CORRUPT"));
    EXPECT_THAT(list, HasSubstr("alarm:NOSPACE"));
    const grpc::Status status = Put(i, "a", 1);
    EXPECT_EQ(status.error_code(), grpc::DATA_LOSS);
    EXPECT_EQ(status.error_message(), kCorruptText);
    for (const std::vector<std::string>& write :
         std::vector<std::vector<std::string>>{{"put", "a", "2"},
                                               {"del", "a"},
                                               {"compaction", "1"},
                                               {"lease", "grant", "100"},
                                               {"lease", "revoke", lease}}) {
      EXPECT_THAT(Ctl(i, write), HasSubstr(kCorruptText)) << write[0];
    }
    EXPECT_EQ(Ctl(i, {"get", "a"}), "a\n1\n");
    EXPECT_THAT(Ctl(i, {"lease", "keep-alive", "--once", lease}), HasSubstr("keepalived"));
  }
  EXPECT_THAT(Ctl(2, {"alarm", "disarm"}), HasSubstr("memberID:5 alarm:CORRUPT"));
  EXPECT_EQ(Ctl(0, {"alarm", "list"}), "");
  for (int i = 0; i < cluster_->size(); ++i) EXPECT_EQ(Ctl(i, {"put", "a", "2"}), "OK\n");
  // NOSPACE of a client stays until a client takes it back.
  ASSERT_TRUE(
      SetAlarm(1, AlarmRequest::ACTIVATE, StatusOf(0).header().member_id(), etcdserverpb::NOSPACE)
          .ok());
  for (int i = 0; i < 10; ++i) {
    EXPECT_THAT(Ctl(0, {"put", "a", "3"}), HasSubstr(kNoSpaceText));
  }
  EXPECT_THAT(Ctl(1, {"alarm", "disarm"}), HasSubstr("alarm:NOSPACE"));
  EXPECT_EQ(Ctl(0, {"put", "a", "3"}), "OK\n");
}

// Versions are relative to what the server answers as: "3.7.0" has the cluster version 3.7, from
// which one may go back to 3.6.
TEST_F(ClusterWideTest, ADowngradeIsPreparedAndCancelled) {
  ASSERT_NO_FATAL_FAILURE(Start({}));
  const EtcdVersion own = ParseVersion(StatusOf(0).version());
  if (own < EtcdVersion{3, 6, 0}) GTEST_SKIP() << "codes differ before 3.6";
  const std::string now = fmt::format("{}.{}", own.major, own.minor);
  const std::string below = fmt::format("{}.{}", own.major, own.minor - 1);
  const std::string further = fmt::format("{}.{}", own.major, own.minor - 2);
  const auto ask = [&](int i, DowngradeRequest::DowngradeAction action, std::string version = {}) {
    const Client client(cluster_->server(i).address());
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kServerDeadline);
    DowngradeRequest request;
    request.set_action(action);
    request.set_version(std::move(version));
    etcdserverpb::DowngradeResponse response;
    const grpc::Status status = etcdserverpb::Maintenance::NewStub(client.channel())
                                    ->Downgrade(&context, request, &response);
    return status.ok() ? "cluster version " + response.version()
                       : fmt::format("{}: {}", static_cast<int>(status.error_code()),
                                     status.error_message());
  };
  // The cluster's version follows its members', in a moment.
  const auto ask_until = [&](int i, DowngradeRequest::DowngradeAction action,
                             const std::string& version, const std::string& expected) {
    const auto deadline = steady_clock::now() + kServerDeadline;
    std::string answer;
    do {
      ASSERT_LT(steady_clock::now(), deadline) << answer;
      answer = ask(i, action, version);
    } while (answer != expected);
  };
  constexpr char kInvalid[] = "3: etcdserver: invalid downgrade target version";
  ASSERT_NO_FATAL_FAILURE(
      ask_until(0, DowngradeRequest::VALIDATE, below, "cluster version " + now));
  for (int i = 0; i < cluster_->size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(ask(i, DowngradeRequest::VALIDATE, "x"),
              "3: etcdserver: wrong downgrade target version format");
    EXPECT_EQ(ask(i, DowngradeRequest::VALIDATE, now), kInvalid);
    EXPECT_EQ(ask(i, DowngradeRequest::VALIDATE, further), kInvalid);
    EXPECT_EQ(ask(i, DowngradeRequest::VALIDATE, below + ".9"), "cluster version " + now);
    EXPECT_EQ(ask(i, DowngradeRequest::CANCEL), "cluster version " + now);
  }
  EXPECT_EQ(ask(0, static_cast<DowngradeRequest::DowngradeAction>(7)),
            "2: etcdserver: unknown method");
  EXPECT_EQ(ask(1, DowngradeRequest::ENABLE, below), "cluster version " + now);
  // Lowered in a moment; no second one begins.
  ASSERT_NO_FATAL_FAILURE(ask_until(2, DowngradeRequest::ENABLE, further,
                                    "9: etcdserver: cluster has a downgrade job in progress"));
  EXPECT_EQ(ask(0, DowngradeRequest::VALIDATE, below), kInvalid);
  for (int i = 0; i < cluster_->size(); ++i) {
    const auto deadline = steady_clock::now() + kServerDeadline;
    etcdserverpb::StatusResponse status;
    do {
      ASSERT_LT(steady_clock::now(), deadline) << status.DebugString();
      status = StatusOf(i);
    } while (status.storageversion() != below + ".0");
    EXPECT_TRUE(status.downgradeinfo().enabled());
    EXPECT_EQ(status.downgradeinfo().targetversion(), below + ".0");
  }
  EXPECT_EQ(Ctl(0, {"put", "a", "1"}), "OK\n");
  if (!ServerUnderTest().is_reference) {
    cluster_->server(1).Kill();
    ASSERT_OK(cluster_->StartStopped());
    EXPECT_TRUE(StatusOf(1).downgradeinfo().enabled());
  }
  EXPECT_EQ(ask(0, DowngradeRequest::CANCEL), "cluster version " + below);
  ASSERT_NO_FATAL_FAILURE(
      ask_until(1, DowngradeRequest::VALIDATE, below, "cluster version " + now));
  EXPECT_FALSE(StatusOf(1).downgradeinfo().enabled());
}

TEST_F(ClusterWideTest, TheLeaderAloneCompactsByItself) {
  ASSERT_NO_FATAL_FAILURE(Start({"--auto-compaction-retention=1s"}));
  constexpr char kLine[] = "by itself";
  const auto compacted = [&](int i) {
    etcdserverpb::HashKVRequest request;
    etcdserverpb::HashKVResponse response;
    EXPECT_TRUE(Client(cluster_->server(i).address()).HashKV(request, &response).ok());
    return response.compact_revision();
  };
  // Writes until every member has compacted beyond `revision`.
  const auto write_until_beyond = [&](int64_t revision) {
    const auto deadline = steady_clock::now() + kServerDeadline;
    while (compacted(0) <= revision || compacted(1) <= revision || compacted(2) <= revision) {
      ASSERT_LT(steady_clock::now(), deadline) << "no compaction beyond " << revision;
      ASSERT_TRUE(Put(0, "key", 10).ok());
    }
  };
  // The server's line comes after the compaction.
  const auto await_line = [&](int i) {
    const auto deadline = steady_clock::now() + kServerDeadline;
    while (cluster_->server(i).Log().find(kLine) == std::string::npos) {
      ASSERT_LT(steady_clock::now(), deadline);
      ASSERT_TRUE(Put(0, "key", 10).ok());
    }
  };
  const absl::StatusOr<int> leader = cluster_->WaitForLeader();
  ASSERT_OK(leader.status());
  const uint64_t term = StatusOf(*leader).raftterm();
  ASSERT_NO_FATAL_FAILURE(write_until_beyond(0));
  if (ServerUnderTest().is_reference) return;
  ASSERT_NO_FATAL_FAILURE(await_line(*leader));
  // Nobody else, unless a loaded machine has had another leader meanwhile.
  for (int i = 0; i < cluster_->size(); ++i) {
    if (i == *leader || StatusOf(i).raftterm() != term) continue;
    EXPECT_THAT(cluster_->server(i).Log(), Not(HasSubstr(kLine)));
  }
  // The next one goes on where the last one stopped.
  const int64_t before = compacted(0);
  const int next = (*leader + 1) % cluster_->size();
  const std::string id = fmt::format("{:x}", StatusOf(next).header().member_id());
  EXPECT_THAT(Ctl(*leader, {"move-leader", id}), HasSubstr("Leadership transferred"));
  ASSERT_NO_FATAL_FAILURE(await_line(next));
  ASSERT_NO_FATAL_FAILURE(write_until_beyond(before));
  const int third = 3 - next - *leader;
  if (StatusOf(third).raftterm() == term + 1) {
    EXPECT_THAT(cluster_->server(third).Log(), Not(HasSubstr(kLine)));
  }
  ASSERT_OK(cluster_->WaitForEqualState());
}

}  // namespace
}  // namespace cairn::test
