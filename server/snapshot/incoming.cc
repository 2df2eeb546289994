#include "server/snapshot/incoming.h"

#include <utility>

#include "base/fail_point.h"
#include "base/status.h"

namespace cairn::server {

absl::StatusOr<std::unique_ptr<IncomingSnapshot>> IncomingSnapshot::Begin(
    wal::Fs& fs, std::string directory, std::vector<SnapshotFile> files) {
  CAIRN_RETURN_IF_ERROR(CheckFiles(files));
  CAIRN_RETURN_IF_ERROR(fs.CreateDirectory(directory));
  std::unique_ptr<IncomingSnapshot> incoming(
      new IncomingSnapshot(fs, std::move(directory), std::move(files)));
  for (const SnapshotFile& file : incoming->files_) incoming->size_bytes_ += file.size_bytes;
  CAIRN_RETURN_IF_ERROR(incoming->OpenNext());
  return incoming;
}

absl::Status IncomingSnapshot::OpenNext() {
  file_.reset();
  while (!is_complete()) {
    const SnapshotFile& next = files_[position_.file];
    CAIRN_ASSIGN_OR_RETURN(file_, fs_.Create(fmt::format("{}/{}", directory_, next.name)));
    if (next.size_bytes > 0) return absl::OkStatus();
    ++position_.file;
  }
  file_.reset();
  return absl::OkStatus();
}

absl::Status IncomingSnapshot::Take(std::string_view data) {
  if (is_complete() || data.empty() ||
      data.size() > files_[position_.file].size_bytes - position_.offset_bytes) {
    return base::Error(absl::StatusCode::kInvalidArgument,
                       "{} bytes at offset {} of file {} of a snapshot, which do not fit",
                       data.size(), position_.offset_bytes, position_.file);
  }
  CAIRN_RETURN_IF_ERROR(file_->Write(position_.offset_bytes, data));
  base::FailPoint("server.snapshot.part_written");
  position_.offset_bytes += data.size();
  if (position_.offset_bytes < files_[position_.file].size_bytes) return absl::OkStatus();
  // Now rather than all at the end, so that the disk has something to do meanwhile.
  CAIRN_RETURN_IF_ERROR(file_->Sync());
  position_ = {position_.file + 1, 0};
  return OpenNext();
}

}  // namespace cairn::server
