#include "test/cluster/namespaces.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "base/status.h"
#include "test/harness/process.h"

namespace cairn::test {

namespace {

constexpr char kIp[] = "/usr/sbin/ip";
constexpr char kNsenter[] = "/usr/bin/nsenter";

std::string ClientAddress(int i) { return fmt::format("10.77.0.{}", i + 1); }
std::string PeerAddress(int i) { return fmt::format("10.78.0.{}", i + 1); }

// A new network namespace as an open file; below 0 with errno set if there can be none.
int MakeNamespace() {
  int file = -1;
  int problem = 0;
  // The thread takes the namespace, not the process.
  std::thread([&] {
    if (unshare(CLONE_NEWNET) == 0) {
      file = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    }
    problem = errno;
  }).join();
  errno = problem;
  return file;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Namespaces>> Namespaces::Create(int members) {
  std::unique_ptr<Namespaces> created(new Namespaces(members));
  CAIRN_RETURN_IF_ERROR(created->SetUp());
  return created;
}

Namespaces::~Namespaces() {
  // The next one in this process has the same names. What was never made cannot be deleted.
  std::string commands = "link del clients\nlink del side0\nlink del side1\n";
  for (size_t i = 0; i < files_.size(); ++i) {
    commands += fmt::format("link del client{0}\nlink del peer{0}\n", i);
  }
  Ip({}, commands).IgnoreError();
  for (const int file : files_) {
    if (file >= 0) close(file);
  }
}

std::string Namespaces::Path(int i) const {
  return fmt::format("/proc/{}/fd/{}", getpid(), files_.at(static_cast<size_t>(i)));
}

std::vector<std::string> Namespaces::In(int i) const { return {kNsenter, "--net=" + Path(i)}; }

absl::Status Namespaces::Ip(const std::vector<std::string>& launcher, const std::string& commands) {
  ProcessOptions options;
  options.argv = launcher;
  options.argv.insert(options.argv.end(), {kIp, "-force", "-batch", "-"});
  CAIRN_ASSIGN_OR_RETURN(const CommandResult result, RunCommand(options, commands));
  if (result.exit == ExitState{}) return absl::OkStatus();
  return base::Error(absl::StatusCode::kFailedPrecondition, "ip: {}{}", result.out, result.err);
}

absl::Status Namespaces::SetUp() {
  std::string here =
      "link set lo up\n"
      "link add clients type bridge\n"
      "link set clients up\n"
      "addr add 10.77.0.254/24 dev clients\n"
      "link add side0 type bridge\n"
      "link set side0 up\n"
      "link add side1 type bridge\n"
      "link set side1 up\n";
  for (int i = 0; i < static_cast<int>(files_.size()); ++i) {
    int& file = files_[static_cast<size_t>(i)];
    file = MakeNamespace();
    if (file < 0) {
      return base::Error(absl::StatusCode::kFailedPrecondition, "no network namespace: {}",
                         strerror(errno));
    }
    here += fmt::format(
        "link add client{0} type veth peer name eth0 netns {1}\n"
        "link set client{0} master clients up\n"
        "link add peer{0} type veth peer name eth1 netns {1}\n"
        "link set peer{0} master side0 up\n",
        i, Path(i));
  }
  CAIRN_RETURN_IF_ERROR(Ip({}, here));
  for (int i = 0; i < static_cast<int>(files_.size()); ++i) {
    CAIRN_RETURN_IF_ERROR(Ip(In(i), fmt::format("link set lo up\n"
                                                "addr add {}/24 dev eth0\n"
                                                "link set eth0 up\n"
                                                "addr add {}/24 dev eth1\n"
                                                "link set eth1 up\n",
                                                ClientAddress(i), PeerAddress(i))));
  }
  return absl::OkStatus();
}

void Namespaces::Place(int i, ServerOptions& server) const {
  server.client_host = ClientAddress(i);
  server.peer_host = PeerAddress(i);
  server.launcher = In(i);
}

absl::Status Namespaces::Split(const std::set<int>& apart) {
  std::string commands;
  for (int i = 0; i < static_cast<int>(files_.size()); ++i) {
    commands += fmt::format("link set peer{} master side{}\n", i, apart.contains(i) ? 1 : 0);
  }
  return Ip({}, commands);
}

absl::Status Namespaces::CutOneWay(int from, int to) {
  one_way_cuts_.emplace_back(from, to);
  return Ip(In(from), fmt::format("route add blackhole {}/32\n", PeerAddress(to)));
}

absl::Status Namespaces::Heal() {
  for (const auto& [from, to] : std::exchange(one_way_cuts_, {})) {
    CAIRN_RETURN_IF_ERROR(
        Ip(In(from), fmt::format("route del blackhole {}/32\n", PeerAddress(to))));
  }
  return Split({});
}

}  // namespace cairn::test
