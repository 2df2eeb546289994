#include "cmd/cairnutl/directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/status.h"
#include "server/state_home.h"
#include "wal/format.h"
#include "wal/posix_fs.h"

namespace cairn::cairnutl {

namespace {

namespace fs = std::filesystem;

bool IsDirectory(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool IsFile(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

// RocksDB's directory: its own pointer names a manifest.
bool IsState(const std::string& path) {
  std::error_code error;
  for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
    if (at->path().filename().string().starts_with("MANIFEST-")) return true;
  }
  return false;
}

bool IsLog(const std::string& path) {
  std::error_code error;
  for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
    if (wal::SegmentSequence(at->path().filename().string())) return true;
  }
  return false;
}

// Takes the lock of `directory`, if there is a lock file.
absl::Status TakeLock(const std::string& directory, const Tool& tool, Located& located) {
  const std::string path = directory + "/lock";
  int fd = -1;
  do {
    fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) {
    if (errno == ENOENT) return absl::OkStatus();
    return base::Error(absl::StatusCode::kPermissionDenied, "{}: cannot open: {}", path,
                       std::strerror(errno));
  }
  SharedLock lock(fd);
  if (flock(fd, LOCK_SH | LOCK_NB) == 0) {
    if (!tool.even_if_running) located.locks.push_back(std::move(lock));
    return absl::OkStatus();
  }
  if (errno != EWOULDBLOCK) {
    return base::Error(absl::StatusCode::kInternal, "{}: cannot lock: {}", path,
                       std::strerror(errno));
  }
  if (tool.even_if_running) {
    if (!located.is_running) {
      tool.note(fmt::format(
          "Note: a member runs in {}: this is what its files show at one moment. The newest batch "
          "of the log may look half written, and the state ends with its last flush.",
          directory));
    }
    located.is_running = true;
    return absl::OkStatus();
  }
  return base::Error(absl::StatusCode::kUnavailable,
                     "{} is in use: another process holds {}; stop the member, or look at what its "
                     "files show at this moment with --even-if-running",
                     directory, path);
}

// A state's directory by itself may be that of a member, whose lock lies one or two levels above.
absl::Status TakeLocksAbove(const std::string& state, const Tool& tool, Located& located) {
  std::error_code error;
  const fs::path path = fs::canonical(state, error);
  if (error) return absl::OkStatus();
  for (const fs::path& above : {path.parent_path(), path.parent_path().parent_path()}) {
    CAIRN_RETURN_IF_ERROR(TakeLock(above.string(), tool, located));
  }
  return absl::OkStatus();
}

// The state that the pointer in `states` names.
absl::Status FollowPointer(const std::string& states, Located& located) {
  located.pointer_path = fmt::format("{}/{}", states, server::kStatePointer);
  absl::StatusOr<uint64_t> pointer = server::ReadStatePointer(wal::PosixFs(), states);
  if (absl::IsNotFound(pointer.status())) return absl::OkStatus();
  CAIRN_RETURN_IF_ERROR(pointer.status());
  located.pointer = *pointer;
  const std::string path = fmt::format("{}/{}", states, *pointer);
  if (!IsDirectory(path)) {
    return base::Error(absl::StatusCode::kDataLoss, "{} names {}, which is not there",
                       located.pointer_path, path);
  }
  if (IsState(path)) located.state_path = path;
  return absl::OkStatus();
}

absl::Status LocateInDataDirectory(const WhereToLook& where, const Tool& tool, Located& located) {
  const std::string& root = where.directory;
  CAIRN_RETURN_IF_ERROR(TakeLock(root, tool, located));
  if (const std::string states = root + "/state"; IsDirectory(states)) {
    CAIRN_RETURN_IF_ERROR(FollowPointer(states, located));
  } else if (IsState(root)) {
    located.state_path = root;
    CAIRN_RETURN_IF_ERROR(TakeLocksAbove(root, tool, located));
  } else if (IsFile(fmt::format("{}/{}", root, server::kStatePointer))) {
    CAIRN_RETURN_IF_ERROR(TakeLocksAbove(root, tool, located));
    CAIRN_RETURN_IF_ERROR(FollowPointer(root, located));
  }
  if (!where.wal_directory.empty()) {
    located.wal_path = where.wal_directory;
  } else if (const std::string log = root + "/wal"; IsDirectory(log)) {
    located.wal_path = log;
  } else if (IsLog(root)) {
    located.wal_path = root;
  }
  if (!located.wal_path.empty() && located.wal_path != root) {
    CAIRN_RETURN_IF_ERROR(TakeLock(located.wal_path, tool, located));
  }
  return absl::OkStatus();
}

}  // namespace

SharedLock::SharedLock(SharedLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

SharedLock::~SharedLock() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<Located> Locate(const WhereToLook& where, const Tool& tool) {
  for (const std::string& path : {where.directory, where.wal_directory}) {
    if (path.empty() || IsDirectory(path)) continue;
    std::error_code error;
    return base::Error(absl::StatusCode::kNotFound, "{}: {}", path,
                       fs::exists(path, error) ? "not a directory" : "no such directory");
  }
  if (IsDirectory(where.directory + "/member/wal")) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "{} holds the data of an etcd member; etcdutl reads that", where.directory);
  }
  Located located;
  CAIRN_RETURN_IF_ERROR(LocateInDataDirectory(where, tool, located));
  return located;
}

absl::StatusOr<std::string> WalOf(const Located& located, const WhereToLook& where) {
  if (!located.wal_path.empty()) return located.wal_path;
  return base::Error(absl::StatusCode::kNotFound,
                     "there is no log in {}: name a member's data directory or its log's directory",
                     where.directory);
}

absl::StatusOr<std::string> StateOf(const Located& located, const WhereToLook& where) {
  if (!located.state_path.empty()) return located.state_path;
  return base::Error(absl::StatusCode::kNotFound,
                     "there is no state in {}: name a member's data directory or a state's "
                     "directory",
                     where.directory);
}

}  // namespace cairn::cairnutl
