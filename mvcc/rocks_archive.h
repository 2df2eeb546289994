// A state that lies inside of one file, opened where it is: nothing is unpacked, nothing written.
//
// A saved snapshot holds the files of a state one behind the other (server/snapshot/FORMAT.md).
// RocksDB reads them through a file system of ours that knows nothing but these; so a look at a
// snapshot costs what it reads, needs no room on the disk and leaves nothing behind.
#ifndef CAIRN_MVCC_ROCKS_ARCHIVE_H_
#define CAIRN_MVCC_ROCKS_ARCHIVE_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mvcc/backend.h"

namespace cairn::mvcc {

// A file of the state, and where its bytes are.
struct ArchivedFile {
  std::string name;
  uint64_t offset_bytes = 0;
  uint64_t size_bytes = 0;
};

// For reading only; the file at `path` must not change while the backend lives. Errors as
// OpenRocksBackend's; NOT_FOUND or PERMISSION_DENIED when `path` cannot be opened.
absl::StatusOr<std::unique_ptr<Backend>> OpenRocksArchive(const std::string& path,
                                                          const std::vector<ArchivedFile>& files);

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_ROCKS_ARCHIVE_H_
