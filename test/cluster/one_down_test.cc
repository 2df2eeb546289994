// Three members of which one is down: what stock etcdctl shows and does, up to putting a new member
// in the place of the lost one. The same of a real etcd.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "api/rpc.grpc.pb.h"
#include "base/status.h"
#include "test/cluster/cluster_fixture.h"

namespace cairn::test {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

class OneDownTest : public ClusterFixture {
 protected:
  OneDownTest() : ClusterFixture(3) {}
  void SetUp() override {
    ASSERT_OK(cluster_.Start());
    leader_ = Leader();
    other_ = Other(leader_);
    down_ = Other(leader_, 2);
    down_id_ = fmt::format("{:x}", IdOf(down_));
    ASSERT_TRUE(Etcdctl(cluster_.endpoints(), {"put", "a", "1"}).out == "OK\n");
    ASSERT_OK(cluster_.WaitForEqualState());
    cluster_.server(down_).Kill();
  }
  const std::string& Address(int i) {
    addresses_.push_back(cluster_.server(i).address());
    return addresses_.back();
  }
  // What etcdctl prints, errors included, and "-> code" if that is not 0. Asked of one member.
  std::string Ctl(int i, std::vector<std::string> arguments) {
    const CommandResult result = Etcdctl(Address(i), std::move(arguments), "5s");
    return fmt::format("{}{}-> {}", result.out, result.err, result.exit.code);
  }
  // Asked again until `expected` is part of the answer: for what needs its time.
  std::string CtlUntil(int i, const std::vector<std::string>& arguments,
                       const std::string& expected) {
    const auto deadline = std::chrono::steady_clock::now() + kServerDeadline;
    std::string answer;
    do {
      answer = Ctl(i, arguments);
    } while (answer.find(expected) == std::string::npos &&
             std::chrono::steady_clock::now() < deadline);
    return answer;
  }

  // All but reads of its own state.
  static void ExpectRefusedByLearner(const std::string& address) {
    Client client(address);
    etcdserverpb::RangeRequest range;
    range.set_key("a");
    range.set_serializable(true);
    etcdserverpb::RangeResponse read;
    const auto patience = std::chrono::steady_clock::now() + kServerDeadline;
    grpc::Status status;
    // It is listed a moment before it listens.
    do {
      status = client.Range(range, &read);
    } while (!status.ok() && std::chrono::steady_clock::now() < patience);
    EXPECT_TRUE(status.ok()) << status.error_message();
    const auto expect_refused = [](const grpc::Status& refused) {
      // UNAVAILABLE before etcd 3.6.
      if (!ServerUnderTest().is_reference || refused.error_code() != grpc::UNAVAILABLE) {
        EXPECT_EQ(refused.error_code(), grpc::FAILED_PRECONDITION);
      }
      EXPECT_EQ(refused.error_message(), "etcdserver: rpc not supported for learner");
    };
    range.set_serializable(false);
    expect_refused(client.Range(range, &read));
    etcdserverpb::PutRequest put;
    put.set_key("a");
    etcdserverpb::PutResponse written;
    expect_refused(client.Put(put, &written));
    etcdserverpb::LeaseGrantRequest grant;
    grant.set_ttl(100);
    etcdserverpb::LeaseGrantResponse granted;
    expect_refused(client.LeaseGrant(grant, &granted));
    const auto deadline = std::chrono::system_clock::now() + kServerDeadline;
    grpc::ClientContext watching;
    watching.set_deadline(deadline);
    expect_refused(etcdserverpb::Watch::NewStub(client.channel())->Watch(&watching)->Finish());
    grpc::ClientContext renewing;
    renewing.set_deadline(deadline);
    expect_refused(
        etcdserverpb::Lease::NewStub(client.channel())->LeaseKeepAlive(&renewing)->Finish());
  }

