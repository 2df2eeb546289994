// What the tests of whole clusters share: a cluster of the server under test, who leads, etcdctl.
//
// Main thread only.
#ifndef CAIRN_TEST_CLUSTER_CLUSTER_FIXTURE_H_
#define CAIRN_TEST_CLUSTER_CLUSTER_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "test/cluster/cluster.h"
#include "test/harness/client.h"
#include "test/harness/process.h"
#include "test/harness/test_main.h"

namespace cairn::test {

#define ASSERT_OK(expression)                   \
  do {                                          \
    const absl::Status asserted = (expression); \
    ASSERT_TRUE(asserted.ok()) << asserted;     \
  } while (false)

// Writers that keep a cluster busy.
inline constexpr int kWriterThreads = 4;

// Runs stock etcdctl, whatever it says and however it ends.
inline CommandResult Etcdctl(const std::string& endpoints,
                             const std::vector<std::string>& arguments,
                             const std::string& timeout = "60s") {
  ProcessOptions options;
  options.argv = {"/usr/bin/etcdctl", "--endpoints=" + endpoints, "--command-timeout=" + timeout,
                  "--dial-timeout=" + timeout};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  options.environment = {{"ETCDCTL_API", "3"}};
  absl::StatusOr<CommandResult> result = RunCommand(options);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *result : CommandResult{};
}

// Grants a lease of this id and puts the key "leased" that it keeps.
inline void GrantWithKey(Client& client, int64_t id, int64_t ttl_s) {
  etcdserverpb::LeaseGrantRequest grant;
  grant.set_id(id);
  grant.set_ttl(ttl_s);
  etcdserverpb::LeaseGrantResponse granted;
  ASSERT_TRUE(client.LeaseGrant(grant, &granted).ok());
  etcdserverpb::PutRequest put;
  put.set_key("leased");
  put.set_lease(id);
  etcdserverpb::PutResponse written;
  ASSERT_TRUE(client.Put(put, &written).ok());
}

class ClusterFixture : public testing::Test {
 protected:
  explicit ClusterFixture(int members, std::vector<std::string> extra_flags = {})
      : cluster_(ServerUnderTest(), members, std::move(extra_flags)) {}

  int Leader() {
    const absl::StatusOr<int> leader = cluster_.WaitForLeader();
    EXPECT_TRUE(leader.ok()) << leader.status();
    return leader.value_or(0);
  }
  int Other(int i, int distance = 1) const { return (i + distance) % cluster_.size(); }

  // The id of a member that runs.
  uint64_t IdOf(int i) {
    etcdserverpb::StatusResponse status;
    EXPECT_TRUE(Client(cluster_.server(i).address()).StatusOf(&status).ok());
    return status.header().member_id();
  }

  // Ends the writers: everything acknowledged is there, and all members hold the same.
  void ExpectNothingLost(Writers& writers, int reader) {
    const absl::Status found = writers.Finish(reader);
    EXPECT_TRUE(found.ok()) << found;
    const absl::Status equal = cluster_.WaitForEqualState();
    EXPECT_TRUE(equal.ok()) << equal;
  }

  Cluster cluster_;
};

}  // namespace cairn::test

#endif  // CAIRN_TEST_CLUSTER_CLUSTER_FIXTURE_H_
