#include "test/harness/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>

#include "base/check.h"
#include "base/status.h"

namespace cairn::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// The environment of this process with the additions, as NAME=value lines.
std::vector<std::string> EnvironmentWith(
    const std::vector<std::pair<std::string, std::string>>& additions) {
  std::map<std::string, std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals != text.npos) all[std::string(text.substr(0, equals))] = text.substr(equals + 1);
  }
  for (const auto& [name, value] : additions) all[name] = value;
  std::vector<std::string> lines;
  for (const auto& [name, value] : all) lines.push_back(fmt::format("{}={}", name, value));
  return lines;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Forks and executes. The descriptors become 0, 1 and 2 of the child. Between fork and exec only
// calls that are safe in a child of a threaded process.
absl::StatusOr<pid_t> Spawn(const ProcessOptions& options, int in, int out, int err) {
  std::vector<std::string> argument_texts = options.argv;
  std::vector<std::string> environment_texts = EnvironmentWith(options.environment);
  std::vector<char*> arguments = Pointers(argument_texts);
  std::vector<char*> environment = Pointers(environment_texts);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return base::Error(absl::StatusCode::kInternal, "fork: {}", strerror(errno));
  if (pid > 0) return pid;

  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // the parent died before the line above
  dup2(in, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  if (options.file_size_max_bytes) {
    const rlimit limit = {*options.file_size_max_bytes, *options.file_size_max_bytes};
    setrlimit(RLIMIT_FSIZE, &limit);
    signal(SIGXFSZ, SIG_IGN);
  }
  execve(arguments[0], arguments.data(), environment.data());
  constexpr std::string_view kMessage = "cannot execute the binary\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kMessage.data(), kMessage.size());
  _exit(127);
}

int OpenPidFd(pid_t pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }

milliseconds Remaining(steady_clock::time_point deadline) {
  const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
  return std::max(left, milliseconds(0));
}

ExitState ToExitState(int wait_status) {
  if (WIFSIGNALED(wait_status)) return {.code = 0, .signal = WTERMSIG(wait_status)};
  return {.code = WEXITSTATUS(wait_status), .signal = 0};
}

}  // namespace

