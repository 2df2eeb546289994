#include "wal/segment_file.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/fail_point.h"
#include "base/status.h"
#include "wal/format.h"

namespace cairn::wal {

namespace {

const std::string& Zeros() {
  static const std::string zeros(kSparePieceBytes, '\0');
  return zeros;
}

}  // namespace

std::string PathOf(std::string_view directory, std::string_view name) {
  return fmt::format("{}/{}", directory, name);
}

SegmentMaker::SegmentMaker(Fs& fs, std::string_view directory, SegmentFile segment)
    : fs_(&fs), directory_(directory), segment_(std::move(segment)) {}

SegmentMaker::SegmentMaker(SegmentMaker&& other) noexcept
    : fs_(std::exchange(other.fs_, nullptr)),
      directory_(std::move(other.directory_)),
      segment_(std::move(other.segment_)),
      filled_bytes_(other.filled_bytes_) {}

SegmentMaker::~SegmentMaker() {
  // The space of a half-made file is needed more elsewhere.
  if (fs_ == nullptr) return;
  fs_->Remove(PathOf(directory_, UnfinishedSegmentName(segment_.sequence))).IgnoreError();
}

absl::StatusOr<SegmentMaker> SegmentMaker::Begin(Fs& fs, std::string_view directory,
                                                 uint64_t sequence, uint64_t size_bytes) {
  const std::string unfinished = PathOf(directory, UnfinishedSegmentName(sequence));
  if (absl::Status removed = fs.Remove(unfinished);
      !removed.ok() && removed.code() != absl::StatusCode::kNotFound) {
    return removed;
  }
  CAIRN_ASSIGN_OR_RETURN(std::shared_ptr<File> file, fs.Create(unfinished));
  base::FailPoint("wal.spare.created");
  return SegmentMaker(fs, directory,
                      {.sequence = sequence, .file = std::move(file), .size_bytes = size_bytes});
}

absl::Status SegmentMaker::Fill(const std::function<bool()>& pace) {
  while (filled_bytes_ < segment_.size_bytes) {
    const uint64_t left_bytes = segment_.size_bytes - filled_bytes_;
    const uint64_t piece_bytes = pace ? std::min(left_bytes, kSparePieceBytes) : left_bytes;
    CAIRN_RETURN_IF_ERROR(WriteZeros(*segment_.file, filled_bytes_, filled_bytes_ + piece_bytes));
    CAIRN_RETURN_IF_ERROR(segment_.file->Sync());
    filled_bytes_ += piece_bytes;
    if (pace && !pace()) return base::MakeStatus(absl::StatusCode::kCancelled, "not needed now");
  }
  base::FailPoint("wal.spare.filled");
  return absl::OkStatus();
}

absl::StatusOr<SegmentFile> SegmentMaker::Finish() {
  CAIRN_CHECK(fs_ != nullptr && filled_bytes_ == segment_.size_bytes);
  const std::string name = PathOf(directory_, SegmentName(segment_.sequence));
  CAIRN_RETURN_IF_ERROR(
      fs_->RenameNew(PathOf(directory_, UnfinishedSegmentName(segment_.sequence)), name));
  Fs& fs = *std::exchange(fs_, nullptr);
  base::FailPoint("wal.spare.named");
  if (absl::Status synced = fs.SyncDirectory(directory_); !synced.ok()) {
    // The name may be lost at a power cut, and would stand in the way of the next try.
    fs.Remove(name).IgnoreError();
    return synced;
  }
  return std::move(segment_);
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
