#include "server/snapshot/restore_site.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <set>
#include <system_error>
#include <utility>

#include "base/fail_point.h"
#include "base/status.h"
#include "server/data_dir.h"
#include "wal/format.h"

namespace cairn::server {

namespace {

constexpr std::string_view kLockName = "lock";
// The file system's own.
constexpr std::string_view kLostAndFound = "lost+found";

absl::Status RemoveAll(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (!error) return absl::OkStatus();
  return base::Error(absl::StatusCode::kInternal, "{}: remove: {}", path, error.message());
}

// What lies in `root`; nothing when there is no such directory.
absl::StatusOr<std::vector<std::string>> Contents(wal::Fs& fs, std::string_view flag,
                                                  const std::string& root) {
  absl::StatusOr<std::vector<std::string>> names = fs.ListDirectory(root);
  if (absl::IsNotFound(names.status())) return std::vector<std::string>();
  if (!names.ok()) return base::Annotate(names.status(), flag);
  std::erase(*names, kLostAndFound);
  return names;
}

// What says that a restore is under way, or was killed.
bool IsMark(std::string_view name) { return name == kRestoringFolder || name == kRestoringNote; }

// What a restore puts in its place, and what stands beside it meanwhile.
bool IsOfRestore(std::string_view name) {
  return IsMark(name) || name == kLockName || name == "state" || name == "wal" ||
         wal::SegmentSequence(name).has_value() || wal::IsUnfinishedSegmentName(name);
}

bool IsInterrupted(const std::vector<std::string>& names) {
  return std::any_of(names.begin(), names.end(), IsMark);
}

// A line of the note: size, time of the last change in nanoseconds, and name. Empty for what is no
// file.
std::string DescribeEntry(const std::string& root, const std::string& name) {
  const std::filesystem::path path = fmt::format("{}/{}", root, name);
  std::error_code error;
  if (std::filesystem::symlink_status(path, error).type() != std::filesystem::file_type::regular) {
    return {};
  }
  const uintmax_t size_bytes = std::filesystem::file_size(path, error);
  if (error) return {};
  const std::filesystem::file_time_type changed = std::filesystem::last_write_time(path, error);
  if (error) return {};
  const int64_t changed_ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(changed.time_since_epoch()).count();
  return fmt::format("{} {} {}", size_bytes, changed_ns, name);
}

// Whether everything in `root` is as the note in `first_root` says. Something may be missing: what
// failed may have begun to remove it.
absl::StatusOr<bool> IsNoted(wal::Fs& fs, std::string_view flag, const std::string& root,
                             const std::string& first_root) {
  std::ifstream note(fmt::format("{}/{}", first_root, kRestoringNote));
  std::set<std::string> lines;
  for (std::string line; std::getline(note, line);) lines.insert(line);
  if (lines.empty()) return false;
  CAIRN_ASSIGN_OR_RETURN(const std::vector<std::string> names, Contents(fs, flag, root));
  return std::all_of(names.begin(), names.end(), [&](const std::string& name) {
    return name == kLockName || lines.contains(DescribeEntry(root, name));
  });
}

absl::StatusOr<std::unique_ptr<wal::FileLock>> TakeLock(wal::Fs& fs, std::string_view flag,
                                                        const std::string& root) {
  absl::StatusOr<std::unique_ptr<wal::FileLock>> lock =
      fs.LockFile(fmt::format("{}/{}", root, kLockName));
  if (absl::IsUnavailable(lock.status())) {
    return base::Error(absl::StatusCode::kUnavailable,
                       "{}: {} is in use: another process holds {}/{}; name another directory",
                       flag, root, root, kLockName);
  }
  if (!lock.ok()) return base::Annotate(lock.status(), flag);
  return lock;
}

// The directories of `path` that are not there yet, outermost first.
std::vector<std::string> MissingDirectories(const std::string& path) {
  std::vector<std::string> missing;
  std::error_code error;
  for (std::filesystem::path at(path); !at.empty() && !std::filesystem::exists(at, error);
       at = at.parent_path()) {
    missing.insert(missing.begin(), at.string());
    if (at == at.parent_path()) break;
  }
  return missing;
}

}  // namespace

absl::Status RestoreSite::Check(wal::Fs& fs, std::string_view flag, const std::string& root,
                                std::string_view own) {
  CAIRN_ASSIGN_OR_RETURN(std::vector<std::string> names, Contents(fs, flag, root));
  if (IsInterrupted(names)) {
    const auto other = std::find_if_not(names.begin(), names.end(), [own](std::string_view name) {
      return name == own || IsOfRestore(name);
    });
    if (other == names.end()) return absl::OkStatus();
    return base::Error(
        absl::StatusCode::kFailedPrecondition,
        "{}: {} holds what a killed restore has left, and \"{}\" beside it, which is "
        "not of a restore; move that away, or name a new or an empty directory",
        flag, root, *other);
  }
  // A lock alone is what a server leaves that was refused.
  std::erase(names, kLockName);
  if (names.empty()) return absl::OkStatus();
  return base::Error(absl::StatusCode::kFailedPrecondition,
                     "{}: {} is not empty, it holds \"{}\"; name a new or an empty directory, or "
                     "remove this one if nobody needs it",
                     flag, root, names.front());
}

absl::Status RestoreSite::CheckSecond(wal::Fs& fs, std::string_view flag, const std::string& root,
                                      const std::string& first_root) {
  CAIRN_ASSIGN_OR_RETURN(const bool is_noted, IsNoted(fs, flag, root, first_root));
  return is_noted ? absl::OkStatus() : Check(fs, flag, root, {});
}

absl::StatusOr<std::unique_ptr<RestoreSite>> RestoreSite::Begin(wal::Fs& fs, std::string_view flag,
                                                                const std::string& root,
                                                                std::string_view own) {
  std::unique_ptr<RestoreSite> site(new RestoreSite(fs, root));
  site->made_ = MissingDirectories(root);
  if (absl::Status made = fs.CreateDirectory(root); !made.ok()) return base::Annotate(made, flag);
  CAIRN_ASSIGN_OR_RETURN(site->lock_, TakeLock(fs, flag, root));
  // With the lock held nobody else's can come into being.
  CAIRN_RETURN_IF_ERROR(Check(fs, flag, root, own));
  return site;
}

absl::Status RestoreSite::ReclaimSecond(std::string_view flag, const std::string& second_root) {
  CAIRN_ASSIGN_OR_RETURN(const std::vector<std::string> names, Contents(fs_, flag, second_root));
  CAIRN_ASSIGN_OR_RETURN(bool is_noted, IsNoted(fs_, flag, second_root, root_));
  if (names.empty() || IsInterrupted(names) || !is_noted) return absl::OkStatus();
  CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<wal::FileLock> lock,
                         TakeLock(fs_, flag, second_root));
  // As in Begin: with the lock.
  CAIRN_ASSIGN_OR_RETURN(is_noted, IsNoted(fs_, flag, second_root, root_));
  if (!is_noted) return absl::OkStatus();
  CAIRN_RETURN_IF_ERROR(fs_.CreateDirectory(fmt::format("{}/{}", second_root, kRestoringFolder)));
  CAIRN_RETURN_IF_ERROR(fs_.SyncDirectory(second_root));
  base::FailPoint("server.restore.reclaimed");
  return absl::OkStatus();
}