absl::StatusOr<Process> Process::Start(const ProcessOptions& options) {
  const int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int out =
      open(options.output_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  CAIRN_CHECK(in >= 0);
  if (out < 0) {
    close(in);
    return base::Error(absl::StatusCode::kInternal, "open {}: {}", options.output_path,
                       strerror(errno));
  }
  absl::StatusOr<pid_t> pid = Spawn(options, in, out, out);
  close(in);
  close(out);
  if (!pid.ok()) return pid.status();
  return Process(*pid, OpenPidFd(*pid));
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pid_fd_(std::exchange(other.pid_fd_, -1)),
      exit_state_(other.exit_state_) {}

Process& Process::operator=(Process&& other) noexcept {
  if (this == &other) return *this;
  Release();
  pid_ = std::exchange(other.pid_, -1);
  pid_fd_ = std::exchange(other.pid_fd_, -1);
  exit_state_ = other.exit_state_;
  return *this;
}

Process::~Process() { Release(); }

void Process::Release() {
  if (pid_ > 0 && IsRunning()) {
    Signal(SIGKILL);
    Wait(std::chrono::minutes(1));
  }
  if (pid_fd_ >= 0) close(pid_fd_);
  pid_ = -1;
  pid_fd_ = -1;
}

bool Process::IsRunning() { return pid_ > 0 && !Wait(milliseconds(0)).has_value(); }

void Process::Signal(int signal_number) {
  if (pid_ > 0 && !exit_state_) kill(pid_, signal_number);
}

void Process::StandStill() {
  Signal(SIGSTOP);
  // The parent is told when the last thread stands.
  siginfo_t info = {};
  const auto id = static_cast<id_t>(pid_);
  while (waitid(P_PID, id, &info, WSTOPPED | WEXITED | WNOWAIT) < 0) {
    if (errno != EINTR) return;
  }
  // Takes the news, so that the next call waits for its own; an end is left to Wait.
  waitid(P_PID, id, &info, WSTOPPED | WNOHANG);
}

std::optional<ExitState> Process::Wait(milliseconds timeout) {
  if (exit_state_) return exit_state_;
  const auto deadline = steady_clock::now() + timeout;
  while (true) {
    int wait_status = 0;
    if (waitpid(pid_, &wait_status, WNOHANG) == pid_) {
      exit_state_ = ToExitState(wait_status);
      return exit_state_;
    }
    const milliseconds left = Remaining(deadline);
    if (left.count() == 0) return std::nullopt;
    pollfd ended = {.fd = pid_fd_, .events = POLLIN, .revents = 0};
    poll(&ended, 1, static_cast<int>(left.count()));
  }
}

namespace {

// Moves bytes between a running command and the caller until both outputs are at their end.
// False when the deadline came first.
bool Communicate(int in, int out, int err, std::string_view input,
                 steady_clock::time_point deadline, CommandResult& result) {
  fcntl(in, F_SETFL, O_NONBLOCK);
  bool in_open = true;
  std::string* const texts[] = {&result.out, &result.err};
  int descriptors[] = {out, err};
  while (descriptors[0] >= 0 || descriptors[1] >= 0) {
    if (in_open && input.empty()) {
      close(in);
      in_open = false;
    }
    pollfd polled[] = {{.fd = descriptors[0], .events = POLLIN, .revents = 0},
                       {.fd = descriptors[1], .events = POLLIN, .revents = 0},
                       {.fd = in_open ? in : -1, .events = POLLOUT, .revents = 0}};
    if (poll(polled, 3, static_cast<int>(Remaining(deadline).count())) == 0) {
      if (in_open) close(in);
      return false;
    }
    for (int i = 0; i < 2; ++i) {
      if (polled[i].revents == 0) continue;
      char buffer[65536];
      const ssize_t got = read(descriptors[i], buffer, sizeof(buffer));
      if (got > 0) {
        texts[i]->append(buffer, static_cast<size_t>(got));
      } else {
        descriptors[i] = -1;
      }
    }
    if (polled[2].revents != 0) {
      const ssize_t sent = write(in, input.data(), input.size());
      // A command that does not read its input is no error of the test.
      input.remove_prefix(sent > 0 ? static_cast<size_t>(sent) : input.size());
    }
  }
  if (in_open) close(in);
  return true;
}

}  // namespace

absl::StatusOr<CommandResult> RunCommand(const ProcessOptions& options, std::string_view input,
                                         milliseconds timeout) {
  const auto deadline = steady_clock::now() + timeout;
  int in[2], out[2], err[2];
  CAIRN_CHECK(pipe2(in, O_CLOEXEC) == 0);
  CAIRN_CHECK(pipe2(out, O_CLOEXEC) == 0);
  CAIRN_CHECK(pipe2(err, O_CLOEXEC) == 0);
  signal(SIGPIPE, SIG_IGN);
  absl::StatusOr<pid_t> pid = Spawn(options, in[0], out[1], err[1]);
  close(in[0]);
  close(out[1]);
  close(err[1]);
  if (!pid.ok()) {
    close(in[1]);
    close(out[0]);
    close(err[0]);
    return pid.status();
  }
  CommandResult result;
  const bool finished = Communicate(in[1], out[0], err[0], input, deadline, result);
  close(out[0]);
  close(err[0]);
  if (!finished) kill(*pid, SIGKILL);
  int wait_status = 0;
  waitpid(*pid, &wait_status, 0);
  if (!finished) {
    return base::Error(absl::StatusCode::kDeadlineExceeded, "{} took longer than {} ms",
                       options.argv[0], timeout.count());
  }
  result.exit = ToExitState(wait_status);
  return result;
}

}  // namespace cairn::test
