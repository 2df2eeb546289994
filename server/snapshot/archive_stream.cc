#include "server/snapshot/archive_stream.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/crc32c.h"
#include "base/status.h"

namespace cairn::server {

absl::StatusOr<std::unique_ptr<ArchiveStream>> ArchiveStream::Begin(
    wal::Fs& fs, std::string directory, const snapshot::Manifest& manifest) {
  std::vector<SnapshotFile> files = FilesOf(manifest);
  CAIRN_RETURN_IF_ERROR(CheckFiles(files));
  std::string json = EncodeManifest(manifest);
  CAIRN_ASSIGN_OR_RETURN(ArchiveLayout layout, LayOut(json.size(), files));
  return std::unique_ptr<ArchiveStream>(new ArchiveStream(fs, std::move(directory), std::move(json),
                                                          std::move(files), std::move(layout)));
}

ArchiveStream::ArchiveStream(wal::Fs& fs, std::string directory, std::string manifest,
                             std::vector<SnapshotFile> files, ArchiveLayout layout)
    : fs_(fs),
      directory_(std::move(directory)),
      manifest_(std::move(manifest)),
      files_(std::move(files)),
      layout_(std::move(layout)) {}

absl::StatusOr<size_t> ArchiveStream::Read(char* to, size_t size_bytes) {
  size_t done = 0;
  while (done < size_bytes && left_bytes() > 0) {
    CAIRN_ASSIGN_OR_RETURN(const size_t size, ReadSome(to + done, size_bytes - done));
    done += size;
    position_ += size;
    while (entry_ < layout_.entries.size() && position_ >= layout_.entries[entry_].padded_end()) {
      ++entry_;
    }
  }
  return done;
}

absl::StatusOr<size_t> ArchiveStream::ReadSome(char* to, size_t size_bytes) {
  const auto copy = [&](std::string_view from, uint64_t offset) {
    const std::string_view part = from.substr(offset, size_bytes);
    std::copy(part.begin(), part.end(), to);
    return part.size();
  };
  const auto fill = [&](uint64_t until) {
    const size_t size = std::min<uint64_t>(size_bytes, until - position_);
    std::fill_n(to, size, '\0');
    return size;
  };
  if (entry_ == layout_.entries.size()) return fill(layout_.size_bytes);
  const ArchiveEntry& entry = layout_.entries[entry_];
  if (position_ < entry.offset) {
    return copy(EncodeHeader(entry.name, entry.size_bytes), position_ - entry.header_offset);
  }
  if (position_ >= entry.end()) return fill(entry.padded_end());
  const uint64_t offset = position_ - entry.offset;
  if (entry_ == 0) return copy(manifest_, offset);
  if (entry_ <= files_.size()) return ReadFile(entry_ - 1, offset, to, size_bytes);
  if (checksums_.empty()) checksums_ = EncodeChecksums(files_);
  return copy(checksums_, offset);
}

absl::StatusOr<size_t> ArchiveStream::ReadFile(size_t file, uint64_t offset, char* to,
                                               size_t size_bytes) {
  SnapshotFile& described = files_[file];
  if (offset == 0) CAIRN_RETURN_IF_ERROR(OpenFile(file));
  const size_t wanted = std::min<uint64_t>(size_bytes, described.size_bytes - offset);
  const absl::StatusOr<size_t> size = file_->Read(offset, to, wanted);
  if (!size.ok()) return Broken(file, base::Message(size.status()));
  if (*size < wanted) return Broken(file, fmt::format("it ends at offset {}", offset + *size));
  described.checksum = base::ExtendCrc32c(described.checksum, {to, wanted});
  return wanted;
}

absl::Status ArchiveStream::OpenFile(size_t file) {
  absl::StatusOr<std::unique_ptr<wal::File>> opened = fs_.OpenForReading(PathOf(file));
  if (!opened.ok()) return Broken(file, base::Message(opened.status()));
  file_ = *std::move(opened);
  const absl::StatusOr<uint64_t> size = file_->SizeBytes();
  if (!size.ok()) return Broken(file, base::Message(size.status()));
  if (*size == files_[file].size_bytes) return absl::OkStatus();
  return Broken(file, fmt::format("it has {} bytes now", *size));
}

std::string ArchiveStream::PathOf(size_t file) const {
  return fmt::format("{}/{}", directory_, files_[file].name);
}

absl::Status ArchiveStream::Broken(size_t file, std::string_view what) const {
  return base::Error(absl::StatusCode::kDataLoss,
                     "the snapshot's file {} of {} bytes cannot be read: {}; nothing that was "
                     "received is a snapshot, save it again or from another member",
                     PathOf(file), files_[file].size_bytes, what);
}

}  // namespace cairn::server
