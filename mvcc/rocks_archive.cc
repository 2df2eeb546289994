#include "mvcc/rocks_archive.h"

#include <fcntl.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <utility>

#include "base/status.h"
#include "mvcc/rocks_backend.h"

namespace cairn::mvcc {
namespace {

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

// Where RocksDB believes the state to be.
constexpr char kDirectory[] = "/snapshot";

// The file around the state.
class Container {
 public:
  explicit Container(int fd) : fd_(fd) {}
  ~Container() { close(fd_); }
  Container(const Container&) = delete;
  Container& operator=(const Container&) = delete;

  // Reads all of `size_bytes` unless the file ends before.
  IOStatus Read(uint64_t offset_bytes, size_t size_bytes, char* to, Slice* result) const {
    size_t done = 0;
    while (done < size_bytes) {
      const ssize_t got = pread(fd_, to + done, size_bytes - done, offset_bytes + done);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return IOStatus::IOError("read", std::strerror(errno));
      if (got == 0) break;
      done += static_cast<size_t>(got);
    }
    *result = Slice(to, done);
    return IOStatus::OK();
  }

 private:
  const int fd_;
};

class Part final : public rocksdb::FSRandomAccessFile {
 public:
  Part(std::shared_ptr<const Container> container, ArchivedFile file)
      : container_(std::move(container)), file_(std::move(file)) {}

  IOStatus Read(uint64_t offset, size_t n, const IOOptions& /*options*/, Slice* result,
                char* scratch, IODebugContext* /*debug*/) const override {
    const uint64_t left = file_.size_bytes - std::min(offset, file_.size_bytes);
    return container_->Read(file_.offset_bytes + offset, std::min<uint64_t>(n, left), scratch,
                            result);
  }

 private:
  const std::shared_ptr<const Container> container_;
  const ArchivedFile file_;
};

class SequentialPart final : public rocksdb::FSSequentialFile {
 public:
  SequentialPart(std::shared_ptr<const Container> container, ArchivedFile file)
      : part_(std::move(container), std::move(file)) {}

  IOStatus Read(size_t n, const IOOptions& options, Slice* result, char* scratch,
                IODebugContext* debug) override {
    IOStatus status = part_.Read(offset_bytes_, n, options, result, scratch, debug);
    if (status.ok()) offset_bytes_ += result->size();
    return status;
  }
  IOStatus Skip(uint64_t n) override {
    offset_bytes_ += n;
    return IOStatus::OK();
  }

 private:
  const Part part_;
  uint64_t offset_bytes_ = 0;
};

class ArchiveFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  ArchiveFileSystem(int fd, const std::vector<ArchivedFile>& files)
      : FileSystemWrapper(rocksdb::FileSystem::Default()),
        container_(std::make_shared<const Container>(fd)) {
    for (const ArchivedFile& file : files) files_.emplace(file.name, file);
  }

  const char* Name() const override { return "cairn.snapshot"; }

