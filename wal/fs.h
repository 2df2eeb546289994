// The one door to the file system.
//
// The log (and whoever else must survive a power cut) sees files only through Fs and File, so that
// a test can put a disk behind them that loses, tears and refuses. posix_fs.h is the real one,
// fault_fs.h the one in memory. Every error is a Status that names the path: kNotFound,
// kAlreadyExists, kPermissionDenied, kResourceExhausted (the disk or the quota is full),
// kUnavailable (a lock that another process holds), kInternal (EIO and everything else).
// Nothing here retries: after a failed write or sync the state of the disk is unknown, and the
// caller must stop.
#ifndef CAIRN_WAL_FS_H_
#define CAIRN_WAL_FS_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::wal {

// The unit that a disk writes whole or not at all (FORMAT.md, assumptions).
inline constexpr size_t kSectorBytes = 512;

// An open file. Positional, so reads may run on any thread beside one writer. Stays readable after
// the file was removed from its directory. Closed by the destructor.
class File {
 public:
  virtual ~File() = default;

  // Reads up to `size_bytes` at `offset_bytes`; returns how many, fewer only at the end of the
  // file.
  virtual absl::StatusOr<size_t> Read(uint64_t offset_bytes, char* to, size_t size_bytes) const = 0;
  // Writes all of `bytes`, or fails: then any part of it may have been written.
  virtual absl::Status Write(uint64_t offset_bytes, std::string_view bytes) = 0;
  // Returns when everything written so far is on the disk (fdatasync). A failure is final: a later
  // success would prove nothing, because the kernel forgets the pages that it could not write.
  virtual absl::Status Sync() = 0;
  virtual absl::StatusOr<uint64_t> SizeBytes() const = 0;
};

// Held as long as the object lives.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

class Fs {
 public:
  virtual ~Fs() = default;

  // Makes the directory and its missing parents, mode 0700. OK when it exists. The entry is durable
  // only after SyncDirectory on the parent.
  virtual absl::Status CreateDirectory(std::string_view path) = 0;
  // Names of everything in the directory, sorted, without "." and "..".
  virtual absl::StatusOr<std::vector<std::string>> ListDirectory(std::string_view path) = 0;
  // Makes creations, renames and removals in the directory durable.
  virtual absl::Status SyncDirectory(std::string_view path) = 0;

  // A new empty file, mode 0600, open for reading and writing; kAlreadyExists when there is one.
  virtual absl::StatusOr<std::unique_ptr<File>> Create(std::string_view path) = 0;
  virtual absl::StatusOr<std::unique_ptr<File>> OpenForWriting(std::string_view path) = 0;
  virtual absl::StatusOr<std::unique_ptr<File>> OpenForReading(std::string_view path) = 0;
  // Replaces `to` if it exists.
  virtual absl::Status Rename(std::string_view from, std::string_view to) = 0;
  // kAlreadyExists, and nothing done, if there is a `to`. Not atomic against another process where
  // the file system has no such call; the directory's lock keeps those out.
  virtual absl::Status RenameNew(std::string_view from, std::string_view to) = 0;
  virtual absl::Status Remove(std::string_view path) = 0;

  // Creates the file if need be and locks it against every other process (and against a second call
  // in this one). kUnavailable when somebody holds it.
  virtual absl::StatusOr<std::unique_ptr<FileLock>> LockFile(std::string_view path) = 0;
};

}  // namespace cairn::wal

#endif  // CAIRN_WAL_FS_H_
