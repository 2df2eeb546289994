#include "mvcc/rocks_backend.h"

#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/perf_level.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/checkpoint.h>
#include <rocksdb/write_batch.h>
#include <rocksdb/write_buffer_manager.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <system_error>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/fail_point.h"
#include "base/status.h"
#include "mvcc/schema.h"

namespace cairn::mvcc {

class RocksMemory {
 public:
  RocksMemory(int64_t limit, int shard_bits, int64_t write_buffer_divisor)
      : limit_bytes(limit),
        cache(rocksdb::NewLRUCache(static_cast<size_t>(limit), shard_bits)),
        write_buffers(std::make_shared<rocksdb::WriteBufferManager>(
            static_cast<size_t>(limit / write_buffer_divisor), cache)) {}

  const int64_t limit_bytes;
  const std::shared_ptr<rocksdb::Cache> cache;
  const std::shared_ptr<rocksdb::WriteBufferManager> write_buffers;
};

namespace {

static_assert(kFamilyNames.size() == kFamilies);

// Small enough that a point read decompresses little, large enough that the index stays small.
constexpr size_t kBlockBytes = size_t{8} << 10;
// Few shards: in a small cache with many, one large block drives out everything else in its shard
// (measured: 40-500 us a read).
constexpr int kCacheShardBits = 2;
// One false answer in a hundred for a key that does not exist.
constexpr double kBloomBitsPerKey = 10;
// The same for what is still in memory, as a part of a write buffer: some 20 bits a row of 150
// bytes. Most puts of a start that replays its log are of keys that are not there, and each looked
// for itself among the rows of every buffer (a fifth of all that an entry cost).
constexpr double kMemtableBloomRatio = 0.02;
// Of the memory budget. Write buffers count against the cache, so both together stay below it.
constexpr int64_t kWriteBufferDivisor = 4;
// Flush and compaction: a batch a member cannot write is a batch that nobody gets.
constexpr int kBackgroundJobs = 2;
// Of a batch, the memory that stays for the next one: more than usual ones take.
constexpr size_t kBatchBytesKept = size_t{4} << 20;
// What a row takes in a batch beside its bytes, at most: what is done, the family, two lengths.
constexpr size_t kBatchRowBytesMax = 1 + 3 * 5;

// No read fails for want of anything but the disk: tables are opened with the database and kept
// open (max_open_files), and the cache never refuses a block.
absl::Status FromRocks(const rocksdb::Status& status, std::string_view doing) {
  if (status.ok()) return absl::OkStatus();
  const auto code =
      status.IsCorruption() ? absl::StatusCode::kDataLoss : absl::StatusCode::kInternal;
  return base::Error(code, "{}: {}", doing, status.ToString());
}

// RocksDB counts each comparison of keys for each thread unless told otherwise, which nobody reads
// here and which took a tenth of a put.
void CountNothing() { rocksdb::SetPerfLevel(rocksdb::PerfLevel::kDisable); }

rocksdb::Slice ToSlice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
std::string_view ToView(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

using Handles = std::array<rocksdb::ColumnFamilyHandle*, kFamilies>;

// Lets a flush begin only when the log is safe.
class FlushGate final : public rocksdb::EventListener {
 public:
  explicit FlushGate(std::function<bool()> on_flush_begin)
      : on_flush_begin_(std::move(on_flush_begin)) {}

  // A flush has no way to say no, but one that ends in a database that is being closed is undone.
  void OnFlushBegin(rocksdb::DB* db, const rocksdb::FlushJobInfo&) override {
    if (!on_flush_begin_()) rocksdb::CancelAllBackgroundWork(db, /*wait=*/false);
  }

 private:
  const std::function<bool()> on_flush_begin_;
};

// RocksDB's warnings. Not in a file beside the data, as RocksDB has it: one that can no longer grow
// because the disk is full ends the process, if RocksDB was built with assertions.
class Diary final : public rocksdb::Logger {
 public:
  explicit Diary(std::function<void(bool is_error, std::string_view line)> on_warning)
      : rocksdb::Logger(rocksdb::WARN_LEVEL), on_warning_(std::move(on_warning)) {}

  void Logv(const char* format, va_list arguments) override {
    Logv(rocksdb::WARN_LEVEL, format, arguments);
  }
  void Logv(const rocksdb::InfoLogLevel level, const char* format, va_list arguments) override {
    if (!on_warning_ || level < rocksdb::WARN_LEVEL || level == rocksdb::HEADER_LEVEL) return;
    std::array<char, kDiaryLineBytes> line;
    const int written = std::vsnprintf(line.data(), line.size(), format, arguments);
    if (written < 0) return;
    on_warning_(level >= rocksdb::ERROR_LEVEL,
                {line.data(), std::min(static_cast<size_t>(written), line.size() - 1)});
  }

 private:
  static constexpr size_t kDiaryLineBytes = 1024;  // The rest of a longer one is cut.
  const std::function<void(bool is_error, std::string_view line)> on_warning_;
};

class RocksBatch final : public RowBatch {
 public:
  explicit RocksBatch(const Handles& handles) : handles_(handles) {}

  // Adding to a batch in memory fails only beyond 4 GiB.
  void Put(Family family, std::string_view key, std::string_view value) override {
    Must(batch_.Put(handle(family), ToSlice(key), ToSlice(value)));
  }
  void Delete(Family family, std::string_view key) override {
    Must(batch_.Delete(handle(family), ToSlice(key)));
  }
  void SingleDelete(Family family, std::string_view key) override {
    Must(batch_.SingleDelete(handle(family), ToSlice(key)));
  }
  void Reserve(size_t rows, size_t bytes) override {
    CAIRN_CHECK_EQ(batch_.Count(), 0u);
    batch_ = rocksdb::WriteBatch(bytes + rows * kBatchRowBytesMax);
  }
  void Clear() override {
    if (batch_.Data().capacity() > kBatchBytesKept) {
      batch_ = rocksdb::WriteBatch();
    } else {
      batch_.Clear();
    }
  }

  rocksdb::WriteBatch* batch() { return &batch_; }

 private:
  static void Must(const rocksdb::Status& status) { CAIRN_CHECK(status.ok(), status.ToString()); }
  rocksdb::ColumnFamilyHandle* handle(Family family) {
    return handles_[static_cast<size_t>(family)];
  }

  const Handles& handles_;
  rocksdb::WriteBatch batch_;
};

class RocksIterator final : public RowIterator {
 public:
  RocksIterator(rocksdb::DB* db, rocksdb::ColumnFamilyHandle* handle, std::string_view limit,
                CacheUse cache_use)
      : limit_(limit), limit_slice_(limit_) {
    CountNothing();
    rocksdb::ReadOptions options;
    options.fill_cache = cache_use == CacheUse::kFill;
    if (!limit_.empty()) options.iterate_upper_bound = &limit_slice_;
    iterator_.reset(db->NewIterator(options, handle));
  }

  void Seek(std::string_view key) override { iterator_->Seek(ToSlice(key)); }
  void Next() override { iterator_->Next(); }
  bool Valid() const override { return iterator_->Valid(); }
  absl::Status status() const override { return FromRocks(iterator_->status(), "state: walk"); }
  std::string_view key() const override { return ToView(iterator_->key()); }
  std::string_view value() const override { return ToView(iterator_->value()); }

 private:
  const std::string limit_;
  const rocksdb::Slice limit_slice_;
  std::unique_ptr<rocksdb::Iterator> iterator_;
};

class RocksBackend final : public Backend {
 public:
  RocksBackend(std::shared_ptr<rocksdb::Env> env, std::unique_ptr<rocksdb::DB> db,
               std::vector<rocksdb::ColumnFamilyHandle*> handles)
      : env_(std::move(env)), db_(std::move(db)), all_handles_(std::move(handles)) {
    for (size_t i = 0; i < kFamilies; ++i) handles_[i] = all_handles_[i];
    write_options_.disableWAL = true;
  }
  ~RocksBackend() override;

  absl::StatusOr<bool> Get(Family family, std::string_view key,
                           absl::FunctionRef<void(std::string_view)> found) const override;
  std::unique_ptr<RowIterator> NewIterator(Family family, std::string_view limit,
                                           CacheUse cache_use) const override {
    return std::make_unique<RocksIterator>(db_.get(), handle(family), limit, cache_use);
  }
  std::unique_ptr<RowBatch> NewBatch() const override {
    return std::make_unique<RocksBatch>(handles_);
  }
  absl::Status Write(RowBatch& batch) override {
    CountNothing();
    return FromRocks(db_->Write(write_options_, static_cast<RocksBatch&>(batch).batch()),
                     "state: write");
  }
  absl::Status Flush() override {
    return FromRocks(db_->Flush(rocksdb::FlushOptions(), all_handles_), "state: flush");
  }
  absl::Status Checkpoint(const std::string& path) override;
  int64_t PhysicalSizeBytes() const override;
  int64_t BufferedBytes() const override;

 private:
  rocksdb::ColumnFamilyHandle* handle(Family family) const {
    return handles_[static_cast<size_t>(family)];
  }
  // Of all families.
  int64_t Sum(const std::string& property) const;

  // Before the database, which uses it to its end.
  const std::shared_ptr<rocksdb::Env> env_;
  std::unique_ptr<rocksdb::DB> db_;
  // The default family too, which is always there and always empty: a flush names all of them.
  const std::vector<rocksdb::ColumnFamilyHandle*> all_handles_;
  Handles handles_{};
  rocksdb::WriteOptions write_options_;
};

RocksBackend::~RocksBackend() {
  for (auto* handle : all_handles_) {
    const auto status = db_->DestroyColumnFamilyHandle(handle);
    CAIRN_CHECK(status.ok(), status.ToString());
  }
}

absl::StatusOr<bool> RocksBackend::Get(Family family, std::string_view key,
                                       absl::FunctionRef<void(std::string_view)> found) const {
  CountNothing();
  rocksdb::PinnableSlice value;
  const rocksdb::Status status =
      db_->Get(rocksdb::ReadOptions(), handle(family), ToSlice(key), &value);
  if (status.IsNotFound()) return false;
  if (!status.ok()) return FromRocks(status, "state: read");
  found(ToView(value));
  return true;
}

absl::Status RocksBackend::Checkpoint(const std::string& path) {
  // The checkpoint would flush by itself, but which families it then names is its own affair.
  CAIRN_RETURN_IF_ERROR(Flush());
  base::FailPoint("mvcc.checkpoint.flushed");
  rocksdb::Checkpoint* made = nullptr;
  CAIRN_RETURN_IF_ERROR(
      FromRocks(rocksdb::Checkpoint::Create(db_.get(), &made), "state: checkpoint"));
  const std::unique_ptr<rocksdb::Checkpoint> checkpoint(made);
  constexpr uint64_t kNeverFlush = std::numeric_limits<uint64_t>::max();
  return FromRocks(checkpoint->CreateCheckpoint(path, kNeverFlush), "state: checkpoint");
}

int64_t RocksBackend::Sum(const std::string& property) const {
  uint64_t total = 0;
  for (auto* handle : all_handles_) {
    uint64_t value = 0;
    if (db_->GetIntProperty(handle, property, &value)) total += value;
  }
  return static_cast<int64_t>(total);
}

int64_t RocksBackend::PhysicalSizeBytes() const {
  return 1 + Sum(rocksdb::DB::Properties::kTotalSstFilesSize) + BufferedBytes();
}

int64_t RocksBackend::BufferedBytes() const {
  return Sum(rocksdb::DB::Properties::kCurSizeAllMemTables);
}

enum class Access : uint8_t { kReadWrite, kReadOnly };

rocksdb::DBOptions DatabaseOptions(const RocksOptions& options, const RocksMemory& memory,
                                   Access access) {
  rocksdb::DBOptions database;
  database.create_if_missing = access == Access::kReadWrite;
  database.create_missing_column_families = access == Access::kReadWrite;
  // A flush takes the families together or not at all: the applied index never leaves its data.
  database.atomic_flush = true;
  // One writer: the plain skip list insert is cheaper, and fastest for ascending revisions.
  database.allow_concurrent_memtable_write = false;
  database.write_buffer_manager = memory.write_buffers;
  database.max_background_jobs = kBackgroundJobs;
  database.max_open_files = -1;
  database.stats_dump_period_sec = 0;
  if (options.env != nullptr) database.env = options.env.get();
  database.info_log = std::make_shared<Diary>(options.on_warning);
  if (options.on_flush_begin) {
    database.listeners.push_back(std::make_shared<FlushGate>(options.on_flush_begin));
    database.avoid_flush_during_shutdown = true;
  }
  return database;
}

rocksdb::ColumnFamilyOptions FamilyOptions(bool filtered, const RocksMemory& memory) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = memory.cache;
  table.block_size = kBlockBytes;
  table.format_version = 5;
  // Index and filter in pieces of a block's size, inside the budget, with only their top level
  // held.
  table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
  table.cache_index_and_filter_blocks = true;
  table.pin_top_level_index_and_filter = true;
  if (filtered) {
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kBloomBitsPerKey));
    table.partition_filters = true;
    // Of tables as small as a flush makes them: every read asks all of those.
    table.metadata_cache_options.partition_pinning = rocksdb::PinningTier::kFlushedAndSimilar;
  }
  rocksdb::ColumnFamilyOptions family;
  if (filtered) {
    family.memtable_prefix_bloom_size_ratio = kMemtableBloomRatio;
    family.memtable_whole_key_filtering = true;
  }
  family.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  family.compression = rocksdb::kLZ4Compression;
  family.write_buffer_size = static_cast<size_t>(memory.limit_bytes / kWriteBufferDivisor);
  family.level_compaction_dynamic_level_bytes = true;
  return family;
}