  IOStatus NewSequentialFile(const std::string& path, const FileOptions& /*options*/,
                             std::unique_ptr<rocksdb::FSSequentialFile>* result,
                             IODebugContext* /*debug*/) override {
    const ArchivedFile* const file = Find(path);
    if (file == nullptr) return Missing(path);
    *result = std::make_unique<SequentialPart>(container_, *file);
    return IOStatus::OK();
  }
  IOStatus NewRandomAccessFile(const std::string& path, const FileOptions& /*options*/,
                               std::unique_ptr<rocksdb::FSRandomAccessFile>* result,
                               IODebugContext* /*debug*/) override {
    const ArchivedFile* const file = Find(path);
    if (file == nullptr) return Missing(path);
    *result = std::make_unique<Part>(container_, *file);
    return IOStatus::OK();
  }
  IOStatus FileExists(const std::string& path, const IOOptions& /*options*/,
                      IODebugContext* /*debug*/) override {
    // The word that RocksDB asks for here, and only here.
    return path == kDirectory || Find(path) != nullptr ? IOStatus::OK() : IOStatus::NotFound(path);
  }
  IOStatus GetChildren(const std::string& directory, const IOOptions& /*options*/,
                       std::vector<std::string>* names, IODebugContext* /*debug*/) override {
    names->clear();
    if (directory != kDirectory) return Missing(directory);
    for (const auto& [name, file] : files_) names->push_back(name);
    return IOStatus::OK();
  }
  IOStatus GetFileSize(const std::string& path, const IOOptions& /*options*/, uint64_t* size,
                       IODebugContext* /*debug*/) override {
    const ArchivedFile* const file = Find(path);
    if (file == nullptr) return Missing(path);
    *size = file->size_bytes;
    return IOStatus::OK();
  }
  IOStatus GetFileModificationTime(const std::string& /*path*/, const IOOptions& /*options*/,
                                   uint64_t* time, IODebugContext* /*debug*/) override {
    *time = 0;
    return IOStatus::OK();
  }
  IOStatus IsDirectory(const std::string& path, const IOOptions& /*options*/, bool* is_directory,
                       IODebugContext* /*debug*/) override {
    *is_directory = path == kDirectory;
    return IOStatus::OK();
  }
  IOStatus GetAbsolutePath(const std::string& path, const IOOptions& /*options*/,
                           std::string* absolute, IODebugContext* /*debug*/) override {
    *absolute = path;
    return IOStatus::OK();
  }

  // Nothing here can be written; a state that is only read asks for none of it.
  IOStatus NewWritableFile(const std::string& path, const FileOptions& /*options*/,
                           std::unique_ptr<rocksdb::FSWritableFile>* /*result*/,
                           IODebugContext* /*debug*/) override {
    return ReadOnly(path);
  }
  IOStatus CreateDir(const std::string& path, const IOOptions& /*options*/,
                     IODebugContext* /*debug*/) override {
    return ReadOnly(path);
  }
  IOStatus CreateDirIfMissing(const std::string& path, const IOOptions& /*options*/,
                              IODebugContext* /*debug*/) override {
    return ReadOnly(path);
  }
  IOStatus DeleteFile(const std::string& path, const IOOptions& /*options*/,
                      IODebugContext* /*debug*/) override {
    return ReadOnly(path);
  }
  IOStatus RenameFile(const std::string& path, const std::string& /*target*/,
                      const IOOptions& /*options*/, IODebugContext* /*debug*/) override {
    return ReadOnly(path);
  }

 private:
  const ArchivedFile* Find(const std::string& path) const {
    const std::string prefix = std::string(kDirectory) + "/";
    if (!path.starts_with(prefix)) return nullptr;
    const auto found = files_.find(path.substr(prefix.size()));
    return found == files_.end() ? nullptr : &found->second;
  }
  static IOStatus Missing(const std::string& path) {
    return IOStatus::PathNotFound(path, "not in the snapshot");
  }
  static IOStatus ReadOnly(const std::string& path) {
    return IOStatus::NotSupported(path, "a snapshot is only read");
  }

  const std::shared_ptr<const Container> container_;
  std::map<std::string, ArchivedFile> files_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> OpenRocksArchive(const std::string& path,
                                                          const std::vector<ArchivedFile>& files) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    const auto code = errno == ENOENT   ? absl::StatusCode::kNotFound
                      : errno == EACCES ? absl::StatusCode::kPermissionDenied
                                        : absl::StatusCode::kInternal;
    return base::Error(code, "{}: cannot open: {}", path, std::strerror(errno));
  }
  RocksOptions options;
  options.directory = kDirectory;
  options.env = rocksdb::NewCompositeEnv(std::make_shared<ArchiveFileSystem>(fd, files));
  absl::StatusOr<std::unique_ptr<Backend>> backend = OpenRocksBackendForReading(options);
  if (!backend.ok()) return base::Annotate(backend.status(), path);
  return backend;
}

}  // namespace cairn::mvcc
