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

// A segment of zeros in the making: filled, synced, then named, and its name synced. Whoever began
// may stop between two pieces and leave the rest to another thread. What was not finished is
// removed with this object, as far as the disk allows; if that fails too, the next Begin repeats
// it.
class SegmentMaker {
 public:
  // Creates the file.
  static absl::StatusOr<SegmentMaker> Begin(Fs& fs, std::string_view directory, uint64_t sequence,
                                            uint64_t size_bytes);
  ~SegmentMaker();
  SegmentMaker(SegmentMaker&& other) noexcept;
  SegmentMaker& operator=(SegmentMaker&&) = delete;

  // Fills the file and syncs it. With `pace`, in pieces of kSparePieceBytes, each synced, and
  // `pace` is called after each: false stops there (kCancelled), and the next call goes on.
  // Without, what is left is synced once.
  absl::Status Fill(const std::function<bool()>& pace);
  // Names what is filled; the end of this object.
  absl::StatusOr<SegmentFile> Finish();

 private:
  SegmentMaker(Fs& fs, std::string_view directory, SegmentFile segment);

  Fs* fs_;  // Null when there is nothing left to remove.
  std::string directory_;
  SegmentFile segment_;
  uint64_t filled_bytes_ = 0;
};

// Reads exactly `size_bytes` at `offset`.
absl::Status ReadExactly(const File& file, uint64_t offset, size_t size_bytes, std::string& to);

// Writes zeros to [first, limit).
absl::Status WriteZeros(File& file, uint64_t first, uint64_t limit);

}  // namespace cairn::wal

#endif  // CAIRN_WAL_SEGMENT_FILE_H_
