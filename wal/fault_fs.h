// A disk in memory that fails on cue. For tests.
//
// Faults are only what the log promises to survive: a power cut keeps any subset of the 512-byte
// sectors written since the last sync of their file, and any subset, in order, of each directory's
// changes since its last sync (a rename happens whole or not). Outside that promise, and to be
// refused cleanly: flipped bits and truncated files. A failed sync forgets, as kernels do, which
// sectors were dirty: they read back as written and are lost at the power cut.
// Safe to use from several threads. Directories are durable at once; their entries are not.
#ifndef CAIRN_WAL_FAULT_FS_H_
#define CAIRN_WAL_FAULT_FS_H_

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "wal/fs.h"

namespace cairn::wal {

enum class FaultOperation : uint8_t {
  kCreate,
  kRead,
  kWrite,
  kSync,
  kRename,
  kRemove,
  kSyncDirectory
};

class FaultFs : public Fs {
 public:
  FaultFs() = default;

  // Fs.
  absl::Status CreateDirectory(std::string_view path) override;
  absl::StatusOr<std::vector<std::string>> ListDirectory(std::string_view path) override;
  absl::Status SyncDirectory(std::string_view path) override;
  absl::StatusOr<std::unique_ptr<File>> Create(std::string_view path) override;
  absl::StatusOr<std::unique_ptr<File>> OpenForWriting(std::string_view path) override;
  absl::StatusOr<std::unique_ptr<File>> OpenForReading(std::string_view path) override;
  absl::Status Rename(std::string_view from, std::string_view to) override;
  absl::Status RenameNew(std::string_view from, std::string_view to) override;
  absl::Status Remove(std::string_view path) override;
  absl::StatusOr<std::unique_ptr<FileLock>> LockFile(std::string_view path) override;

  // The power fails: every later call fails and changes nothing, until Crash or Restart.
  void PowerOff();
  // The same, after `operations` more calls that change something. The one on which it happens does
  // not; a write is left half done, as any subset of its sectors at the crash.
  void PowerOffAfter(uint64_t operations);
  // Calls so far that change something.
  uint64_t operations() const;

  // What the disk holds after a power cut, chosen by `seed`; power is on again. Open files are
  // dead.
  void Crash(uint64_t seed);
  // What a killed process leaves: everything that was written. Open files are dead.
  void Restart();

  // Lets `after` calls of `operation` pass and fails the next one with `code`.
  void FailOnce(FaultOperation operation, absl::StatusCode code, uint64_t after = 0);
  // Files together hold no more than this; kResourceExhausted beyond it.
  void set_capacity_bytes(uint64_t bytes);

  // The content of a file as a reader sees it; empty when there is none.
  std::string Content(std::string_view path) const;
  bool Exists(std::string_view path) const;
  // Replaces a file's content, on the disk too.
  void SetContent(std::string_view path, std::string content);
  void FlipBit(std::string_view path, uint64_t offset_bytes, int bit);
  uint64_t used_bytes() const;
  // Where sectors begin that were written since the last sync of their file.
  struct SectorPlace {
    std::string path;
    uint64_t offset_bytes = 0;
  };
  std::vector<SectorPlace> UnsyncedSectors() const;

 private:
  friend class FaultFile;
  friend class FaultLock;

  struct Node {
    std::string now;           // What readers see.
    std::string durable;       // What is on the disk.
    std::set<uint64_t> dirty;  // Sectors of `now` that the next sync brings to the disk.
  };
  using Entries = std::map<std::string, std::shared_ptr<Node>, std::less<>>;

  // A change of a directory that is not synced yet.
  struct Change {
    std::string from;  // Empty: creation.
    std::string to;    // Empty: removal.
    std::shared_ptr<Node> node;
  };
  struct Directory {
    Entries now;
    Entries durable;
    std::vector<Change> changes;
  };

  // Counts a call; an error when it must fail.
  absl::Status Enter(FaultOperation operation, std::string_view path)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Directory* FindDirectory(std::string_view file) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status RenameLocked(std::string_view from, std::string_view to)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::shared_ptr<Node> FindNode(std::string_view file) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::unique_ptr<File>> Open(std::string_view path);
  absl::StatusOr<size_t> ReadNode(const Node& node, uint64_t generation, std::string_view path,
                                  uint64_t offset_bytes, char* to, size_t size_bytes);
  absl::Status WriteNode(Node& node, uint64_t generation, std::string_view path,
                         uint64_t offset_bytes, std::string_view bytes);
  absl::Status SyncNode(Node& node, uint64_t generation, std::string_view path);
  uint64_t UsedBytes() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static void Apply(const Change& change, Entries& entries);

  struct Fault {
    absl::StatusCode code;
    uint64_t after = 0;
  };

  mutable base::Mutex mutex_;
  std::map<std::string, Directory, std::less<>> directories_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string, std::less<>> locks_ ABSL_GUARDED_BY(mutex_);
  std::map<FaultOperation, Fault> faults_ ABSL_GUARDED_BY(mutex_);
  uint64_t capacity_bytes_ ABSL_GUARDED_BY(mutex_) = std::numeric_limits<uint64_t>::max();
  uint64_t operations_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t power_off_at_ ABSL_GUARDED_BY(mutex_) = std::numeric_limits<uint64_t>::max();
  // Open files of an earlier one are dead.
  uint64_t generation_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace cairn::wal

#endif  // CAIRN_WAL_FAULT_FS_H_
