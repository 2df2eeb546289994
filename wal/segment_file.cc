#include "wal/segment_file.h"

#include <algorithm>
#include <utility>

#include "base/fail_point.h"
#include "base/status.h"
#include "wal/format.h"

namespace cairn::wal {

namespace {

const std::string& Zeros() {
  static const std::string zeros(kSparePieceBytes, '\0');
  return zeros;
}

absl::StatusOr<SegmentFile> FillAndName(Fs& fs, std::string_view directory, uint64_t sequence,
                                        uint64_t size_bytes, const std::function<bool()>& pace) {
  const std::string unfinished = PathOf(directory, UnfinishedSegmentName(sequence));
  CAIRN_ASSIGN_OR_RETURN(std::shared_ptr<File> file, fs.Create(unfinished));
  base::FailPoint("wal.spare.created");
  for (uint64_t at = 0; at < size_bytes; at += kSparePieceBytes) {
    CAIRN_RETURN_IF_ERROR(WriteZeros(*file, at, std::min(size_bytes, at + kSparePieceBytes)));
    CAIRN_RETURN_IF_ERROR(file->Sync());
    if (pace && !pace()) return base::MakeStatus(absl::StatusCode::kCancelled, "not needed");
  }
  base::FailPoint("wal.spare.filled");
  CAIRN_RETURN_IF_ERROR(fs.RenameNew(unfinished, PathOf(directory, SegmentName(sequence))));
  base::FailPoint("wal.spare.named");
  if (absl::Status synced = fs.SyncDirectory(directory); !synced.ok()) {
    // The name may be lost at a power cut, and would stand in the way of the next try.
    fs.Remove(PathOf(directory, SegmentName(sequence))).IgnoreError();
    return synced;
  }
  return SegmentFile{.sequence = sequence,
                     .file = std::move(file),
                     .size_bytes = size_bytes,
                     .used_bytes = 0,
                     .salt = 0};
}

}  // namespace

std::string PathOf(std::string_view directory, std::string_view name) {
  return fmt::format("{}/{}", directory, name);
}

absl::StatusOr<SegmentFile> MakeZeroedSegment(Fs& fs, std::string_view directory, uint64_t sequence,
                                              uint64_t size_bytes,
                                              const std::function<bool()>& pace) {
  const std::string unfinished = PathOf(directory, UnfinishedSegmentName(sequence));
  if (absl::Status removed = fs.Remove(unfinished);
      !removed.ok() && removed.code() != absl::StatusCode::kNotFound) {
    return removed;
  }
  auto made = FillAndName(fs, directory, sequence, size_bytes, pace);
  // The space of a half-made file is needed more elsewhere. If this fails too, the next try repeats
  // it; the error that matters is the first one.
  if (!made.ok()) fs.Remove(unfinished).IgnoreError();
  return made;
}

absl::Status ReadExactly(const File& file, uint64_t offset, size_t size_bytes, std::string& to) {
  to.resize(size_bytes);
  CAIRN_ASSIGN_OR_RETURN(const size_t got, file.Read(offset, to.data(), size_bytes));
  if (got == size_bytes) return absl::OkStatus();
  return base::Error(absl::StatusCode::kDataLoss, "the file ends at offset {}", offset + got);
}

absl::Status WriteZeros(File& file, uint64_t first, uint64_t limit) {
  for (uint64_t at = first; at < limit; at += Zeros().size()) {
    const uint64_t bytes = std::min<uint64_t>(limit - at, Zeros().size());
    CAIRN_RETURN_IF_ERROR(file.Write(at, std::string_view(Zeros()).substr(0, bytes)));
  }
  return absl::OkStatus();
}

}  // namespace cairn::wal
