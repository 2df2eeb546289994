// A snapshot that is arriving: which bytes are there, and where the next ones go.
//
// Owned by the receiver (receiver.h), one thread. Bytes come in order only; whoever sends others is
// told where to go on. What is written here counts for nothing until all of it was verified.
#ifndef CAIRN_SERVER_SNAPSHOT_INCOMING_H_
#define CAIRN_SERVER_SNAPSHOT_INCOMING_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/snapshot/files.h"
#include "wal/fs.h"

namespace cairn::server {

// Everything of the files before `file`, and of it everything before the offset. Of a whole
// snapshot: the number of files, and 0.
struct SnapshotPosition {
  size_t file = 0;
  uint64_t offset_bytes = 0;

  friend bool operator==(const SnapshotPosition&, const SnapshotPosition&) = default;
};

class IncomingSnapshot {
 public:
  // Makes `directory`, which must not exist, for `files` (CheckFiles).
  static absl::StatusOr<std::unique_ptr<IncomingSnapshot>> Begin(wal::Fs& fs, std::string directory,
                                                                 std::vector<SnapshotFile> files);

  SnapshotPosition position() const { return position_; }
  bool is_complete() const { return position_.file == files_.size(); }
  const std::vector<SnapshotFile>& files() const { return files_; }
  uint64_t size_bytes() const { return size_bytes_; }

  // Writes `data` at position(). INVALID_ARGUMENT when it exceeds the file; an error of the file
  // system leaves this of no use.
  absl::Status Take(std::string_view data);

 private:
  IncomingSnapshot(wal::Fs& fs, std::string directory, std::vector<SnapshotFile> files)
      : fs_(fs), directory_(std::move(directory)), files_(std::move(files)) {}

  // Makes the file at position_, and those after it as long as they are empty.
  absl::Status OpenNext();

  wal::Fs& fs_;
  const std::string directory_;
  const std::vector<SnapshotFile> files_;
  uint64_t size_bytes_ = 0;
  SnapshotPosition position_;
  std::unique_ptr<wal::File> file_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SNAPSHOT_INCOMING_H_
