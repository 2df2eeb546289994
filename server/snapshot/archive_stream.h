// A snapshot on its way out, as one stream of bytes: headers and files of a copy, in order.
//
// Reads each file once, computes its checksum on the way, and ends with the table of them. One
// thread at a time; reading waits for the disk. Holds one open file.
#ifndef CAIRN_SERVER_SNAPSHOT_ARCHIVE_STREAM_H_
#define CAIRN_SERVER_SNAPSHOT_ARCHIVE_STREAM_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/snapshot.pb.h"
#include "server/snapshot/archive.h"
#include "server/snapshot/files.h"
#include "wal/fs.h"

namespace cairn::server {

class ArchiveStream {
 public:
  // The files of `directory` that `manifest` names, which must stay as they are. `fs` outlives this
  // object. INVALID_ARGUMENT when the files have no names for an archive.
  static absl::StatusOr<std::unique_ptr<ArchiveStream>> Begin(wal::Fs& fs, std::string directory,
                                                              const snapshot::Manifest& manifest);

  // Puts the next bytes at `to`: `size_bytes` of them, or what is left. DATA_LOSS when a file is
  // not there, cannot be read or is not as long as it was; the stream is of no use then.
  absl::StatusOr<size_t> Read(char* to, size_t size_bytes);

  uint64_t left_bytes() const { return layout_.size_bytes - position_; }

 private:
  ArchiveStream(wal::Fs& fs, std::string directory, std::string manifest,
                std::vector<SnapshotFile> files, ArchiveLayout layout);

  // As many bytes as stand together at the position, at least one.
  absl::StatusOr<size_t> ReadSome(char* to, size_t size_bytes);
  absl::StatusOr<size_t> ReadFile(size_t file, uint64_t offset, char* to, size_t size_bytes);
  absl::Status OpenFile(size_t file);
  std::string PathOf(size_t file) const;
  absl::Status Broken(size_t file, std::string_view what) const;

  wal::Fs& fs_;
  const std::string directory_;
  const std::string manifest_;
  std::vector<SnapshotFile> files_;
  const ArchiveLayout layout_;
  uint64_t position_ = 0;
  // Index in layout_.entries of the one that the position is in or before.
  size_t entry_ = 0;
  std::unique_ptr<wal::File> file_;
  // The content of the last entry, once all files have been read.
  std::string checksums_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SNAPSHOT_ARCHIVE_STREAM_H_