  int leader_ = 0;
  int other_ = 0;
  int down_ = 0;
  std::string down_id_;
  std::vector<std::string> addresses_;
};

TEST_F(OneDownTest, EtcdctlShowsWhoIsThereAndReplacesWhoIsNot) {
  const std::string up[] = {Address(leader_), Address(other_)};
  const std::string gone = Address(down_);

  const std::string health = Ctl(other_, {"endpoint", "health", "--cluster"});
  EXPECT_THAT(health, AllOf(HasSubstr(up[0] + " is healthy"), HasSubstr(up[1] + " is healthy"),
                            HasSubstr(gone + " is unhealthy"), HasSubstr("-> 1")));
  const std::string status = Ctl(other_, {"endpoint", "status", "--cluster", "-w", "fields"});
  EXPECT_THAT(status, AllOf(HasSubstr(up[0]), HasSubstr(up[1]), HasSubstr("-> 1")));
  EXPECT_THAT(status, HasSubstr("Failed to get the status of endpoint http://" + gone));
  const std::string hashes = Ctl(other_, {"endpoint", "hashkv", "--cluster"});
  EXPECT_THAT(hashes, HasSubstr("Failed to get the hash of endpoint http://" + gone));
  EXPECT_THAT(Ctl(other_, {"member", "list"}), HasSubstr(down_id_ + ", started, "));
  EXPECT_THAT(Ctl(other_, {"put", "a", "2"}), HasSubstr("OK\n-> 0"));
  EXPECT_THAT(Ctl(leader_, {"get", "a", "--print-value-only"}), HasSubstr("2\n-> 0"));

  // The leadership goes to the one that is left, and cannot go to the one that is gone.
  const std::string other_id = fmt::format("{:x}", IdOf(other_));
  EXPECT_THAT(Ctl(leader_, {"move-leader", other_id}), HasSubstr("Leadership transferred from"));
  EXPECT_EQ(Leader(), other_);
  EXPECT_THAT(Ctl(other_, {"move-leader", down_id_}),
              AllOf(HasSubstr("-> 1"), AnyOf(HasSubstr("etcdserver: request timed out, leader "
                                                       "transfer took too long"),
                                             HasSubstr("context deadline exceeded"))));

  // No voter joins while one is away; the lost one can be changed and removed.
  EXPECT_THAT(Ctl(leader_, {"member", "add", "x", "--peer-urls=http://127.0.0.1:1"}),
              AllOf(HasSubstr("etcdserver: unhealthy cluster"), HasSubstr("-> 1")));
  EXPECT_THAT(Ctl(leader_, {"member", "promote", down_id_}),
              AllOf(HasSubstr("etcdserver: can only promote a learner member"), HasSubstr("-> 1")));
  EXPECT_THAT(Ctl(leader_, {"member", "update", down_id_, "--peer-urls=http://127.0.0.1:2"}),
              HasSubstr("updated in cluster"));
  EXPECT_THAT(Ctl(leader_, {"member", "remove", down_id_}), HasSubstr("removed from cluster"));
  EXPECT_THAT(Ctl(leader_, {"member", "list"}), Not(HasSubstr(down_id_)));

  // A new one in its place, learning first, under load.
  Writers writers(cluster_, kWriterThreads);
  ASSERT_OK(writers.AwaitAcknowledged(100));
  cluster_.Replace(down_, ServerUnderTest(), "m4");
  Server& fresh = cluster_.server(down_);
  EXPECT_THAT(
      CtlUntil(leader_, {"member", "add", "m4", "--learner", "--peer-urls=" + fresh.peer_url()},
               "added to cluster"),
      HasSubstr("ETCD_INITIAL_CLUSTER_STATE=\"existing\""));
  ASSERT_OK(fresh.Launch());
  const std::string list = CtlUntil(leader_, {"member", "list"}, "started, m4");
  const size_t line = list.rfind('\n', list.find("started, m4")) + 1;
  ASSERT_NO_FATAL_FAILURE(ExpectRefusedByLearner(fresh.address()));
  const std::string fresh_id = list.substr(line, list.find(',', line) - line);
  EXPECT_THAT(CtlUntil(leader_, {"member", "promote", fresh_id}, "promoted"),
              HasSubstr("promoted in cluster"));
  ASSERT_OK(fresh.WaitUntilAnswering());
  ASSERT_OK(writers.AwaitAcknowledged(writers.acknowledged() + 200));
  ExpectNothingLost(writers, leader_);

  // Three again: all healthy, of one hash, and any of them may be lost.
  const std::string healed = Ctl(down_, {"endpoint", "health", "--cluster"});
  EXPECT_THAT(healed, HasSubstr("-> 0"));
  EXPECT_THAT(healed, AllOf(HasSubstr(up[0] + " is healthy"), HasSubstr(up[1] + " is healthy"),
                            HasSubstr(Address(down_) + " is healthy")));
  EXPECT_THAT(Ctl(down_, {"endpoint", "hashkv", "--cluster"}), HasSubstr("-> 0"));
  cluster_.server(other_).Kill();
  EXPECT_THAT(CtlUntil(down_, {"put", "a", "3"}, "OK"), HasSubstr("OK\n-> 0"));
}

}  // namespace
}  // namespace cairn::test
