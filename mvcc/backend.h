// The seam between the state and what keeps it: three ordered families of rows, one atomic batch.
//
// Two implementations: RocksDB (rocks_backend.h) and memory (mem_backend.h). A batch is visible and
// durable as a whole or not at all; after a crash the state is what a prefix of the written batches
// made, at least all that Flush reported. Reads and Flush may run on any thread beside one writer;
// Write is for one thread at a time. A backend knows nothing of what rows mean.
#ifndef CAIRN_MVCC_BACKEND_H_
#define CAIRN_MVCC_BACKEND_H_

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace cairn::mvcc {

// The numbers index tables and never stand on disk; the families' names do.
enum class Family : uint8_t { kKeys = 0, kRevisions = 1, kMeta = 2 };
inline constexpr int kFamilies = 3;

// Changes that are written together, applied in the order they were made. Bytes are copied.
//
// Rows of `keys` and `meta` are overwritten with Put and removed with Delete. A row of `revisions`
// is put once and removed once, with SingleDelete, and never otherwise: RocksDB forgets such a pair
// early, and would bring back overwritten values if it were used where rows are overwritten.
class RowBatch {
 public:
  virtual ~RowBatch() = default;

  virtual void Put(Family family, std::string_view key, std::string_view value) = 0;
  virtual void Delete(Family family, std::string_view key) = 0;
  virtual void SingleDelete(Family family, std::string_view key) = 0;
  // Makes room in an empty batch for `rows` rows of `bytes` keys and values together: a large one
  // that grew as they came would hold up to three times as much.
  virtual void Reserve(size_t rows, size_t bytes) = 0;
  // Empties the batch and keeps the memory of a usual one.
  virtual void Clear() = 0;
};

// Walks a family in key order. May or may not see what is written after it was made: who uses one
// must be right either way. Not thread-safe. Holding one pins memory and files: release it early.
class RowIterator {
 public:
  virtual ~RowIterator() = default;

  // Stands on the first row with a key >= `key`, if that lies in the iterator's range.
  virtual void Seek(std::string_view key) = 0;
  // Requires Valid().
  virtual void Next() = 0;
  // False at the end of the range and after an error: ask status().
  virtual bool Valid() const = 0;
  virtual absl::Status status() const = 0;
  // Require Valid(); the views are good until the iterator moves or dies.
  virtual std::string_view key() const = 0;
  virtual std::string_view value() const = 0;
};

enum class CacheUse : uint8_t {
  kFill,    // Ordinary reads.
  kBypass,  // Long walks that would drive everything else out of the cache.
};

class Backend {
 public:
  virtual ~Backend() = default;

  // Calls `found` with the row's value, valid during the call, and returns true; false when there
  // is no such row. Any thread.
  virtual absl::StatusOr<bool> Get(Family family, std::string_view key,
                                   absl::FunctionRef<void(std::string_view)> found) const = 0;

  // An iterator over keys below `limit` (empty: no bound), standing nowhere until Seek. It must not
  // outlive the backend; `limit` is copied. Any thread.
  virtual std::unique_ptr<RowIterator> NewIterator(Family family, std::string_view limit,
                                                   CacheUse cache_use) const = 0;

  virtual std::unique_ptr<RowBatch> NewBatch() const = 0;

  // Writes a batch that this backend made. Visible when it returns, durable after the next Flush.
  // An error is final: what is visible afterwards is unspecified, and the member must stop.
  virtual absl::Status Write(RowBatch& batch) = 0;

  // Makes every batch durable that was written before the call. Always all families: flushing one
  // alone would tear batches apart. An error is final. Any thread.
  virtual absl::Status Flush() = 0;

  // Makes durable what was written before the call, and puts all that is durable then into a state
  // of its own at `path`, which must not exist; the directory it stands in must. Whole batches, at
  // least those; nothing that happens here later touches it. Takes room on the disk only as the two
  // grow apart. An error leaves nothing at `path` that could be taken for a state. Any thread.
  virtual absl::Status Checkpoint(const std::string& path) = 0;

  // Bytes on disk and in write buffers, at least 1. An estimate. Any thread.
  virtual int64_t PhysicalSizeBytes() const = 0;
  // What a flush would write now, at most. Any thread.
  virtual int64_t BufferedBytes() const = 0;
};

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_BACKEND_H_
