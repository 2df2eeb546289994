// The state in RocksDB: three column families, its own log off, flushed atomically.
//
// RocksDB's headers stay in the .cc. The directory belongs to this object alone while it lives.
// Opened and closed by one thread; otherwise used from threads as backend.h says.
#ifndef CAIRN_MVCC_ROCKS_BACKEND_H_
#define CAIRN_MVCC_ROCKS_BACKEND_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "mvcc/backend.h"

namespace rocksdb {
class Env;
}  // namespace rocksdb

namespace cairn::mvcc {

// Block cache and write buffers together, unless the operator says otherwise.
inline constexpr int64_t kMemoryLimitBytesDefault = int64_t{256} << 20;
// Less than this leaves no room for a useful write buffer beside the index blocks.
inline constexpr int64_t kMemoryLimitBytesMin = int64_t{16} << 20;

// One budget for states that are open at the same time: while a snapshot replaces the state there
// are two.
class RocksMemory;
// `limit_bytes` is at least kMemoryLimitBytesMin, or opening with it fails.
std::shared_ptr<RocksMemory> MakeRocksMemory(int64_t limit_bytes);

struct RocksOptions {
  // Made if it does not exist; its parent must.
  std::string directory;
  // At least kMemoryLimitBytesMin. For a budget of its own, when `memory` names none.
  int64_t memory_limit_bytes = kMemoryLimitBytesDefault;
  std::shared_ptr<RocksMemory> memory;
  // Called on a RocksDB thread before any flush begins, RocksDB's own too; the flush waits until it
  // returns. The server blocks here until the log is synced through the highest index it handed to
  // Batch::Commit, so that the state on disk never runs ahead of the log. False: that will never be
  // so; neither this flush nor any later one makes anything durable, and writes that wait for room
  // fail. Must not call the backend. May be empty.
  std::function<bool()> on_flush_begin;
  // Hears RocksDB's warnings and errors, a line each, on any thread; must not block or call the
  // backend. May be empty.
  std::function<void(bool is_error, std::string_view line)> on_warning;
  // Where the files are; null: the file system (rocks_archive.h has another).
  std::shared_ptr<rocksdb::Env> env;
};

// Opens or creates. INVALID_ARGUMENT for unusable options; UNAVAILABLE when another process holds
// the directory; DATA_LOSS when the files do not check out; else INTERNAL with RocksDB's own words.
// Every message names the directory. Destroying the backend flushes what is not durable yet, but
// not with `on_flush_begin`: nobody may be there any more who could say that it may.
absl::StatusOr<std::unique_ptr<Backend>> OpenRocksBackend(const RocksOptions& options);

// Opens what is there for reading only, and changes nothing in the directory: no lock is taken, no
// file made or removed. Sees what was flushed when it was opened; beside a process that has the
// directory open a file may vanish meanwhile, which is an error. Writing and Checkpoint fail,
// Flush has nothing to do. Errors as OpenRocksBackend, and NOT_FOUND when there is no state.
absl::StatusOr<std::unique_ptr<Backend>> OpenRocksBackendForReading(const RocksOptions& options);

// Removes a state that is not open, whole or in part; OK when there is none.
absl::Status RemoveRocksState(const std::string& directory);

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_ROCKS_BACKEND_H_
