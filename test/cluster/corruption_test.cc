// A member whose state is not what the others have: found at its start if the flag says so, found
// by the leader otherwise, named to everyone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "mvcc/rocks_backend.h"
#include "test/cluster/cluster.h"
#include "test/cluster/cluster_fixture.h"
#include "test/harness/client.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

using std::chrono::steady_clock;
using testing::HasSubstr;

constexpr char kKey[] = "tampered";
constexpr char kValue[] = "as it was written";

class CorruptionTest : public testing::Test {
 protected:
  void Start(std::vector<std::string> flags) {
    cluster_ = std::make_unique<Cluster>(ServerUnderTest(), 3, std::move(flags));
    ASSERT_OK(cluster_->Start());
  }
  std::string Ctl(int i, const std::vector<std::string>& arguments) {
    const CommandResult result = Etcdctl(cluster_->server(i).address(), arguments);
    return result.out + result.err;
  }
  void CtlUntil(int i, const std::vector<std::string>& arguments, const std::string& wanted) {
    const auto deadline = steady_clock::now() + kServerDeadline;
    std::string answer;
    do {
      ASSERT_LT(steady_clock::now(), deadline) << answer;
      answer = Ctl(i, arguments);
    } while (answer.find(wanted) == std::string::npos);
  }
  uint64_t IdOf(int i) {
    etcdserverpb::StatusResponse status;
    EXPECT_TRUE(Client(cluster_->server(i).address()).StatusOf(&status).ok());
    return status.header().member_id();
  }

  std::unique_ptr<Cluster> cluster_;
};

// Changes one value in the rows of a server that does not run.
absl::Status Tamper(const Server& server, mvcc::Family family) {
  const std::string states = server.data_dir() + "/state/";
  std::string current = ReadFile(states + "CURRENT");
  while (!current.empty() && current.back() == '\n') current.pop_back();
  CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<mvcc::Backend> backend,
                         mvcc::OpenRocksBackend({.directory = states + current}));
  const std::unique_ptr<mvcc::RowIterator> rows =
      backend->NewIterator(family, "", mvcc::CacheUse::kBypass);
  for (rows->Seek(""); rows->Valid(); rows->Next()) {
    std::string value(rows->value());
    const size_t at = value.find(kValue);
    if (at == std::string::npos) continue;
    value.replace(at, 2, "is");
    const std::unique_ptr<mvcc::RowBatch> batch = backend->NewBatch();
    batch->Put(family, rows->key(), value);
    CAIRN_RETURN_IF_ERROR(backend->Write(*batch));
    return backend->Flush();
  }
  return base::Error(absl::StatusCode::kNotFound, "no row to change in {}", states + current);
}

// Which rows are not what they should be: history, or what reads of the present find.
class TamperedTest : public CorruptionTest, public testing::WithParamInterface<mvcc::Family> {};

INSTANTIATE_TEST_SUITE_P(Rows, TamperedTest,
                         testing::Values(mvcc::Family::kRevisions, mvcc::Family::kKeys),
                         [](const auto& rows) {
                           return rows.param == mvcc::Family::kKeys ? "Keys" : "Revisions";
                         });

TEST_P(TamperedTest, WhoeverDiffersIsFoundAndNamed) {
  ASSERT_NO_FATAL_FAILURE(Start({"--corrupt-check-time=300ms"}));
  EXPECT_EQ(Ctl(0, {"put", kKey, kValue}), "OK\n");
  ASSERT_OK(cluster_->WaitForEqualState());
  const absl::StatusOr<int> leader = cluster_->WaitForLeader();
  ASSERT_OK(leader.status());
  const int victim = (*leader + 1) % cluster_->size();
  const uint64_t id = IdOf(victim);
  Server& server = cluster_->server(victim);
  ASSERT_OK(server.Terminate().status());
  ASSERT_OK(Tamper(server, GetParam()));

  server.options().extra_flags.push_back("--experimental-initial-corrupt-check");
  ASSERT_OK(server.Launch());
  const absl::StatusOr<ExitState> exit = server.WaitForExit();
  ASSERT_OK(exit.status());
  EXPECT_EQ(exit->code, 1) << server.Log();
  EXPECT_THAT(server.Log(), HasSubstr(fmt::format("{:x} found data inconsistency with peers", id)));

  server.options().extra_flags.pop_back();
  ASSERT_OK(cluster_->StartStopped());
  const std::string alarm = fmt::format("memberID:{} alarm:CORRUPT", id);
  ASSERT_NO_FATAL_FAILURE(CtlUntil(*leader, {"alarm", "list"}, alarm));
  for (int i = 0; i < cluster_->size(); ++i) {
    EXPECT_THAT(Ctl(i, {"put", "a", "1"}), HasSubstr("etcdserver: corrupt cluster"));
  }
  // It is gone once the member is, and somebody has said so.
  ASSERT_NO_FATAL_FAILURE(
      CtlUntil(*leader, {"member", "remove", fmt::format("{:x}", id)}, "removed from cluster"));
  EXPECT_THAT(Ctl(*leader, {"alarm", "disarm"}), HasSubstr(alarm));
  EXPECT_EQ(Ctl(*leader, {"put", "a", "1"}), "OK\n");
}

// Checks at any moment, while members write, compact and lead in turn: nobody is accused.
TEST_F(CorruptionTest, MembersThatAreAlikeAreLeftInPeace) {
  ASSERT_NO_FATAL_FAILURE(Start({"--corrupt-check-time=50ms", "--auto-compaction-retention=1s",
                                 "--experimental-initial-corrupt-check", "--log-level=debug"}));
  Writers writers(*cluster_, 4);
  for (int i = 0; i < cluster_->size(); ++i) {
    const auto deadline = steady_clock::now() + kServerDeadline;
    absl::StatusOr<int> leader;
    while (true) {
      // Asked anew: the lead may move at any time.
      leader = cluster_->WaitForLeader();
      ASSERT_OK(leader.status());
      const std::string log = cluster_->server(*leader).Log();
      if (log.find("3 of 3 members compared, all alike") != std::string::npos) break;
      ASSERT_LT(steady_clock::now(), deadline) << LastLines(log, 20);
      ASSERT_OK(writers.AwaitAcknowledged(writers.acknowledged() + 50));
    }
    ASSERT_OK(cluster_->server(*leader).Terminate().status());
    ASSERT_OK(cluster_->StartStopped());
  }
  EXPECT_EQ(Ctl(0, {"alarm", "list"}), "");
  ASSERT_OK(writers.Finish(0));
  ASSERT_OK(cluster_->WaitForEqualState());
}

}  // namespace
}  // namespace cairn::test
