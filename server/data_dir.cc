#include "server/data_dir.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/fail_point.h"
#include "base/status.h"
#include "server/state_home.h"
#include "wal/format.h"

namespace cairn::server {

namespace {

constexpr uint64_t kFirstState = 1;
// What may lie in a data directory; lost+found is the file system's own.
constexpr std::array<std::string_view, 4> kKnownNames = {"lock", "lost+found", "state", "wal"};

// OK also when there is nothing at `path`.
absl::Status CheckOwnerAndMode(std::string_view flag, const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return absl::OkStatus();
    return base::Error(absl::StatusCode::kFailedPrecondition, "{}: {}: {}; name another path", flag,
                       path, std::strerror(errno));
  }
  if (!S_ISDIR(info.st_mode)) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "{}: {} is not a directory; name another path", flag, path);
  }
  if (info.st_uid != geteuid()) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "{}: {} belongs to user {}, this process runs as {}; chown it, or start as "
                       "its owner",
                       flag, path, info.st_uid, geteuid());
  }
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "{}: {} can be written by others (mode {:o}); chmod 700 it", flag, path,
                       info.st_mode & 07777);
  }
  return absl::OkStatus();
}

absl::Status MakePrivate(wal::Fs& fs, std::string_view flag, const std::string& path) {
  CAIRN_RETURN_IF_ERROR(CheckOwnerAndMode(flag, path));
  if (absl::Status status = fs.CreateDirectory(path); !status.ok()) {
    return base::Error(status.code(), "{}: {}; make it for this user, or name another path", flag,
                       base::Message(status));
  }
  // Readable by others is not refused: most operators make the directory with a plain mkdir.
  if (chmod(path.c_str(), 0700) != 0) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "{}: {}: {}", flag, path,
                       std::strerror(errno));
  }
  if (access(path.c_str(), W_OK | X_OK) != 0) {
    return base::Error(absl::StatusCode::kPermissionDenied,
                       "{}: {} cannot be written: {}; is the file system read-only?", flag, path,
                       std::strerror(errno));
  }
  return absl::OkStatus();
}

// `own` is the first component of a --wal-dir that lies inside, if any.
absl::Status RefuseForeignFiles(wal::Fs& fs, const std::string& path, std::string_view own) {
  const absl::StatusOr<std::vector<std::string>> names = fs.ListDirectory(path);
  if (absl::IsNotFound(names.status())) return absl::OkStatus();
  CAIRN_RETURN_IF_ERROR(names.status());
  for (const std::string& name : *names) {
    if (std::find(kKnownNames.begin(), kKnownNames.end(), name) != kKnownNames.end() ||
        name == own) {
      continue;
    }
    if (name == "member") {
      return base::Error(absl::StatusCode::kFailedPrecondition,
                         "--data-dir: {} holds the data of an etcd member ({}/member); Cairn keeps "
                         "its data in a directory of its own",
                         path, path);
    }
    if (name == kRestoringFolder || name == kRestoringNote) {
      return base::Error(absl::StatusCode::kFailedPrecondition,
                         "--data-dir: {} holds a restore that did not end ({}/{}); run `cairnutl "
                         "snapshot restore` again, or remove the directory",
                         path, path, name);
    }
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "--data-dir: {} is not a data directory of Cairn: it holds \"{}\"; name an "
                       "empty or a new directory",
                       path, name);
  }
  return absl::OkStatus();
}

// A log that --wal-dir leaves unread would be a mistake that nobody notices.
absl::Status RefuseSecondLog(wal::Fs& fs, const std::string& root, const std::string& wal_dir) {
  const std::string inside = root + "/wal";
  std::error_code error;
  if (wal_dir.empty() || std::filesystem::equivalent(inside, wal_dir, error)) {
    return absl::OkStatus();
  }
  const absl::StatusOr<std::vector<std::string>> names = fs.ListDirectory(inside);
  // What cannot be listed is no log.
  if (!names.ok()) return absl::OkStatus();
  const auto segment = std::find_if(names->begin(), names->end(), [](std::string_view name) {
    return wal::SegmentSequence(name).has_value();
  });
  if (segment == names->end()) return absl::OkStatus();
  return base::Error(absl::StatusCode::kFailedPrecondition,
                     "--wal-dir: {} is not the only log: {} holds {}; start without the flag, or "
                     "remove the log that is not this member's",
                     wal_dir, inside, *segment);
}

