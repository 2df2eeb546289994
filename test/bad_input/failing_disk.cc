// Preloaded into a server (LD_PRELOAD): one sync or read fails, as on a disk that could not.
//
// The file named by CAIRN_TEST_FAILING_DISK says which: "sync TEXT" or "read TEXT". While it is
// there, the first fsync or fdatasync, or the first pread, of a file whose path contains TEXT
// removes it and fails with EIO, without syncing or reading. Stands alone: no other code of the
// project is linked.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

// Whether this call for `file` is the one that fails; `kind` is "sync " or "read ".
bool Fails(int file, const char* kind) {
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
  const size_t kind_bytes = std::strlen(kind);
  if (std::strncmp(wanted, kind, kind_bytes) != 0) return false;
  // Whoever removes it is the one.
  return std::strstr(path, wanted + kind_bytes) != nullptr && unlink(control) == 0;
}

int Sync(int file, long call) {
  if (Fails(file, "sync ")) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(syscall(call, file));
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int fdatasync(int file) { return Sync(file, SYS_fdatasync); }

__attribute__((visibility("default"))) int fsync(int file) { return Sync(file, SYS_fsync); }

__attribute__((visibility("default"))) ssize_t pread(int file, void* to, size_t bytes, off_t at) {
  if (Fails(file, "read ")) {
    errno = EIO;
    return -1;
  }
  return syscall(SYS_pread64, file, to, bytes, at);
}

}  // extern "C"
