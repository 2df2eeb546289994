// A saved snapshot, read back: opened, judged byte by byte, its files handed on.
//
// For the offline tools. Strict: what the writer would not have written, byte for byte, is refused
// with file, offset and remedy, and names are plain before they are used. Memory is bounded by the
// manifest. One thread at a time; the file must not change meanwhile.
#ifndef CAIRN_SERVER_SNAPSHOT_ARCHIVE_READER_H_
#define CAIRN_SERVER_SNAPSHOT_ARCHIVE_READER_H_

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "api/snapshot.pb.h"
#include "server/snapshot/archive.h"
#include "wal/fs.h"

namespace cairn::server {

// Whether the digest at the end must be there and right. A snapshot whose end was cut off together
// with it cannot be told from a whole one by its size, only by its layout.
enum class Digest : bool { kSkip, kCheck };

// Where the files of the state go as they are read, each byte once. Calls follow the archive.
class ArchiveSink {
 public:
  virtual ~ArchiveSink() = default;

  virtual absl::Status BeginFile(const SnapshotFile& file) = 0;
  virtual absl::Status Take(std::string_view bytes) = 0;
  virtual absl::Status EndFile() = 0;
};

class ArchiveReader {
 public:
  // Reads the manifest, every header, the checksums and the size of the file; not the files of the
  // state. `fs` outlives this object. NOT_FOUND and the like when it cannot be opened; DATA_LOSS
  // for what is cut, altered or no snapshot of ours; UNIMPLEMENTED for a newer format.
  static absl::StatusOr<std::unique_ptr<ArchiveReader>> Open(wal::Fs& fs, std::string path,
                                                             Digest digest);

  // Reads everything and compares every checksum, and the digest if it was asked for; `sink` may be
  // null. DATA_LOSS names where; CANCELLED soon after `is_stopping` says so. What the sink got is
  // not to be used after an error.
  absl::Status ReadAll(ArchiveSink* sink, absl::FunctionRef<bool()> is_stopping);

  const snapshot::Manifest& manifest() const { return manifest_; }
  // The entries of the state's files.
  std::span<const ArchiveEntry> files() const {
    return std::span(layout_.entries).subspan(1, layout_.entries.size() - 2);
  }
  // Without the digest.
  uint64_t size_bytes() const { return layout_.size_bytes; }
  // Of everything but itself, in binary; known after ReadAll.
  const std::string& digest() const { return digest_; }

 private:
  ArchiveReader(wal::Fs& fs, std::string path, Digest digest)
      : fs_(fs), path_(std::move(path)), wanted_(digest) {}

  absl::Status OpenFile();
  absl::Status CheckSize() const;
  absl::Status ReadManifest();
  absl::Status CheckHeaders() const;
  absl::Status ReadChecksums();
  absl::Status CheckPadding() const;
  absl::Status ReadExactly(uint64_t offset, size_t size_bytes, std::string& to) const;
  absl::Status CompareDigest() const;
  absl::Status Damaged(uint64_t offset, std::string_view what) const;

  class Pass;

  wal::Fs& fs_;
  const std::string path_;
  const Digest wanted_;
  std::unique_ptr<wal::File> file_;
  uint64_t file_bytes_ = 0;
  snapshot::Manifest manifest_;
  std::vector<SnapshotFile> described_;
  ArchiveLayout layout_;
  std::string digest_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SNAPSHOT_ARCHIVE_READER_H_
