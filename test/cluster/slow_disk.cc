// Preloaded into a server (LD_PRELOAD): makes its disk slow, or stand still, while it runs.
//
// Every fsync and fdatasync takes so many milliseconds longer as the file named by
// CAIRN_TEST_SLOW_DISK says in decimal; nothing when there is no such file or number. The file is
// read again every few milliseconds, so a sync that stands still goes on soon after the number was
// lowered. Stands alone: no other code of the project is linked.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <ctime>

namespace {

constexpr int64_t kStepMs = 5;

int64_t WantedMs() {
  static const char* const path = std::getenv("CAIRN_TEST_SLOW_DISK");
  if (path == nullptr) return 0;
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  char text[24] = {};
  const ssize_t size = read(file, text, sizeof(text) - 1);
  close(file);
  return size > 0 ? std::strtoll(text, nullptr, 10) : 0;
}

void WaitForDisk() {
  constexpr timespec kStep{.tv_sec = 0, .tv_nsec = kStepMs * 1'000'000};
  for (int64_t waited_ms = 0; waited_ms < WantedMs(); waited_ms += kStepMs) {
    nanosleep(&kStep, nullptr);
  }
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int fdatasync(int file) {
  WaitForDisk();
  return static_cast<int>(syscall(SYS_fdatasync, file));
}

__attribute__((visibility("default"))) int fsync(int file) {
  WaitForDisk();
  return static_cast<int>(syscall(SYS_fsync, file));
}

}  // extern "C"