// Makes the entries of `path` and of its ancestors durable, up to the first one that this user
// cannot open: that one was there long before.
absl::Status SyncWithAncestors(wal::Fs& fs, const std::string& path) {
  std::filesystem::path at(path);
  while (true) {
    const absl::Status status = fs.SyncDirectory(at.string());
    if (absl::IsPermissionDenied(status)) return absl::OkStatus();
    CAIRN_RETURN_IF_ERROR(status);
    if (at == at.parent_path()) return absl::OkStatus();
    at = at.parent_path();
  }
}

absl::StatusOr<std::unique_ptr<wal::FileLock>> TakeLock(wal::Fs& fs, std::string_view flag,
                                                        const std::string& path) {
  absl::StatusOr<std::unique_ptr<wal::FileLock>> lock = fs.LockFile(path + "/lock");
  if (absl::IsUnavailable(lock.status())) {
    return base::Error(absl::StatusCode::kUnavailable,
                       "{}: {} is in use: another process holds {}/lock; stop it, or name another "
                       "directory",
                       flag, path, path);
  }
  if (!lock.ok()) return base::Annotate(lock.status(), flag);
  return lock;
}

bool IsStateNumber(std::string_view name) {
  return !name.empty() &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// The numbers of the states beside `current`, lowest first.
absl::StatusOr<std::vector<std::string>> OtherStates(wal::Fs& fs, const std::string& states,
                                                     std::string_view current) {
  CAIRN_ASSIGN_OR_RETURN(std::vector<std::string> names, fs.ListDirectory(states));
  std::erase_if(names,
                [&](std::string_view name) { return !IsStateNumber(name) || name == current; });
  std::sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
    return std::pair(a.size(), a) < std::pair(b.size(), b);
  });
  return names;
}

// The pointer is there before anything else is, so states without it, or without the one it names,
// are somebody's mistake; removing them would make it final. Which of several is the member's only
// its log can tell.
absl::Status RefuseLostState(wal::Fs& fs, const std::string& states, std::string_view missing,
                             const std::vector<std::string>& others) {
  std::vector<std::string> filled;
  for (const std::string& name : others) {
    CAIRN_ASSIGN_OR_RETURN(const std::vector<std::string> files,
                           fs.ListDirectory(fmt::format("{}/{}", states, name)));
    if (!files.empty()) filled.push_back(name);
  }
  if (filled.empty()) return absl::OkStatus();
  return base::Error(
      absl::StatusCode::kFailedPrecondition,
      "--data-dir: {0}/{1} is missing, but there is a state in {0}/{2}; restore "
      "what is missing, or write into {0}/{3} the number, and a line end, of the one "
      "for which `cairnutl raft-state {0}/NUMBER --wal-dir=...` shows what it has "
      "applied and exits with 0",
      states, missing, fmt::join(filled, fmt::format(" and in {}/", states)), kStatePointer);
}

absl::Status Remove(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) {
    return base::Error(absl::StatusCode::kInternal, "--data-dir: {}: remove: {}", path,
                       error.message());
  }
  base::FailPoint("server.state.leftover_removed");
  return absl::OkStatus();
}

// Whether the directory may be a state: RocksDB's manifest is there, which comes behind the tables.
absl::StatusOr<bool> HasManifest(wal::Fs& fs, const std::string& path) {
  CAIRN_ASSIGN_OR_RETURN(const std::vector<std::string> names, fs.ListDirectory(path));
  return std::any_of(names.begin(), names.end(),
                     [](std::string_view name) { return name.starts_with("MANIFEST-"); });
}

// Copies for other members, and a pointer that was never put in place.
absl::Status RemoveLeftovers(wal::Fs& fs, const std::string& states) {
  CAIRN_ASSIGN_OR_RETURN(const std::vector<std::string> names, fs.ListDirectory(states));
  for (const std::string& name : names) {
    if (name == fmt::format("{}.new", kStatePointer) || name.starts_with(kCheckpointPrefix)) {
      CAIRN_RETURN_IF_ERROR(Remove(fmt::format("{}/{}", states, name)));
    }
  }
  return absl::OkStatus();
}

