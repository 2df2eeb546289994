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
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "wal/fault_disk.h"
#include "wal/fs.h"

namespace cairn::wal {

enum class FaultOperation : uint8_t {
  kCreate,
  kRead,
  kWrite,
  kSync,
  kRename,
  kRemove,
  kSyncDirectory,
  kOpen,
};

// A call that changes something, as an observer sees it.
struct FaultStep {
  FaultOperation operation;
  std::string_view path;
  std::string_view to;        // kRename.
  uint64_t offset_bytes = 0;  // kWrite, with the bytes.
  std::string_view bytes;
};

class FaultFs : public Fs {
 public:
  FaultFs() = default;
  // A machine that comes up with this disk; with what is unsynced there it is one that was not
  // without power, where only the processes died.
  explicit FaultFs(FaultDisk disk) : disk_(std::move(disk)) {}

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
  // Called before each of them takes effect, with the disk as it is: a point at which the power can
  // fail. On the calling thread, while every other call waits; it must not call this object. None
  // once the power is off, nor for a call that fails on cue.
  using StepObserver = std::function<void(const FaultStep& step, const FaultDisk& before)>;
  void set_step_observer(StepObserver observer);
  FaultDisk disk() const;

  // What the disk holds after a power cut, chosen by `seed`; power is on again. Open files are
  // dead.
  void Crash(uint64_t seed);
  // The same, with effect i of disk().Unsynced() kept if kept[i].
  void CrashKeeping(const std::vector<bool>& kept);
  // And with none kept.
  void CrashKeepingNothing();
  // What a killed process leaves: everything that was written. Open files are dead.
  void Restart();

  // Lets `after` calls of `operation` pass and fails the next one with `code`.
  void FailOnce(FaultOperation operation, absl::StatusCode code, uint64_t after = 0);
  // Whether there is one that has not struck yet.
  bool has_fault() const;
  // Files together hold no more than this; kResourceExhausted beyond it.
  void set_capacity_bytes(uint64_t bytes);

  // The content of a file as a reader sees it; empty when there is none.
  std::string Content(std::string_view path) const;
  std::map<std::string, std::string> Contents() const;  // Of all of them, by path.
  bool Exists(std::string_view path) const;
  // Replaces a file's content, on the disk too.
  void SetContent(std::string_view path, std::string content);
  void FlipBit(std::string_view path, uint64_t offset_bytes, int bit);
  // Every read of the file that touches this byte fails from now on.
  void SpoilByte(std::string_view path, uint64_t offset_bytes);
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

  using Node = FaultDisk::Node;
  using Change = FaultDisk::Change;
  using Directory = FaultDisk::Directory;

  // Counts a call; an error when it must fail.
  absl::Status Enter(const FaultStep& step) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
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
  // The name that the node of an open file has now, which was opened as `path`.
  std::string NameNow(const Node& node, std::string_view path) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ComeBack() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  struct Fault {
    absl::StatusCode code;
    uint64_t after = 0;
  };

  mutable base::Mutex mutex_;
  FaultDisk disk_ ABSL_GUARDED_BY(mutex_);
  StepObserver step_observer_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string, std::less<>> locks_ ABSL_GUARDED_BY(mutex_);
  std::map<FaultOperation, Fault> faults_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::set<uint64_t>, std::less<>> spoiled_ ABSL_GUARDED_BY(mutex_);
  uint64_t capacity_bytes_ ABSL_GUARDED_BY(mutex_) = std::numeric_limits<uint64_t>::max();
  uint64_t operations_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t power_off_at_ ABSL_GUARDED_BY(mutex_) = std::numeric_limits<uint64_t>::max();
  // Open files of an earlier one are dead.
  uint64_t generation_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace cairn::wal

#endif  // CAIRN_WAL_FAULT_FS_H_
