// A disk that is full at one operation, which may be any: the file system of this machine, which
// fails one call that changes something.
//
// Test only. One thread.
#ifndef CAIRN_SERVER_SNAPSHOT_FAILING_FS_H_
#define CAIRN_SERVER_SNAPSHOT_FAILING_FS_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "wal/fs.h"
#include "wal/posix_fs.h"

namespace cairn::server {

class FailingFs final : public wal::Fs {
 public:
  explicit FailingFs(int at) : left_(at) {}
  bool has_failed() const { return left_ < 0; }

  absl::Status CreateDirectory(std::string_view path) override {
    CAIRN_RETURN_IF_ERROR(Enter(path));
    return base().CreateDirectory(path);
  }
  absl::StatusOr<std::vector<std::string>> ListDirectory(std::string_view path) override {
    return base().ListDirectory(path);
  }
  absl::Status SyncDirectory(std::string_view path) override {
    CAIRN_RETURN_IF_ERROR(Enter(path));
    return base().SyncDirectory(path);
  }
  absl::StatusOr<std::unique_ptr<wal::File>> Create(std::string_view path) override {
    CAIRN_RETURN_IF_ERROR(Enter(path));
    return Wrap(path, base().Create(path));
  }
  absl::StatusOr<std::unique_ptr<wal::File>> OpenForWriting(std::string_view path) override {
    return Wrap(path, base().OpenForWriting(path));
  }
  absl::StatusOr<std::unique_ptr<wal::File>> OpenForReading(std::string_view path) override {
    return base().OpenForReading(path);
  }
  absl::Status Rename(std::string_view from, std::string_view to) override {
    CAIRN_RETURN_IF_ERROR(Enter(from));
    return base().Rename(from, to);
  }
  absl::Status RenameNew(std::string_view from, std::string_view to) override {
    CAIRN_RETURN_IF_ERROR(Enter(from));
    return base().RenameNew(from, to);
  }
  absl::Status Remove(std::string_view path) override {
    CAIRN_RETURN_IF_ERROR(Enter(path));
    return base().Remove(path);
  }
  absl::StatusOr<std::unique_ptr<wal::FileLock>> LockFile(std::string_view path) override {
    CAIRN_RETURN_IF_ERROR(Enter(path));
    return base().LockFile(path);
  }

 private:
  class FailingFile final : public wal::File {
   public:
    FailingFile(FailingFs& fs, std::string path, std::unique_ptr<wal::File> file)
        : fs_(fs), path_(std::move(path)), file_(std::move(file)) {}
    absl::StatusOr<size_t> Read(uint64_t offset, char* to, size_t size) const override {
      return file_->Read(offset, to, size);
    }
    absl::Status Write(uint64_t offset, std::string_view bytes) override {
      CAIRN_RETURN_IF_ERROR(fs_.Enter(path_));
      return file_->Write(offset, bytes);
    }
    absl::Status Sync() override {
      CAIRN_RETURN_IF_ERROR(fs_.Enter(path_));
      return file_->Sync();
    }
    absl::StatusOr<uint64_t> SizeBytes() const override { return file_->SizeBytes(); }

   private:
    FailingFs& fs_;
    const std::string path_;
    const std::unique_ptr<wal::File> file_;
  };

  static wal::Fs& base() { return wal::PosixFs(); }
  absl::Status Enter(std::string_view path) {
    if (left_ < 0 || left_-- > 0) return absl::OkStatus();
    return base::Error(absl::StatusCode::kResourceExhausted, "{}: no space left", path);
  }
  absl::StatusOr<std::unique_ptr<wal::File>> Wrap(std::string_view path,
                                                  absl::StatusOr<std::unique_ptr<wal::File>> file) {
    CAIRN_RETURN_IF_ERROR(file.status());
    return std::make_unique<FailingFile>(*this, std::string(path), *std::move(file));
  }

  int left_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SNAPSHOT_FAILING_FS_H_
