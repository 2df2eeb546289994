// Several real members on loopback: started together, looked at together, compared with each other.
//
// Owned by the test's main thread (see test/harness/process.h). Waiting is on a condition with a
// deadline. Works with any server that takes etcd's flags.
#ifndef CAIRN_TEST_CLUSTER_CLUSTER_H_
#define CAIRN_TEST_CLUSTER_CLUSTER_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "test/harness/server.h"
#include "test/harness/target.h"

namespace cairn::test {

class Cluster {
 public:
  // `members` in 1..7, named m1 and so on; none runs yet. `extra_flags` go to each.
  Cluster(const Target& target, int members, std::vector<std::string> extra_flags = {});
  // The same of servers that are described one by one, and named by their labels.
  explicit Cluster(std::vector<ServerOptions> servers);

  int size() const { return static_cast<int>(servers_.size()); }
  Server& server(int i) { return *servers_.at(static_cast<size_t>(i)); }
  // "127.0.0.1:1,127.0.0.1:2,...", of those that `is_wanted`; all without it.
  std::string endpoints(const std::function<bool(int)>& is_wanted = nullptr) const;

  // Puts a new server, which does not run, in the place of server(i), whose data is forgotten. It
  // will join those that are there.
  void Replace(int i, const Target& target, const std::string& label);

  // Starts all members and waits until each answers a linearizable read.
  absl::Status Start();
  // Starts those that do not run and waits likewise.
  absl::Status StartStopped();
  // Waits until the members that run agree on a leader among them, and says which.
  absl::StatusOr<int> WaitForLeader();
  // Waits until all members that run have applied the same, and compares their HashKV.
  absl::Status WaitForEqualState();

 private:
  void Add(std::vector<ServerOptions> servers);
  // Tells a server who it belongs to.
  void SetCluster(Server& server, const std::string& state);

  std::vector<std::unique_ptr<Server>> servers_;
};

// Writes from several threads to one key each until told to end, going on to the next member when
// one does not answer, and remembers what was acknowledged. Now and then it reads, and expects what
// was acknowledged.
class Writers {
 public:
  Writers(Cluster& cluster, int writers);
  // Ends the threads.
  ~Writers();

  // Waits until so many writes were acknowledged, counted from the start.
  absl::Status AwaitAcknowledged(int64_t count);
  int64_t acknowledged() const;
  // Ends the threads and looks for everything that was acknowledged, through member `reader`: the
  // last value of each key is the last acknowledged one or one that was tried after it. INTERNAL
  // when something is missing now, or was when it was read, or when revisions that were told fell.
  absl::Status Finish(int reader);
  // The longest time for which nothing was acknowledged.
  std::chrono::milliseconds longest_gap() const;

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace cairn::test

#endif  // CAIRN_TEST_CLUSTER_CLUSTER_H_