// Which state counts; a directory without any begins with the first.
absl::StatusOr<uint64_t> CurrentState(wal::Fs& fs, const std::string& states) {
  absl::StatusOr<uint64_t> current = ReadStatePointer(fs, states);
  if (!absl::IsNotFound(current.status())) return current;
  CAIRN_ASSIGN_OR_RETURN(const std::vector<std::string> others, OtherStates(fs, states, {}));
  CAIRN_RETURN_IF_ERROR(RefuseLostState(fs, states, kStatePointer, others));
  CAIRN_RETURN_IF_ERROR(PrepareStatePointer(fs, states, kFirstState));
  CAIRN_RETURN_IF_ERROR(SwitchStatePointer(fs, states));
  return kFirstState;
}

}  // namespace

std::string_view ComponentBelow(std::string_view root, std::string_view path) {
  if (path.size() <= root.size() || !path.starts_with(root) || path[root.size()] != '/') return {};
  const std::string_view rest = path.substr(root.size() + 1);
  return rest.substr(0, rest.find('/'));
}

absl::StatusOr<DataDir> DataDir::Open(wal::Fs& fs, const Config& config) {
  const std::string& root = config.data_dir;
  CAIRN_RETURN_IF_ERROR(CheckOwnerAndMode("--data-dir", root));
  CAIRN_RETURN_IF_ERROR(RefuseForeignFiles(fs, root, ComponentBelow(root, config.wal_dir)));
  const std::string_view wal_flag = config.wal_dir.empty() ? "--data-dir" : "--wal-dir";
  const std::string wal_path = config.wal_dir.empty() ? root + "/wal" : config.wal_dir;
  CAIRN_RETURN_IF_ERROR(RefuseSecondLog(fs, root, config.wal_dir));
  // Nothing is made for a member that could not begin.
  if (absl::IsNotFound(fs.ListDirectory(wal_path).status())) {
    CAIRN_RETURN_IF_ERROR(FindSelf(config).status());
  }
  CAIRN_RETURN_IF_ERROR(MakePrivate(fs, "--data-dir", root));
  DataDir directory;
  CAIRN_ASSIGN_OR_RETURN(directory.lock_, TakeLock(fs, "--data-dir", root));

  directory.wal_path_ = wal_path;
  CAIRN_RETURN_IF_ERROR(MakePrivate(fs, wal_flag, directory.wal_path_));
  CAIRN_ASSIGN_OR_RETURN(directory.wal_lock_, TakeLock(fs, wal_flag, directory.wal_path_));
  const std::string states = root + "/state";
  CAIRN_RETURN_IF_ERROR(MakePrivate(fs, "--data-dir", states));
  directory.states_path_ = states;
  CAIRN_ASSIGN_OR_RETURN(directory.current_state_, CurrentState(fs, states));
  const std::string current = std::to_string(directory.current_state_);
  CAIRN_RETURN_IF_ERROR(MakePrivate(fs, "--data-dir", directory.state_path()));
  CAIRN_ASSIGN_OR_RETURN(const std::vector<std::string> state_files,
                         fs.ListDirectory(directory.state_path()));
  directory.has_state_ = !state_files.empty();
  CAIRN_ASSIGN_OR_RETURN(const std::vector<std::string> others, OtherStates(fs, states, current));
  if (!directory.has_state_) {
    CAIRN_RETURN_IF_ERROR(RefuseLostState(fs, states, current, others));
  }
  for (const std::string& name : others) {
    std::string path = fmt::format("{}/{}", states, name);
    CAIRN_ASSIGN_OR_RETURN(const bool is_whole, HasManifest(fs, path));
    if (is_whole) {
      directory.other_states_.push_back(std::move(path));
    } else {
      // Half of a snapshot is nobody's state, and may be what fills the disk.
      CAIRN_RETURN_IF_ERROR(Remove(path));
    }
  }
  CAIRN_RETURN_IF_ERROR(RemoveLeftovers(fs, states));
  CAIRN_RETURN_IF_ERROR(fs.SyncDirectory(states));
  CAIRN_RETURN_IF_ERROR(SyncWithAncestors(fs, root));
  CAIRN_RETURN_IF_ERROR(SyncWithAncestors(fs, directory.wal_path_));
  return directory;
}

absl::Status DataDir::RemoveOtherStates(wal::Fs& fs) {
  if (other_states_.empty()) return absl::OkStatus();
  for (const std::string& path : other_states_) CAIRN_RETURN_IF_ERROR(Remove(path));
  other_states_.clear();
  return fs.SyncDirectory(states_path_);
}

}  // namespace cairn::server
