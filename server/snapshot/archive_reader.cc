#include "server/snapshot/archive_reader.h"

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "base/coding.h"
#include "base/crc32c.h"
#include "base/status.h"
#include "server/snapshot/sha256.h"

namespace cairn::server {

namespace {

constexpr size_t kReadBytes = size_t{1} << 20;
constexpr std::string_view kRemedy =
    "save it again with `etcdctl snapshot save`, or take another copy";
// Where an etcd snapshot has the magic number of its file format, and that number.
constexpr size_t kBoltMagicOffset = 16;
constexpr uint32_t kBoltMagic = 0xED0CDAED;

bool IsZero(std::string_view bytes) {
  return bytes.find_first_not_of('\0') == std::string_view::npos;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ArchiveReader>> ArchiveReader::Open(wal::Fs& fs, std::string path,
                                                                   Digest digest) {
  std::unique_ptr<ArchiveReader> reader(new ArchiveReader(fs, std::move(path), digest));
  CAIRN_RETURN_IF_ERROR(reader->OpenFile());
  CAIRN_RETURN_IF_ERROR(reader->ReadManifest());
  CAIRN_RETURN_IF_ERROR(reader->CheckSize());
  CAIRN_RETURN_IF_ERROR(reader->CheckHeaders());
  CAIRN_RETURN_IF_ERROR(reader->ReadChecksums());
  CAIRN_RETURN_IF_ERROR(reader->CheckPadding());
  return reader;
}

absl::Status ArchiveReader::Damaged(uint64_t offset, std::string_view what) const {
  return base::Error(absl::StatusCode::kDataLoss, "snapshot {}: offset {}: {}; {}", path_, offset,
                     what, kRemedy);
}

absl::Status ArchiveReader::OpenFile() {
  absl::StatusOr<std::unique_ptr<wal::File>> opened = fs_.OpenForReading(path_);
  if (!opened.ok()) return base::Annotate(opened.status(), "snapshot");
  file_ = *std::move(opened);
  CAIRN_ASSIGN_OR_RETURN(file_bytes_, file_->SizeBytes());
  return absl::OkStatus();
}

absl::Status ArchiveReader::ReadExactly(uint64_t offset, size_t size_bytes, std::string& to) const {
  if (offset > file_bytes_ || size_bytes > file_bytes_ - offset) {
    return Damaged(file_bytes_, fmt::format("the file ends here, {} bytes too early",
                                            offset + size_bytes - file_bytes_));
  }
  to.resize(size_bytes);
  CAIRN_ASSIGN_OR_RETURN(const size_t size, file_->Read(offset, to.data(), size_bytes));
  if (size == size_bytes) return absl::OkStatus();
  return Damaged(offset + size, "the file ends here");
}

absl::Status ArchiveReader::ReadManifest() {
  std::string header;
  CAIRN_RETURN_IF_ERROR(ReadExactly(0, kArchiveBlockBytes, header));
  if (base::LoadLittle32(header.data() + kBoltMagicOffset) == kBoltMagic) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "snapshot {}: offset {}: this is a snapshot of etcd, not of Cairn; restore "
                       "it with etcdutl, and move its keys with `etcdctl make-mirror`",
                       path_, kBoltMagicOffset);
  }
  uint64_t size_bytes = 0;
  if (!DecodeHeaderSize(header, size_bytes) || size_bytes > kManifestBytesMax ||
      header != EncodeHeader(kManifestName, size_bytes)) {
    return Damaged(0, "this is not the beginning of a snapshot");
  }
  std::string json;
  CAIRN_RETURN_IF_ERROR(ReadExactly(kArchiveBlockBytes, size_bytes, json));
  absl::StatusOr<snapshot::Manifest> manifest = DecodeManifest(json);
  if (absl::IsUnimplemented(manifest.status())) {
    return base::Annotate(manifest.status(), fmt::format("snapshot {}", path_));
  }
  if (!manifest.ok()) return Damaged(kArchiveBlockBytes, base::Message(manifest.status()));
  manifest_ = *std::move(manifest);
  described_ = FilesOf(manifest_);
  absl::StatusOr<ArchiveLayout> layout = LayOut(size_bytes, described_);
  if (!layout.ok()) return Damaged(kArchiveBlockBytes, base::Message(layout.status()));
  layout_ = *std::move(layout);
  return absl::OkStatus();
}

absl::Status ArchiveReader::CheckSize() const {
  const uint64_t whole = layout_.size_bytes + kArchiveDigestBytes;
  if (file_bytes_ == whole) return absl::OkStatus();
  if (file_bytes_ == layout_.size_bytes) {
    if (wanted_ == Digest::kSkip) return absl::OkStatus();
    return Damaged(file_bytes_,
                   "the SHA-256 at the end is missing (--skip-hash-check does without it)");
  }
  return Damaged(std::min(file_bytes_, whole),
                 file_bytes_ < whole
                     ? fmt::format("the file ends here, {} bytes too early", whole - file_bytes_)
                     : fmt::format("{} bytes follow that are no part of it", file_bytes_ - whole));
}

absl::Status ArchiveReader::CheckHeaders() const {
  std::string header;
  for (const ArchiveEntry& entry : layout_.entries) {
    CAIRN_RETURN_IF_ERROR(ReadExactly(entry.header_offset, kArchiveBlockBytes, header));
    if (header != EncodeHeader(entry.name, entry.size_bytes)) {
      return Damaged(entry.header_offset, fmt::format("the header of {} was altered", entry.name));
    }
  }
  return absl::OkStatus();
}

absl::Status ArchiveReader::ReadChecksums() {
  const ArchiveEntry& entry = layout_.entries.back();
  std::string lines;
  CAIRN_RETURN_IF_ERROR(ReadExactly(entry.offset, entry.size_bytes, lines));
  // With the checksums that are found the lines are made again and compared.
  std::string_view rest = lines;
  for (SnapshotFile& file : described_) {
    std::from_chars(rest.data(), rest.data() + std::min<size_t>(8, rest.size()), file.checksum, 16);
    rest.remove_prefix(std::min(rest.size(), EncodeChecksums({&file, 1}).size()));
  }
  if (lines == EncodeChecksums(described_)) return absl::OkStatus();
  return Damaged(entry.offset, "the list of checksums was altered");
}

absl::Status ArchiveReader::CheckPadding() const {
  std::string bytes;
  for (const ArchiveEntry& entry : layout_.entries) {
    CAIRN_RETURN_IF_ERROR(ReadExactly(entry.end(), entry.padded_end() - entry.end(), bytes));
    if (!IsZero(bytes)) {
      return Damaged(entry.end(), fmt::format("the padding behind {} was altered", entry.name));
    }
  }
  const uint64_t end = layout_.entries.back().padded_end();
  CAIRN_RETURN_IF_ERROR(ReadExactly(end, layout_.size_bytes - end, bytes));
  return IsZero(bytes) ? absl::OkStatus() : Damaged(end, "the empty blocks were altered");
}

// Reads on from the beginning, piece by piece, and hashes what it reads.
class ArchiveReader::Pass {
 public:
  Pass(const ArchiveReader& reader, absl::FunctionRef<bool()> is_stopping)
      : reader_(reader), is_stopping_(is_stopping) {}

