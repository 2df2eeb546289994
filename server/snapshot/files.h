// What a snapshot consists of: the files of one directory, their sizes and checksums.
//
// Reads and syncs through wal::Fs, so a test may put a failing disk beneath. Stateless.
#ifndef CAIRN_SERVER_SNAPSHOT_FILES_H_
#define CAIRN_SERVER_SNAPSHOT_FILES_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "wal/fs.h"

namespace cairn::server {

struct SnapshotFile {
  std::string name;
  uint64_t size_bytes = 0;
  uint32_t checksum = 0;  // CRC-32C of all its bytes.

  friend bool operator==(const SnapshotFile&, const SnapshotFile&) = default;
};

// More than a state of some terabytes has.
inline constexpr size_t kSnapshotFilesMax = 100'000;

// All files of `directory`, by name. Reads every byte.
absl::StatusOr<std::vector<SnapshotFile>> DescribeFiles(wal::Fs& fs, const std::string& directory);
// The same without their checksums, and without reading them.
absl::StatusOr<std::vector<SnapshotFile>> ListFiles(wal::Fs& fs, const std::string& directory);

// Whether a peer may name a snapshot's files so: plain names, each once, none too many.
// INVALID_ARGUMENT otherwise.
absl::Status CheckFiles(std::span<const SnapshotFile> files);

// Whether `names` are those of a checkpoint of a state: RocksDB's pointer, the one manifest that it
// can name, options and tables, with numbers that RocksDB comes to. DATA_LOSS names another, or
// what is missing. For files from anywhere: what else lay there RocksDB would take for its own.
absl::Status CheckStateNames(std::span<const std::string_view> names);

// Whether `directory` holds exactly `files`, byte by byte; syncs each, and the directory. DATA_LOSS
// names what differs.
absl::Status VerifyFiles(wal::Fs& fs, const std::string& directory,
                         std::span<const SnapshotFile> files);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SNAPSHOT_FILES_H_