absl::StatusOr<std::unique_ptr<Backend>> OpenBackend(const RocksOptions& options, Access access) {
  if (options.directory.empty()) {
    return base::Error(absl::StatusCode::kInvalidArgument, "state: no directory given");
  }
  int64_t limit_bytes = options.memory_limit_bytes;
  if (const RocksMemory* const memory = options.memory.get()) limit_bytes = memory->limit_bytes;
  if (limit_bytes < kMemoryLimitBytesMin) {
    return base::Error(absl::StatusCode::kInvalidArgument,
                       "state in {}: a memory limit of {} bytes is below the least of {}",
                       options.directory, limit_bytes, kMemoryLimitBytesMin);
  }
  // RocksDB would be less clear about it.
  if (std::error_code error;
      access == Access::kReadOnly && options.env == nullptr &&
      !std::filesystem::exists(std::filesystem::path(options.directory) / "CURRENT", error)) {
    return base::Error(absl::StatusCode::kNotFound, "there is no state in {}", options.directory);
  }
  const auto memory = options.memory != nullptr ? options.memory : MakeRocksMemory(limit_bytes);
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const std::string_view name : kFamilyNames) {
    // Rows of `revisions` are asked for only when they exist, so a filter there would say nothing.
    const bool filtered = name != kFamilyNames[static_cast<size_t>(Family::kRevisions)];
    families.emplace_back(std::string(name), FamilyOptions(filtered, *memory));
  }
  families.emplace_back(rocksdb::kDefaultColumnFamilyName, FamilyOptions(false, *memory));
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  const rocksdb::DBOptions database = DatabaseOptions(options, *memory, access);
  const rocksdb::Status status =
      access == Access::kReadOnly
          ? rocksdb::DB::OpenForReadOnly(database, options.directory, families, &handles, &db)
          : rocksdb::DB::Open(database, options.directory, families, &handles, &db);
  if (!status.ok()) {
    const std::string text = status.ToString();
    const bool locked = status.IsIOError() && text.find("lock") != std::string::npos;
    const absl::Status error = FromRocks(status, "open");
    return base::Error(locked ? absl::StatusCode::kUnavailable : error.code(), "state in {}: {}",
                       options.directory, text);
  }
  return std::make_unique<RocksBackend>(options.env, std::unique_ptr<rocksdb::DB>(db),
                                        std::move(handles));
}

}  // namespace

std::shared_ptr<RocksMemory> MakeRocksMemory(int64_t limit_bytes) {
  return std::make_shared<RocksMemory>(limit_bytes, kCacheShardBits, kWriteBufferDivisor);
}

absl::StatusOr<std::unique_ptr<Backend>> OpenRocksBackend(const RocksOptions& options) {
  return OpenBackend(options, Access::kReadWrite);
}

absl::StatusOr<std::unique_ptr<Backend>> OpenRocksBackendForReading(const RocksOptions& options) {
  return OpenBackend(options, Access::kReadOnly);
}

absl::Status RemoveRocksState(const std::string& directory) {
  std::error_code error;
  std::filesystem::remove_all(directory, error);
  if (!error) return absl::OkStatus();
  return base::Error(absl::StatusCode::kInternal, "state in {}: remove: {}", directory,
                     error.message());
}

}  // namespace cairn::mvcc