  // Reads up to `end` and gives each piece to `take`.
  absl::Status ReadTo(uint64_t end, absl::FunctionRef<absl::Status(std::string_view)> take) {
    while (position_ < end) {
      if (is_stopping_()) {
        return base::MakeStatus(absl::StatusCode::kCancelled, "interrupted");
      }
      const size_t size = std::min<uint64_t>(kReadBytes, end - position_);
      CAIRN_RETURN_IF_ERROR(reader_.ReadExactly(position_, size, buffer_));
      sha256_.Update(buffer_);
      CAIRN_RETURN_IF_ERROR(take(buffer_));
      position_ += size;
    }
    return absl::OkStatus();
  }
  absl::Status SkipTo(uint64_t end) {
    return ReadTo(end, [](std::string_view) { return absl::OkStatus(); });
  }
  std::string Finish() { return sha256_.Finish(); }

 private:
  const ArchiveReader& reader_;
  const absl::FunctionRef<bool()> is_stopping_;
  uint64_t position_ = 0;
  std::string buffer_;
  Sha256 sha256_;
};

absl::Status ArchiveReader::ReadAll(ArchiveSink* sink, absl::FunctionRef<bool()> is_stopping) {
  Pass pass(*this, is_stopping);
  for (size_t i = 0; i < described_.size(); ++i) {
    const SnapshotFile& file = described_[i];
    const ArchiveEntry& entry = layout_.entries[i + 1];
    CAIRN_RETURN_IF_ERROR(pass.SkipTo(entry.offset));
    if (sink != nullptr) CAIRN_RETURN_IF_ERROR(sink->BeginFile(file));
    uint32_t checksum = 0;
    CAIRN_RETURN_IF_ERROR(pass.ReadTo(entry.end(), [&](std::string_view bytes) {
      checksum = base::ExtendCrc32c(checksum, bytes);
      return sink != nullptr ? sink->Take(bytes) : absl::OkStatus();
    }));
    if (checksum != file.checksum) {
      return Damaged(entry.offset,
                     fmt::format("the {} bytes of {} from here on have the checksum "
                                 "{:08x} instead of {:08x}",
                                 entry.size_bytes, entry.name, checksum, file.checksum));
    }
    if (sink != nullptr) CAIRN_RETURN_IF_ERROR(sink->EndFile());
  }
  CAIRN_RETURN_IF_ERROR(pass.SkipTo(layout_.size_bytes));
  digest_ = pass.Finish();
  return wanted_ == Digest::kCheck ? CompareDigest() : absl::OkStatus();
}

absl::Status ArchiveReader::CompareDigest() const {
  std::string stored;
  CAIRN_RETURN_IF_ERROR(ReadExactly(layout_.size_bytes, kArchiveDigestBytes, stored));
  if (stored == digest_) return absl::OkStatus();
  return Damaged(layout_.size_bytes,
                 "the SHA-256 here is not that of the bytes before it: the file was altered");
}

}  // namespace cairn::server
