#include "server/snapshot/restore_site.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/fail_point.h"
#include "base/status.h"
#include "server/data_dir.h"

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

bool IsInterrupted(const std::vector<std::string>& names) {
  return std::find(names.begin(), names.end(), kRestoringFolder) != names.end();
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

absl::Status RestoreSite::Check(wal::Fs& fs, std::string_view flag, const std::string& root) {
  CAIRN_ASSIGN_OR_RETURN(std::vector<std::string> names, Contents(fs, flag, root));
  if (IsInterrupted(names)) return absl::OkStatus();
  // A lock alone is what a server leaves that was refused.
  std::erase(names, kLockName);
  if (names.empty()) return absl::OkStatus();
  return base::Error(absl::StatusCode::kFailedPrecondition,
                     "{}: {} is not empty, it holds \"{}\"; name a new or an empty directory, or "
                     "remove this one if nobody needs it",
                     flag, root, names.front());
}

absl::StatusOr<std::unique_ptr<RestoreSite>> RestoreSite::Begin(wal::Fs& fs, std::string_view flag,
                                                                const std::string& root) {
  std::unique_ptr<RestoreSite> site(new RestoreSite(fs, root));
  site->made_ = MissingDirectories(root);
  if (absl::Status made = fs.CreateDirectory(root); !made.ok()) return base::Annotate(made, flag);
  absl::StatusOr<std::unique_ptr<wal::FileLock>> lock =
      fs.LockFile(fmt::format("{}/{}", root, kLockName));
  if (absl::IsUnavailable(lock.status())) {
    return base::Error(absl::StatusCode::kUnavailable,
                       "{}: {} is in use: another process holds {}/{}; name another directory",
                       flag, root, root, kLockName);
  }
  if (!lock.ok()) return base::Annotate(lock.status(), flag);
  site->lock_ = *std::move(lock);
  // With the lock held nobody else's can come into being.
  CAIRN_RETURN_IF_ERROR(Check(fs, flag, root));
  site->is_owned_ = true;
  CAIRN_ASSIGN_OR_RETURN(const std::vector<std::string> names, Contents(fs, flag, root));
  // The folder itself is the last to go: until then it says whose the rest is.
  for (const std::string& name : names) {
    if (name == kRestoringFolder || name == kLockName) continue;
    CAIRN_RETURN_IF_ERROR(RemoveAll(fmt::format("{}/{}", root, name)));
  }
  CAIRN_RETURN_IF_ERROR(RemoveAll(site->folder()));
  CAIRN_RETURN_IF_ERROR(fs.CreateDirectory(site->folder()));
  CAIRN_RETURN_IF_ERROR(fs.SyncDirectory(root));
  return site;
}

RestoreSite::~RestoreSite() {
  if (is_kept_) return;
  if (is_owned_) {
    // The folder is tried last: what cannot be removed is still marked by it.
    const absl::StatusOr<std::vector<std::string>> names = Contents(fs_, "", root_);
    for (const std::string& name : names.value_or(std::vector<std::string>())) {
      if (name != kRestoringFolder) RemoveAll(fmt::format("{}/{}", root_, name)).IgnoreError();
    }
    RemoveAll(folder()).IgnoreError();
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

absl::Status RestoreSite::Finish() {
  CAIRN_RETURN_IF_ERROR(RemoveAll(folder()));
  CAIRN_RETURN_IF_ERROR(fs_.SyncDirectory(root_));
  // Of the directories that were made, each has its entry in the one around it.
  for (const std::string& made : made_) {
    CAIRN_RETURN_IF_ERROR(fs_.SyncDirectory(std::filesystem::path(made).parent_path().string()));
  }
  base::FailPoint("server.restore.finished");
  return absl::OkStatus();
}

}  // namespace cairn::server
