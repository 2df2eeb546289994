// The tools' door to a member's files: where log and state lie, and whether a member runs on them.
//
// Changes nothing: looks at names, reads the pointer file, and holds a shared lock on the lock
// files that are there, so that no member starts while a tool looks. A running member is refused,
// unless the caller looks anyway; then nothing is locked, so that the member is never in the way of
// itself. Main thread only.
#ifndef CAIRN_CMD_CAIRNUTL_DIRECTORY_H_
#define CAIRN_CMD_CAIRNUTL_DIRECTORY_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cmd/cairnutl/tool.h"

namespace cairn::cairnutl {

// An open file with a shared lock, closed and unlocked at the end.
class SharedLock {
 public:
  explicit SharedLock(int fd) : fd_(fd) {}
  SharedLock(SharedLock&& other) noexcept;
  SharedLock& operator=(SharedLock&&) = delete;
  ~SharedLock();

 private:
  int fd_;
};

struct WhereToLook {
  // A data directory; a log's directory and a state's directory do where they are all that is
  // needed.
  std::string directory;
  // The log's, if it lies elsewhere (--wal-dir).
  std::string wal_directory;
};

struct Located {
  // The log. Empty if there is none.
  std::string wal_path;
  // The state in force. Empty if there is none.
  std::string state_path;
  // In a data directory: the pointer file and what it says.
  std::string pointer_path;
  std::optional<uint64_t> pointer;
  // A process holds the lock; what the files show is a moment of it.
  bool is_running = false;
  std::vector<SharedLock> locks;
};

// Finds log and state. NOT_FOUND when `directory` is not there or holds neither; UNAVAILABLE when a
// member runs on it, unless tool.even_if_running, which notes what that means; DATA_LOSS when the
// pointer file names no state.
absl::StatusOr<Located> Locate(const WhereToLook& where, const Tool& tool);

// Paths of Locate, or NOT_FOUND with words.
absl::StatusOr<std::string> WalOf(const Located& located, const WhereToLook& where);
absl::StatusOr<std::string> StateOf(const Located& located, const WhereToLook& where);

}  // namespace cairn::cairnutl

#endif  // CAIRN_CMD_CAIRNUTL_DIRECTORY_H_
