// Child processes for end-to-end tests: start one with its output in a file, signal it, wait for
// it, or run a command to its end and look at what it printed.
//
// Every child dies with the test: it asks the kernel for SIGKILL when the thread that started it
// ends, so start long-lived children from a thread that outlives them (the test's main thread).
// Not thread-safe: one owner at a time. It never retries and never sleeps a fixed time.
#ifndef CAIRN_TEST_HARNESS_PROCESS_H_
#define CAIRN_TEST_HARNESS_PROCESS_H_

#include <absl/status/statusor.h>
#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn::test {

// How a process ended: its exit code, or the signal that killed it.
struct ExitState {
  int code = 0;    // meaningful when signal == 0
  int signal = 0;  // 0: it exited by itself

  friend bool operator==(const ExitState&, const ExitState&) = default;
};

struct ProcessOptions {
  // argv[0] is the path of the binary; no search along PATH.
  std::vector<std::string> argv;
  // Added to the environment of this process, or replacing what stands there.
  std::vector<std::pair<std::string, std::string>> environment;
  // Standard output and error are appended here.
  std::string output_path;
  // RLIMIT_FSIZE of the child; no file grows beyond it. SIGXFSZ is ignored, so writes fail.
  std::optional<uint64_t> file_size_max_bytes;
};

class Process {
 public:
  static absl::StatusOr<Process> Start(const ProcessOptions& options);

  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  // Kills and reaps the child if it still runs.
  ~Process();

  pid_t pid() const { return pid_; }
  // False once the child was reaped.
  bool IsRunning();
  void Signal(int signal_number);
  // SIGSTOP, and waits until every thread stands: until then some may go on for a moment. Nothing
  // if it ends meanwhile.
  void StandStill();
  // Waits until the child ended; nothing if it still runs at the deadline.
  std::optional<ExitState> Wait(std::chrono::milliseconds timeout);

 private:
  explicit Process(pid_t pid, int pid_fd) : pid_(pid), pid_fd_(pid_fd) {}
  void Release();

  pid_t pid_ = -1;
  int pid_fd_ = -1;  // readable when the child has ended
  std::optional<ExitState> exit_state_;
};

struct CommandResult {
  ExitState exit;
  std::string out;
  std::string err;
};

// Runs a command to its end with `input` on its standard input. DEADLINE_EXCEEDED, and the command
// killed, when it takes longer than `timeout`.
absl::StatusOr<CommandResult> RunCommand(
    const ProcessOptions& options, std::string_view input = {},
    std::chrono::milliseconds timeout = std::chrono::minutes(2));

}  // namespace cairn::test

#endif  // CAIRN_TEST_HARNESS_PROCESS_H_
