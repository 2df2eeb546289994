// One server process under test: Cairn or a real etcd, started with the same flags on free loopback
// ports, with its data and its log in a folder of its own below TEST_TMPDIR.
//
// Owned by the test's main thread (see process.h); address() and stub users may be anywhere.
// Waiting is always on a condition with a deadline: the server answers, the process ends. It never
// hides a server that ended by itself: that is an error with the end of its log in it.
#ifndef CAIRN_TEST_HARNESS_SERVER_H_
#define CAIRN_TEST_HARNESS_SERVER_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "test/harness/process.h"

namespace cairn::test {

// How long a server may take to answer or to end, generous for a loaded machine of two cores.
inline constexpr std::chrono::seconds kServerDeadline{90};

struct ServerOptions {
  std::string binary;
  // Names the server in messages and its folder.
  std::string label = "server";
  // Appended after the flags that the harness sets; a later flag wins.
  std::vector<std::string> extra_flags;
  std::vector<std::pair<std::string, std::string>> environment;
  // Where data lies; a fresh folder if empty.
  std::string data_dir;
  std::optional<uint64_t> file_size_max_bytes;
  // Addresses that the server listens on.
  std::string client_host = "127.0.0.1";
  std::string peer_host = "127.0.0.1";
  // A program with arguments that executes the server's command line; none if empty.
  std::vector<std::string> launcher;
};

class Server {
 public:
  explicit Server(ServerOptions options);

  // Starts the process without waiting for it to answer.
  absl::Status Launch();
  // Starts it and waits until it answers a linearizable read.
  absl::Status Start();
  // SIGTERM, then waits for the end.
  absl::StatusOr<ExitState> Terminate();
  // SIGKILL, then waits for the end.
  void Kill();
  // SIGSTOP; every thread stands when this returns. SIGCONT to pid() lets it go on.
  void StandStill() { process_->StandStill(); }
  // Lets it run so long, or until it ends: for a signal at a random moment.
  void LetRun(std::chrono::milliseconds time);
  // Waits for an end of its own accord.
  absl::StatusOr<ExitState> WaitForExit();
  // Waits until it answers; an error with the log's end if it ends or the deadline comes first.
  absl::Status WaitUntilAnswering();

  bool IsRunning() { return process_ && process_->IsRunning(); }
  pid_t pid() const { return process_->pid(); }
  // host:port of the client side.
  std::string address() const;
  std::string client_url() const;
  std::string peer_url() const;
  const std::string& data_dir() const { return options_.data_dir; }
  const std::string& label() const { return options_.label; }
  int client_port() const { return client_port_; }
  int peer_port() const { return peer_port_; }
  ServerOptions& options() { return options_; }
  // All that it printed since the last Launch.
  std::string Log() const;

 private:
  ServerOptions options_;
  std::string log_path_;
  size_t log_offset_bytes_ = 0;
  int client_port_;
  int peer_port_;
  std::optional<Process> process_;
};

// A port of the loopback address that nothing listens on, outside the range that the kernel gives
// to outgoing connections and given to no other test, so that it stays free whenever the server
// does not have it.
int PickFreePort();

// A fresh folder below TEST_TMPDIR (or the system's folder for temporary files).
std::string MakeTempDir(std::string_view label);

// The whole content of a file; empty if there is none.
std::string ReadFile(const std::string& path);

// The last `lines` lines of a text.
std::string LastLines(std::string_view text, size_t lines);

}  // namespace cairn::test

#endif  // CAIRN_TEST_HARNESS_SERVER_H_
