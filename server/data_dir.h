// The data directory: made, checked, locked; where log and state lie in it.
//
//   <data-dir>/lock            held by the running process, as is <wal-dir>/lock
//   <data-dir>/wal/            the log, unless --wal-dir puts it elsewhere
//   <data-dir>/state/CURRENT   names the directory of the state in force
//   <data-dir>/state/<n>/      a state; a snapshot is installed beside the old one
//
// Main thread only. A directory that is not ours is refused before anything in it changes; every
// message names the flag, the path and the remedy. What an installation that was cut short left
// beside the state in force is removed: half a snapshot at once, a whole state only once the one in
// force has proved to be the log's.
#ifndef CAIRN_SERVER_DATA_DIR_H_
#define CAIRN_SERVER_DATA_DIR_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/config.h"
#include "wal/fs.h"

namespace cairn::server {

// In a data directory (and a log's) that is being restored from a snapshot, until it is complete
// (snapshot/restore.h).
inline constexpr std::string_view kRestoringFolder = "unfinished-cairn-restore";
// Beside it, and the last to go, when the log lies elsewhere (snapshot/restore_site.h).
inline constexpr std::string_view kRestoringNote = "unfinished-cairn-restore.second";

// The first component of `path` below `root`; empty when it does not lie inside. Both as the flags
// have them, normalised.
std::string_view ComponentBelow(std::string_view root, std::string_view path);

class DataDir {
 public:
  // Makes the directories with mode 0700 or checks them, and takes the lock. FAILED_PRECONDITION
  // for a directory that is not ours to use (another owner, writable by others, another program's
  // files) and for a member without a log that is not of the initial cluster (FindSelf),
  // UNAVAILABLE when a process holds the lock, else what the file system says.
  static absl::StatusOr<DataDir> Open(wal::Fs& fs, const Config& config);

  const std::string& wal_path() const { return wal_path_; }
  // The states, as state_home.h lays them out.
  const std::string& states_path() const { return states_path_; }
  uint64_t current_state() const { return current_state_; }
  // The directory of the state in force.
  std::string state_path() const { return states_path_ + "/" + std::to_string(current_state_); }
  // Whether something lay in it when the directory was opened.
  bool has_state() const { return has_state_; }
  // The states that are not in force, of an installation that was cut short before or after its
  // switch.
  const std::vector<std::string>& other_states() const { return other_states_; }
  // REQUIRES: the state in force has met its log (Bootstrap).
  absl::Status RemoveOtherStates(wal::Fs& fs);

 private:
  DataDir() = default;

  std::string wal_path_;
  std::string states_path_;
  uint64_t current_state_ = 0;
  bool has_state_ = false;
  std::vector<std::string> other_states_;
  std::unique_ptr<wal::FileLock> lock_;
  // Two data directories must not share a log either.
  std::unique_ptr<wal::FileLock> wal_lock_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_DATA_DIR_H_
