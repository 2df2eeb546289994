// What a saved snapshot holds, and whether all of it is right.
//
// For the offline tool; main thread only. Reads the file where it lies: nothing is unpacked,
// nothing written. Errors name file, offset or row, and what to do.
#ifndef CAIRN_SERVER_SNAPSHOT_INSPECT_H_
#define CAIRN_SERVER_SNAPSHOT_INSPECT_H_

#include <absl/functional/function_ref.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "api/snapshot.pb.h"
#include "mvcc/backend.h"
#include "mvcc/state_check.h"
#include "server/snapshot/archive_reader.h"
#include "wal/fs.h"

namespace cairn::server {

// The rows of the state in the snapshot at `path`, read where they lie. The layout is looked at,
// and RocksDB checks the blocks that it reads. The file must not change while the backend lives.
absl::StatusOr<std::unique_ptr<mvcc::Backend>> OpenSnapshotRows(wal::Fs& fs,
                                                                const std::string& path);

struct SnapshotFacts {
  snapshot::Manifest manifest;
  // HashKV at its revision: what `etcdctl endpoint hashkv --rev` says of a member that holds the
  // same, compacted alike.
  uint32_t hash = 0;
  int64_t revision = 0;
  int64_t live_keys = 0;
  // Without the digest.
  uint64_t size_bytes = 0;
};

// Looks at the layout and at the rows. The checksums of files and the digest are VerifySnapshot's
// business; RocksDB checks those of the blocks that it reads.
absl::StatusOr<SnapshotFacts> InspectSnapshot(wal::Fs& fs, const std::string& path,
                                              absl::FunctionRef<bool()> is_stopping);

struct VerifiedSnapshot {
  snapshot::Manifest manifest;
  mvcc::StateCounts counts;
  uint64_t leases = 0;
  uint64_t alarms = 0;
  uint64_t size_bytes = 0;
};

// Whether the files in the archive are those of a state (CheckStateNames).
absl::Status CheckStateFiles(const ArchiveReader& archive);
// Checks every row of `backend`, which holds the state in `archive` (`path` names it in messages),
// and that manifest and rows agree.
absl::StatusOr<VerifiedSnapshot> VerifyRows(const std::string& path, const ArchiveReader& archive,
                                            std::unique_ptr<mvcc::Backend> backend,
                                            absl::FunctionRef<bool()> is_stopping);

// Checks the digest (unless skipped), every checksum, every row, and that manifest and rows agree.
absl::StatusOr<VerifiedSnapshot> VerifySnapshot(wal::Fs& fs, const std::string& path, Digest digest,
                                                absl::FunctionRef<bool()> is_stopping);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SNAPSHOT_INSPECT_H_
