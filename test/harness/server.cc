#include "test/harness/server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "base/check.h"
#include "base/status.h"
#include "test/harness/client.h"

namespace cairn::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Below the kernel's range for outgoing connections (32768 by default), above the well-known ones.
constexpr int kPortFirst = 10000;
constexpr int kPortLimit = 32000;
// Enough to find a free port on any machine that has one.
constexpr int kPortAttempts = 1000;
// What a message quotes of a server's log.
constexpr size_t kQuotedLogLines = 30;

bool IsFree(int port) {
  const int socket_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool is_free = bind(socket_fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  close(socket_fd);
  return is_free;
}

// Keeps `port` from the other tests of this machine for the life of this process, also while no
// server listens there: a name among Unix sockets that are in no directory. False if it is taken.
bool Reserve(int port) {
  const int socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string name = fmt::format("cairn-test-port-{}", port);
  // The first byte is zero; the name is as long as it is said to be.
  name.copy(address.sun_path + 1, sizeof(address.sun_path) - 1);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (bind(socket_fd, reinterpret_cast<sockaddr*>(&address), length) == 0) return true;
  close(socket_fd);
  return false;
}

}  // namespace

int PickFreePort() {
  static std::random_device device;
  std::uniform_int_distribution<int> ports(kPortFirst, kPortLimit - 1);
  for (int attempt = 0; attempt < kPortAttempts; ++attempt) {
    const int port = ports(device);
    if (Reserve(port) && IsFree(port)) return port;
  }
  CAIRN_CHECK(false, "no free port on the loopback address");
  return 0;
}

std::string MakeTempDir(std::string_view label) {
  const char* root = std::getenv("TEST_TMPDIR");
  std::string path =
      fmt::format("{}/{}.XXXXXX",
                  root != nullptr ? root : std::filesystem::temp_directory_path().string(), label);
  CAIRN_CHECK(mkdtemp(path.data()) != nullptr);
  return path;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string LastLines(std::string_view text, size_t lines) {
  size_t start = text.size();
  while (start > 0 && lines > 0) {
    const size_t newline = start >= 2 ? text.rfind('\n', start - 2) : text.npos;
    start = newline == text.npos ? 0 : newline + 1;
    --lines;
  }
  return std::string(text.substr(start));
}

Server::Server(ServerOptions options)
    : options_(std::move(options)), client_port_(PickFreePort()), peer_port_(PickFreePort()) {
  const std::string folder = MakeTempDir(options_.label);
  if (options_.data_dir.empty()) options_.data_dir = folder + "/data";
  log_path_ = folder + "/log";
}

std::string Server::address() const {
  return fmt::format("{}:{}", options_.client_host, client_port_);
}
std::string Server::client_url() const { return fmt::format("http://{}", address()); }
std::string Server::peer_url() const {
  return fmt::format("http://{}:{}", options_.peer_host, peer_port_);
}

std::string Server::Log() const {
  const std::string whole = ReadFile(log_path_);
  return whole.substr(std::min(log_offset_bytes_, whole.size()));
}

absl::Status Server::Launch() {
  CAIRN_CHECK(!IsRunning());
  process_.reset();
  log_offset_bytes_ = ReadFile(log_path_).size();
  ProcessOptions process;
  process.argv = options_.launcher;
  const std::string own_flags[] = {
      options_.binary,
      "--name=one",
      "--data-dir=" + options_.data_dir,
      "--listen-client-urls=" + client_url(),
      "--advertise-client-urls=" + client_url(),
      "--listen-peer-urls=" + peer_url(),
      "--initial-advertise-peer-urls=" + peer_url(),
      "--initial-cluster=one=" + peer_url(),
  };
  process.argv.insert(process.argv.end(), std::begin(own_flags), std::end(own_flags));
  process.argv.insert(process.argv.end(), options_.extra_flags.begin(), options_.extra_flags.end());
  process.environment = options_.environment;
  process.output_path = log_path_;
  process.file_size_max_bytes = options_.file_size_max_bytes;
  absl::StatusOr<Process> started = Process::Start(process);
  if (!started.ok()) return started.status();
  process_.emplace(*std::move(started));
  return absl::OkStatus();
}

absl::Status Server::WaitUntilAnswering() {
  const auto deadline = steady_clock::now() + kServerDeadline;
  Client client(address());
  while (steady_clock::now() < deadline) {
    if (!IsRunning()) {
      return base::Error(absl::StatusCode::kUnavailable, "{} ended by itself; its log ends:\n{}",
                         options_.label, LastLines(Log(), kQuotedLogLines));
    }
    etcdserverpb::RangeRequest request;
    request.set_key("health");
    etcdserverpb::RangeResponse response;
    // Short calls that wait for the connection, so that an end of the process is seen soon.
    const CallOptions options{.timeout = milliseconds(1000), .wait_for_ready = true};
    if (client.Range(request, &response, options).ok()) return absl::OkStatus();
  }
  return base::Error(absl::StatusCode::kDeadlineExceeded,
                     "{} does not answer after {} s; its log ends:\n{}", options_.label,
                     kServerDeadline.count(), LastLines(Log(), kQuotedLogLines));
}

absl::Status Server::Start() {
  CAIRN_RETURN_IF_ERROR(Launch());
  return WaitUntilAnswering();
}

absl::StatusOr<ExitState> Server::WaitForExit() {
  CAIRN_CHECK(process_.has_value());
  const std::optional<ExitState> exit = process_->Wait(kServerDeadline);
  if (!exit) {
    return base::Error(absl::StatusCode::kDeadlineExceeded,
                       "{} still runs after {} s; its log ends:\n{}", options_.label,
                       kServerDeadline.count(), LastLines(Log(), kQuotedLogLines));
  }
  return *exit;
}

void Server::LetRun(milliseconds time) {
  CAIRN_CHECK(process_.has_value());
  process_->Wait(time);
}

absl::StatusOr<ExitState> Server::Terminate() {
  CAIRN_CHECK(process_.has_value());
  process_->Signal(SIGTERM);
  return WaitForExit();
}

void Server::Kill() {
  CAIRN_CHECK(process_.has_value());
  process_->Signal(SIGKILL);
  process_->Wait(kServerDeadline);
}

}  // namespace cairn::test
