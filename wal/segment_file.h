// One segment on disk: making it, reading it whole.
//
// The impure half of segments; format.h has the bytes. Used by the opening of a log and by the log
// itself. Keeps nothing.
#ifndef CAIRN_WAL_SEGMENT_FILE_H_
#define CAIRN_WAL_SEGMENT_FILE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "wal/fs.h"
#include "wal/types.h"

namespace cairn::wal {

struct SegmentFile {
  uint64_t sequence = 0;
  // Shared with readers, who may still read it after its removal.
  std::shared_ptr<File> file;
  uint64_t size_bytes = 0;
  // Offset behind the last batch written.
  uint64_t used_bytes = 0;
  // From its header; 0 while it is a spare.
  uint64_t salt = 0;
};

// "directory/name".
std::string PathOf(std::string_view directory, std::string_view name);

// Makes a segment of zeros: filled, synced, then named, and its name synced. `pace` is called after
// each piece; false gives up (kCancelled). On failure nothing is left behind, as far as the disk
// allows.
absl::StatusOr<SegmentFile> MakeZeroedSegment(Fs& fs, std::string_view directory, uint64_t sequence,
                                              uint64_t size_bytes,
                                              const std::function<bool()>& pace);

// Reads exactly `size_bytes` at `offset`.
absl::Status ReadExactly(const File& file, uint64_t offset, size_t size_bytes, std::string& to);

// Writes zeros to [first, limit).
absl::Status WriteZeros(File& file, uint64_t first, uint64_t limit);

}  // namespace cairn::wal

#endif  // CAIRN_WAL_SEGMENT_FILE_H_
