#include "wal/posix_fs.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/status.h"

namespace cairn::wal {

namespace {

constexpr mode_t kDirectoryMode = 0700;
constexpr mode_t kFileMode = 0600;

absl::StatusCode CodeOf(int error) {
  switch (error) {
    case ENOENT:
      return absl::StatusCode::kNotFound;
    case EEXIST:
      return absl::StatusCode::kAlreadyExists;
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::StatusCode::kPermissionDenied;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return absl::StatusCode::kResourceExhausted;
    default:
      return absl::StatusCode::kInternal;
  }
}

// The error of the system call that just failed.
absl::Status SystemError(std::string_view path, std::string_view what) {
  const int error = errno;
  char text[128];
  return base::Error(CodeOf(error), "{}: cannot {}: {}", path, what,
                     strerror_r(error, text, sizeof text));
}

// Repeats a call that a signal interrupted.
template <typename Call>
auto Retry(const Call& call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

// An open descriptor, closed at the end.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }

  int get() const { return fd_; }

 private:
  int fd_;
};

absl::StatusOr<Descriptor> OpenDescriptor(std::string_view path, int flags) {
  const std::string name(path);
  const int fd = Retry([&] { return open(name.c_str(), flags | O_CLOEXEC, kFileMode); });
  if (fd < 0) return SystemError(path, (flags & O_CREAT) != 0 ? "create" : "open");
  return Descriptor(fd);
}

class PosixFile : public File {
 public:
  PosixFile(Descriptor descriptor, std::string_view path)
      : descriptor_(std::move(descriptor)), path_(path) {}

  absl::StatusOr<size_t> Read(uint64_t offset_bytes, char* to, size_t size_bytes) const override {
    size_t done = 0;
    while (done < size_bytes) {
      const ssize_t got = Retry([&] {
        return pread(descriptor_.get(), to + done, size_bytes - done,
                     static_cast<off_t>(offset_bytes + done));
      });
      if (got < 0) return SystemError(path_, fmt::format("read at offset {}", offset_bytes + done));
      if (got == 0) break;
      done += static_cast<size_t>(got);
    }
    return done;
  }

  absl::Status Write(uint64_t offset_bytes, std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t put = Retry([&] {
        return pwrite(descriptor_.get(), bytes.data(), bytes.size(),
                      static_cast<off_t>(offset_bytes));
      });
      if (put < 0) return SystemError(path_, fmt::format("write at offset {}", offset_bytes));
      bytes.remove_prefix(static_cast<size_t>(put));
      offset_bytes += static_cast<uint64_t>(put);
    }
    return absl::OkStatus();
  }

  absl::Status Sync() override {
    if (Retry([&] { return fdatasync(descriptor_.get()); }) < 0) return SystemError(path_, "sync");
    return absl::OkStatus();
  }

  absl::StatusOr<uint64_t> SizeBytes() const override {
    struct stat status;
    if (fstat(descriptor_.get(), &status) < 0) return SystemError(path_, "tell its size");
    return static_cast<uint64_t>(status.st_size);
  }

 private:
  const Descriptor descriptor_;
  const std::string path_;
};

class PosixLock : public FileLock {
 public:
  explicit PosixLock(Descriptor descriptor) : descriptor_(std::move(descriptor)) {}

 private:
  const Descriptor descriptor_;
};

class PosixFsImpl : public Fs {
 public:
  absl::Status CreateDirectory(std::string_view path) override {
    for (size_t slash = path.find('/', 1); slash != std::string_view::npos;
         slash = path.find('/', slash + 1)) {
      CAIRN_RETURN_IF_ERROR(MakeOne(path.substr(0, slash)));
    }
    return MakeOne(path);
  }

  absl::StatusOr<std::vector<std::string>> ListDirectory(std::string_view path) override {
    DIR* directory = opendir(std::string(path).c_str());
    if (directory == nullptr) return SystemError(path, "list");
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = readdir(directory)) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
      errno = 0;
    }
    const absl::Status status = errno != 0 ? SystemError(path, "list") : absl::OkStatus();
    closedir(directory);
    CAIRN_RETURN_IF_ERROR(status);
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::Status SyncDirectory(std::string_view path) override {
    CAIRN_ASSIGN_OR_RETURN(const Descriptor directory,
                           OpenDescriptor(path, O_RDONLY | O_DIRECTORY));
    if (Retry([&] { return fsync(directory.get()); }) < 0) return SystemError(path, "sync");
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<File>> Create(std::string_view path) override {
    return Open(path, O_RDWR | O_CREAT | O_EXCL);
  }
  absl::StatusOr<std::unique_ptr<File>> OpenForWriting(std::string_view path) override {
    return Open(path, O_RDWR);
  }
  absl::StatusOr<std::unique_ptr<File>> OpenForReading(std::string_view path) override {
    return Open(path, O_RDONLY);
  }

  absl::Status Rename(std::string_view from, std::string_view to) override {
    if (std::rename(std::string(from).c_str(), std::string(to).c_str()) < 0) {
      return SystemError(from, fmt::format("rename to {}", to));
    }
    return absl::OkStatus();
  }

  absl::Status RenameNew(std::string_view from, std::string_view to) override {
    const std::string target(to);
    if (renameat2(AT_FDCWD, std::string(from).c_str(), AT_FDCWD, target.c_str(),
                  RENAME_NOREPLACE) == 0) {
      return absl::OkStatus();
    }
    // Not known to this kernel, or not to this file system.
    const bool is_unknown = errno == ENOSYS || errno == EINVAL;
    if (!is_unknown) return SystemError(from, fmt::format("rename to {}", to));
    if (access(target.c_str(), F_OK) == 0) {
      return base::Error(absl::StatusCode::kAlreadyExists, "{}: exists", to);
    }
    return Rename(from, to);
  }

  absl::Status Remove(std::string_view path) override {
    if (unlink(std::string(path).c_str()) < 0) return SystemError(path, "remove");
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<FileLock>> LockFile(std::string_view path) override {
    CAIRN_ASSIGN_OR_RETURN(Descriptor descriptor, OpenDescriptor(path, O_RDWR | O_CREAT));
    if (Retry([&] { return flock(descriptor.get(), LOCK_EX | LOCK_NB); }) < 0) {
      if (errno != EWOULDBLOCK) return SystemError(path, "lock");
      return base::Error(absl::StatusCode::kUnavailable, "{}: another process holds the lock",
                         path);
    }
    return std::make_unique<PosixLock>(std::move(descriptor));
  }

 private:
  static absl::Status MakeOne(std::string_view path) {
    if (mkdir(std::string(path).c_str(), kDirectoryMode) == 0 || errno == EEXIST) {
      return absl::OkStatus();
    }
    return SystemError(path, "create the directory");
  }

  static absl::StatusOr<std::unique_ptr<File>> Open(std::string_view path, int flags) {
    CAIRN_ASSIGN_OR_RETURN(Descriptor descriptor, OpenDescriptor(path, flags));
    return std::make_unique<PosixFile>(std::move(descriptor), path);
  }
};

}  // namespace

Fs& PosixFs() {
  static PosixFsImpl fs;
  return fs;
}

}  // namespace cairn::wal
