#include "server/state_home.h"

#include <charconv>
#include <utility>

#include "base/fail_point.h"
#include "base/status.h"

namespace cairn::server {

namespace {

std::string PointerPath(const std::string& directory) {
  return fmt::format("{}/{}", directory, kStatePointer);
}

std::string NewPointerPath(const std::string& directory) {
  return fmt::format("{}/{}.new", directory, kStatePointer);
}

absl::StatusOr<std::string> ReadSmallFile(wal::Fs& fs, const std::string& path) {
  CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<wal::File> file, fs.OpenForReading(path));
  std::string bytes(256, '\0');
  CAIRN_ASSIGN_OR_RETURN(const size_t size, file->Read(0, bytes.data(), bytes.size()));
  bytes.resize(size);
  return bytes;
}

}  // namespace

absl::StatusOr<uint64_t> ReadStatePointer(wal::Fs& fs, const std::string& directory) {
  const std::string path = PointerPath(directory);
  CAIRN_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(fs, path));
  uint64_t number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && text == fmt::format("{}\n", number)) return number;
  return base::Error(
      absl::StatusCode::kDataLoss,
      "--data-dir: {} does not name a state; write the number of the directory "
      "beside it for which `cairnutl raft-state` shows what it has applied and exits "
      "with 0 into the file, followed by a line end",
      path);
}

absl::Status PrepareStatePointer(wal::Fs& fs, const std::string& directory, uint64_t number) {
  const std::string path = NewPointerPath(directory);
  if (absl::Status removed = fs.Remove(path); !removed.ok() && !absl::IsNotFound(removed)) {
    return removed;
  }
  CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<wal::File> file, fs.Create(path));
  CAIRN_RETURN_IF_ERROR(file->Write(0, fmt::format("{}\n", number)));
  base::FailPoint("server.state.pointer_written");
  CAIRN_RETURN_IF_ERROR(file->Sync());
  base::FailPoint("server.state.pointer_synced");
  return absl::OkStatus();
}

absl::Status SwitchStatePointer(wal::Fs& fs, const std::string& directory) {
  CAIRN_RETURN_IF_ERROR(fs.Rename(NewPointerPath(directory), PointerPath(directory)));
  base::FailPoint("server.state.pointer_renamed");
  CAIRN_RETURN_IF_ERROR(fs.SyncDirectory(directory));
  base::FailPoint("server.state.switched");
  return absl::OkStatus();
}

std::string StateHome::PathOf(uint64_t number) const {
  return fmt::format("{}/{}", directory_, number);
}

std::string StateHome::checkpoint_path(std::string_view name) const {
  return fmt::format("{}/{}{}", directory_, kCheckpointPrefix, name);
}

absl::StatusOr<std::string> StateHome::PointedPath() const {
  CAIRN_ASSIGN_OR_RETURN(const uint64_t number, ReadStatePointer(fs_, directory_));
  return PathOf(number);
}

absl::Status StateHome::PrepareSwitch() {
  // A directory whose name a power cut takes must not be named by the pointer that it leaves.
  CAIRN_RETURN_IF_ERROR(fs_.SyncDirectory(directory_));
  base::FailPoint("server.state.fresh_synced");
  return PrepareStatePointer(fs_, directory_, current_ + 1);
}

absl::Status StateHome::Switch() {
  CAIRN_RETURN_IF_ERROR(SwitchStatePointer(fs_, directory_));
  ++current_;
  return absl::OkStatus();
}

}  // namespace cairn::server