absl::Status RestoreSite::Clear() {
  is_owned_ = true;
  // Also where the note alone was left.
  CAIRN_RETURN_IF_ERROR(fs_.CreateDirectory(folder()));
  CAIRN_RETURN_IF_ERROR(fs_.SyncDirectory(root_));
  CAIRN_ASSIGN_OR_RETURN(const std::vector<std::string> names, Contents(fs_, "", root_));
  // The folder itself is the last to go: until then it says whose the rest is.
  for (const std::string& name : names) {
    if (name == kRestoringFolder || name == kLockName) continue;
    CAIRN_RETURN_IF_ERROR(RemoveAll(fmt::format("{}/{}", root_, name)));
  }
  CAIRN_RETURN_IF_ERROR(RemoveAll(folder()));
  CAIRN_RETURN_IF_ERROR(fs_.CreateDirectory(folder()));
  return fs_.SyncDirectory(root_);
}

RestoreSite::~RestoreSite() {
  if (is_kept_) return;
  if (is_owned_) {
    // The marks are tried last: what cannot be removed is still marked by them.
    const absl::StatusOr<std::vector<std::string>> names = Contents(fs_, "", root_);
    for (const std::string& name : names.value_or(std::vector<std::string>())) {
      if (!IsMark(name)) RemoveAll(fmt::format("{}/{}", root_, name)).IgnoreError();
    }
    RemoveAll(folder()).IgnoreError();
    RemoveAll(fmt::format("{}/{}", root_, kRestoringNote)).IgnoreError();
  }
  for (size_t i = made_.size(); i > 0; --i) {
    std::error_code error;
    std::filesystem::remove(made_[i - 1], error);
  }
}

std::string RestoreSite::folder() const { return fmt::format("{}/{}", root_, kRestoringFolder); }

absl::Status RestoreSite::Place() {
  CAIRN_RETURN_IF_ERROR(fs_.SyncDirectory(folder()));
  CAIRN_ASSIGN_OR_RETURN(const std::vector<std::string> names, fs_.ListDirectory(folder()));
  for (const std::string& name : names) {
    CAIRN_RETURN_IF_ERROR(
        fs_.RenameNew(fmt::format("{}/{}", folder(), name), fmt::format("{}/{}", root_, name)));
    base::FailPoint("server.restore.placed");
  }
  return fs_.SyncDirectory(root_);
}

absl::Status RestoreSite::RememberSecond(const RestoreSite& second) {
  CAIRN_ASSIGN_OR_RETURN(const std::vector<std::string> names, Contents(fs_, "", second.root_));
  std::string note;
  for (const std::string& name : names) {
    if (name == kLockName || IsMark(name)) continue;
    const std::string line = DescribeEntry(second.root_, name);
    if (!line.empty()) note += line + "\n";
  }
  CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<wal::File> file,
                         fs_.Create(fmt::format("{}/{}", root_, kRestoringNote)));
  has_note_ = true;
  CAIRN_RETURN_IF_ERROR(file->Write(0, note));
  CAIRN_RETURN_IF_ERROR(file->Sync());
  CAIRN_RETURN_IF_ERROR(fs_.SyncDirectory(root_));
  base::FailPoint("server.restore.second_noted");
  return absl::OkStatus();
}

absl::Status RestoreSite::Finish() {
  CAIRN_RETURN_IF_ERROR(RemoveAll(folder()));
  CAIRN_RETURN_IF_ERROR(fs_.SyncDirectory(root_));
  base::FailPoint("server.restore.folder_removed");
  if (has_note_) {
    CAIRN_RETURN_IF_ERROR(fs_.Remove(fmt::format("{}/{}", root_, kRestoringNote)));
    CAIRN_RETURN_IF_ERROR(fs_.SyncDirectory(root_));
  }
  // Of the directories that were made, each has its entry in the one around it.
  for (const std::string& made : made_) {
    CAIRN_RETURN_IF_ERROR(fs_.SyncDirectory(std::filesystem::path(made).parent_path().string()));
  }
  base::FailPoint("server.restore.finished");
  return absl::OkStatus();
}

}  // namespace cairn::server
