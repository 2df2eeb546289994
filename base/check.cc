#include "base/check.h"

#include <poll.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace cairn::base {

void CheckFailed(const char* file, int line, std::string_view what) {
  // Whoever reads standard error and does not must not keep alive a process that is wrong.
  constexpr int kPatienceMs = 1000;
  std::string text = "check failed at " + std::string(file) + ":" + std::to_string(line) + ": ";
  text.append(what);
  text.push_back('\n');
  pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  // What poll calls ready takes a line of this length at once.
  if (poll(&ready, 1, kPatienceMs) == 1) {
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text.data(), text.size());
  }
  std::abort();
}

}  // namespace cairn::base
