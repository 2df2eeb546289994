// A network of its own for each member of a cluster, so that links between them can be cut.
//
// To be used by a process that is root in a network namespace that nobody else uses
// (in_namespace.sh makes one): then nothing outside is touched, and the kernel takes all of it away
// with the process. Each member has two links: one to the clients, which is never cut, and one to
// the other members, plugged into one of two switches. Main thread only.
#ifndef CAIRN_TEST_CLUSTER_NAMESPACES_H_
#define CAIRN_TEST_CLUSTER_NAMESPACES_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "test/harness/server.h"

namespace cairn::test {

class Namespaces {
 public:
  // FAILED_PRECONDITION with the reason where the machine does not allow it.
  static absl::StatusOr<std::unique_ptr<Namespaces>> Create(int members);
  ~Namespaces();
  Namespaces(const Namespaces&) = delete;
  Namespaces& operator=(const Namespaces&) = delete;

  // Has a server live in member `i`'s network.
  void Place(int i, ServerOptions& server) const;

  // Who is in `apart` and who is not hear each other no more.
  absl::Status Split(const std::set<int>& apart);
  // What `from` sends to `to` is lost.
  absl::Status CutOneWay(int from, int to);
  // Everybody hears everybody again.
  absl::Status Heal();

 private:
  explicit Namespaces(int members) : files_(static_cast<size_t>(members), -1) {}
  absl::Status SetUp();
  // The namespace as a path, for as long as this process lives.
  std::string Path(int i) const;
  static absl::Status Ip(const std::vector<std::string>& launcher, const std::string& commands);
  std::vector<std::string> In(int i) const;

  std::vector<int> files_;
  std::vector<std::pair<int, int>> one_way_cuts_;
};

}  // namespace cairn::test

#endif  // CAIRN_TEST_CLUSTER_NAMESPACES_H_
