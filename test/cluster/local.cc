// A cluster on this machine to try things with: starts members on loopback, says how to reach them,
// and ends them when it is interrupted.
//
//   bazel run //test/cluster:local -- --members=3
#include <gflags/gflags.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/status.h"
#include "test/cluster/cluster.h"
#include "test/harness/target.h"

DEFINE_int32(members, 3, "How many, 1 to 7.");
DEFINE_string(server, "", "The server's binary; set by the build.");

namespace cairn::test {
namespace {

int Run() {
  const absl::StatusOr<Target> target = ResolveTarget(FLAGS_server);
  if (!target.ok() || FLAGS_members < 1 || FLAGS_members > 7) {
    fmt::print(stderr, "{}\n",
               target.ok() ? "--members must be 1 to 7" : target.status().ToString());
    return 2;
  }
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  sigprocmask(SIG_BLOCK, &ends, nullptr);
  Cluster cluster(*target, FLAGS_members);
  const absl::Status started = cluster.Start();
  if (!started.ok()) {
    fmt::print(stderr, "{}\n", base::Message(started));
    return 1;
  }
  for (int i = 0; i < cluster.size(); ++i) {
    Server& server = cluster.server(i);
    fmt::print("{}  clients {}  peers {}  pid {}  data {}\n", server.label(), server.address(),
               server.peer_url(), server.pid(), server.data_dir());
  }
  fmt::print("Try: etcdctl --endpoints={} endpoint status\nEnd with Ctrl-C.\n",
             cluster.endpoints());
  std::fflush(stdout);
  int signal = 0;
  sigwait(&ends, &signal);
  for (int i = 0; i < cluster.size(); ++i) {
    if (cluster.server(i).IsRunning()) cluster.server(i).Terminate().status().IgnoreError();
  }
  return 0;
}

}  // namespace
}  // namespace cairn::test

int main(int argc, char** argv) {
  gflags::ParseCommandLineFlags(&argc, &argv, true);
  return cairn::test::Run();
}
