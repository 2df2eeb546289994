// Two layouts of the state, bare on RocksDB, side by side: what SCHEMA.md's figures come from.
//
//   chain     two families: latest rows by key with their value; rows by revision that hold the
//             encoded key-value and point to the key's previous row (the layout of this folder)
//   versions  one family: (key, descending revision) -> value, and (revision) -> key
//
// Usage: layout_bench chain|versions DIRECTORY [keys]. Each put reads the key's latest version
// first, 32 puts share a batch, one thread writes. "process" is all CPU time, flush and compaction
// included.
#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <rocksdb/write_buffer_manager.h>
#include <sys/resource.h>

#include <cstdint>
#include <ctime>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/coding.h"

namespace cairn::mvcc {
namespace {

constexpr int kBatchPuts = 32;
constexpr int kHotKeys = 5000;
constexpr int kOverwrites = 1'000'000;
constexpr int kGets = 500'000;
constexpr int64_t kMemoryLimitBytes = int64_t{256} << 20;

double Now(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// Prints microseconds per operation of the calling thread and of the whole process.
template <typename Run>
void Phase(std::string_view name, int64_t operations, const Run& run) {
  const double thread = Now(CLOCK_THREAD_CPUTIME_ID);
  const double process = Now(CLOCK_PROCESS_CPUTIME_ID);
  run();
  const double scale = 1e6 / static_cast<double>(operations);
  fmt::print("{:<28} {:>8.2f} us thread {:>8.2f} us process\n", name,
             (Now(CLOCK_THREAD_CPUTIME_ID) - thread) * scale,
             (Now(CLOCK_PROCESS_CPUTIME_ID) - process) * scale);
}

std::string KeyOf(int64_t i) { return fmt::format("/bench/layout/{:050}", i); }

std::string BigEndian(uint64_t value) {
  std::string bytes;
  base::AppendBig64(bytes, value);
  return bytes;
}

class Layout {
 public:
  Layout(const std::string& directory, bool chain) : chain_(chain) {
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = rocksdb::NewLRUCache(kMemoryLimitBytes, 2);
    table.block_size = 8 << 10;
    table.format_version = 5;
    table.cache_index_and_filter_blocks = true;
    table.pin_top_level_index_and_filter = true;
    table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
    table.partition_filters = true;
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
    rocksdb::Options options;
    options.create_if_missing = true;
    options.create_missing_column_families = true;
    options.error_if_exists = true;
    options.atomic_flush = true;
    options.allow_concurrent_memtable_write = false;
    options.compression = rocksdb::kLZ4Compression;
    options.max_background_jobs = 2;
    options.write_buffer_manager =
        std::make_shared<rocksdb::WriteBufferManager>(kMemoryLimitBytes / 4, table.block_cache);
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    std::vector<rocksdb::ColumnFamilyDescriptor> families = {
        {rocksdb::kDefaultColumnFamilyName, options}, {"revisions", options}};
    rocksdb::DB* db = nullptr;
    Must(rocksdb::DB::Open(options, directory, families, &handles_, &db));
    db_.reset(db);
    write_.disableWAL = true;
  }
  ~Layout() {
    for (auto* handle : handles_) Must(db_->DestroyColumnFamilyHandle(handle));
  }

  void Put(std::string_view key, std::string_view value) {
    ++revision_;
    const std::string row = BigEndian(revision_);
    if (chain_) {
      slice_.Reset();
      const auto found = db_->Get({}, handles_[0], rocksdb::Slice(key), &slice_);
      std::string latest = BigEndian(revision_);
      latest += found.ok() ? std::string_view(slice_.data(), 8) : std::string_view(row);
      latest += value;
      std::string history(latest, 0, 16);
      history += key;
      history += value;
      Must(batch_.Put(handles_[0], rocksdb::Slice(key), latest));
      Must(batch_.Put(handles_[1], row, history));
    } else {
      Seek(key, revision_);
      Must(batch_.Put(handles_[0], Versioned(key, revision_), rocksdb::Slice(value)));
      Must(batch_.Put(handles_[0], "\x01" + row, rocksdb::Slice(key)));
    }
    if (++pending_ == kBatchPuts) Commit();
  }

  void Commit() {
    Must(db_->Write(write_, &batch_));
    batch_.Clear();
    pending_ = 0;
  }

  void Get(std::string_view key) {
    if (chain_) {
      slice_.Reset();
      Must(db_->Get({}, handles_[0], rocksdb::Slice(key), &slice_));
    } else {
      Seek(key, revision_);
    }
  }

  int64_t ScanLatest() {
    std::unique_ptr<rocksdb::Iterator> at(db_->NewIterator({}, handles_[0]));
    int64_t keys = 0;
    std::string last;
    for (chain_ ? at->SeekToFirst() : at->Seek("\x02"); at->Valid(); at->Next()) {
      const rocksdb::Slice key = at->key();
      if (!chain_) {  // The first row of each key is its latest.
        const std::string_view user(key.data(), key.size() - 8);
        if (user == last) continue;
        last = user;
      }
      ++keys;
    }
    return keys;
  }

  int64_t WalkRevisions() {
    const auto limit = BigEndian(0);
    std::unique_ptr<rocksdb::Iterator> at(db_->NewIterator({}, handles_[chain_ ? 1 : 0]));
    int64_t rows = 0;
    for (at->SeekToFirst(); at->Valid(); at->Next()) {
      if (!chain_) {
        if (at->key()[0] != '\x01') break;
        const uint64_t revision = base::LoadBig64(at->key().data() + 1);
        slice_.Reset();
        Must(db_->Get({}, handles_[0], Versioned(at->value().ToStringView(), revision), &slice_));
      }
      ++rows;
    }
    return rows;
  }

  void Settle() {
    for (auto* handle : handles_) handle_list_.push_back(handle);
    Must(db_->Flush({}, handle_list_));
    Must(db_->CompactRange({}, handles_[0], nullptr, nullptr));
    handle_list_.clear();
  }

  int64_t SizeBytes() {
    int64_t total = 0;
    for (auto* handle : handles_) {
      uint64_t size_bytes = 0;
      db_->GetIntProperty(handle, rocksdb::DB::Properties::kTotalSstFilesSize, &size_bytes);
      total += static_cast<int64_t>(size_bytes);
    }
    return total;
  }

 private:
  static void Must(const rocksdb::Status& status) { CAIRN_CHECK(status.ok(), status.ToString()); }

  static std::string Versioned(std::string_view key, uint64_t revision) {
    return "\x02" + std::string(key) + BigEndian(~revision);
  }

  void Seek(std::string_view key, uint64_t revision) {
    std::unique_ptr<rocksdb::Iterator> at(db_->NewIterator({}, handles_[0]));
    at->Seek(Versioned(key, revision));
    found_ += at->Valid() ? 1 : 0;
  }

  const bool chain_;
  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> handles_;
  std::vector<rocksdb::ColumnFamilyHandle*> handle_list_;
  rocksdb::WriteOptions write_;
  rocksdb::WriteBatch batch_;
  rocksdb::PinnableSlice slice_;
  uint64_t revision_ = 1;
  int pending_ = 0;
  int64_t found_ = 0;
};

void Run(const std::string& name, const std::string& directory, int64_t keys) {
  Layout layout(directory, name == "chain");
  const std::string value(256, 'v');
  std::mt19937_64 random(1);
  fmt::print("layout {}, {} keys of 64 B, values of 256 B\n", name, keys);
  Phase("create", keys, [&] {
    for (int64_t i = 0; i < keys; ++i) layout.Put(KeyOf(i), value);
    layout.Commit();
  });
  Phase("overwrite 5,000 hot keys", kOverwrites, [&] {
    for (int i = 0; i < kOverwrites; ++i)
      layout.Put(KeyOf(static_cast<int64_t>(random() % kHotKeys)), value);
    layout.Commit();
  });
  Phase("get, hot keys", kGets, [&] {
    for (int i = 0; i < kGets; ++i) layout.Get(KeyOf(static_cast<int64_t>(random() % kHotKeys)));
  });
  Phase("overwrite, uniform", kOverwrites / 4, [&] {
    for (int i = 0; i < kOverwrites / 4; ++i)
      layout.Put(KeyOf(static_cast<int64_t>(random() % static_cast<uint64_t>(keys))), value);
    layout.Commit();
  });
  Phase("latest range, per key", keys, [&] { CAIRN_CHECK_EQ(layout.ScanLatest(), keys); });
  Phase("revision walk, per row", keys + kOverwrites, [&] { layout.WalkRevisions(); });
  Phase("flush and compact, once", 1, [&] { layout.Settle(); });
  Phase("latest range, settled", keys, [&] { CAIRN_CHECK_EQ(layout.ScanLatest(), keys); });
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  fmt::print("{} MiB of files, {} MiB peak memory\n", layout.SizeBytes() >> 20,
             usage.ru_maxrss >> 10);
}

}  // namespace
}  // namespace cairn::mvcc

int main(int argc, char** argv) {
  const std::string_view layout = argc > 2 ? argv[1] : "";
  if (layout != "chain" && layout != "versions") {
    fmt::print(stderr, "usage: layout_bench chain|versions DIRECTORY [keys]\n");
    return 2;
  }
  cairn::mvcc::Run(argv[1], argv[2], argc > 3 ? std::stoll(argv[3]) : 1'000'000);
  return 0;
}
