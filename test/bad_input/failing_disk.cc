// Preloaded into a server (LD_PRELOAD): one sync fails, as a disk does that could not write.
//
// While the file named by CAIRN_TEST_FAILING_DISK is there, the first fsync or fdatasync of a file
// whose path contains its text removes it and fails with EIO, without syncing. Stands alone: no
// other code of the project is linked.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

// Whether this sync of `file` is the one that fails.
bool Fails(int file) {
  static const char* const control = std::getenv("CAIRN_TEST_FAILING_DISK");
  if (control == nullptr) return false;
  const int opened = open(control, O_RDONLY | O_CLOEXEC);
  if (opened < 0) return false;
  char wanted[256] = {};
  const ssize_t wanted_bytes = read(opened, wanted, sizeof(wanted) - 1);
  close(opened);
  char link[64];
  std::snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
  char path[4096] = {};
  if (wanted_bytes <= 0 || readlink(link, path, sizeof(path) - 1) <= 0) return false;
  // Whoever removes it is the one.
  return std::strstr(path, wanted) != nullptr && unlink(control) == 0;
}

int Sync(int file, long call) {
  if (Fails(file)) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(syscall(call, file));
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int fdatasync(int file) { return Sync(file, SYS_fdatasync); }

__attribute__((visibility("default"))) int fsync(int file) { return Sync(file, SYS_fsync); }

}  // extern "C"
