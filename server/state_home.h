// Where a member's states lie: one in force, named by a pointer file, and beside it one that is to
// take its place, and what was left of such.
//
//   <directory>/CURRENT       the number of the state in force, and a line end
//   <directory>/<n>           that state; <n + 1> is the one being made
//   <directory>/checkpoint.*  copies made for other members, and for clients that save
//
// The pointer moves as write, sync, rename, sync the directory; each arrow is a fail point. What a
// state is made of is the subclass's. One thread at a time makes and switches states and asks which
// one is in force; any may ask for other names and have what nobody else uses removed.
#ifndef CAIRN_SERVER_STATE_HOME_H_
#define CAIRN_SERVER_STATE_HOME_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "mvcc/backend.h"
#include "wal/fs.h"

namespace cairn::server {

inline constexpr std::string_view kStatePointer = "CURRENT";
inline constexpr std::string_view kCheckpointPrefix = "checkpoint.";

// The number that the pointer in `directory` names. NOT_FOUND when there is none; DATA_LOSS when it
// is not a number.
absl::StatusOr<uint64_t> ReadStatePointer(wal::Fs& fs, const std::string& directory);
// Writes and syncs what the pointer is to be, beside it. Nothing has changed yet.
absl::Status PrepareStatePointer(wal::Fs& fs, const std::string& directory, uint64_t number);
// Puts that in the pointer's place, durably. After an error nobody knows which one counts.
absl::Status SwitchStatePointer(wal::Fs& fs, const std::string& directory);

class StateHome {
 public:
  // `current` is what the pointer names. `fs` outlives this.
  StateHome(wal::Fs& fs, std::string directory, uint64_t current)
      : fs_(fs), directory_(std::move(directory)), current_(current) {}
  virtual ~StateHome() = default;
  StateHome(const StateHome&) = delete;
  StateHome& operator=(const StateHome&) = delete;

  // All of them lie in it.
  const std::string& directory() const { return directory_; }
  std::string current_path() const { return PathOf(current_); }
  // Where the next state is made.
  std::string fresh_path() const { return PathOf(current_ + 1); }
  // Where the copy with this name is made.
  std::string checkpoint_path(std::string_view name) const;

  // Opens the state at `path`, an empty one if there is none.
  virtual absl::StatusOr<std::unique_ptr<mvcc::Backend>> Open(const std::string& path) = 0;
  // Removes what is at `path`, which is not open; OK when there is nothing.
  virtual absl::Status Remove(const std::string& path) = 0;

  // Makes the state at fresh_path(), all of which is durable, the one in force: durably, when
  // Switch returns OK. A failure of the first is harmless; after one of the second nobody knows
  // which state counts, and the member must stop.
  absl::Status PrepareSwitch();
  absl::Status Switch();
  // The state that the pointer file names right now.
  absl::StatusOr<std::string> PointedPath() const;
  // Removes the state that was in force before the last Switch, and is closed.
  absl::Status RemovePrevious() { return Remove(PathOf(current_ - 1)); }

 protected:
  wal::Fs& fs() { return fs_; }

 private:
  std::string PathOf(uint64_t number) const;

  wal::Fs& fs_;
  const std::string directory_;
  uint64_t current_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_STATE_HOME_H_
