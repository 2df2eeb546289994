// What the store costs on its own: puts, gets, scans, walks. SCHEMA.md holds the figures.
//
// Usage: store_bench DIRECTORY [keys]. 64 B keys, 256 B values, 32 puts a batch, one writer thread.
#include <fmt/format.h>
#include <sys/resource.h>

#include <cstdint>
#include <ctime>
#include <random>
#include <string>
#include <string_view>

#include "base/check.h"
#include "mvcc/rocks_backend.h"
#include "mvcc/store.h"

namespace cairn::mvcc {
namespace {

constexpr int kBatchPuts = 32;
constexpr uint64_t kHotKeys = 5000;
constexpr int kOverwrites = 1'000'000;
constexpr int kUniform = 250'000;
constexpr int kGets = 500'000;
constexpr int kRemovalRows = 1000;

double Now(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// Prints microseconds per operation: of the calling thread, of the whole process.
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

std::string KeyOf(uint64_t i) { return fmt::format("/bench/layout/{:050}", i); }

class Bench {
 public:
  explicit Bench(const std::string& directory) : value_(256, 'v') {
    auto backend = OpenRocksBackend({.directory = directory});
    CAIRN_CHECK(backend.ok(), backend.status().ToString());
    auto store = Store::Open(*std::move(backend), {.identity = {ClusterId(1), MemberId(1)}});
    CAIRN_CHECK(store.ok(), store.status().ToString());
    store_ = *std::move(store);
  }

  template <typename KeyOfPut>
  void Puts(int64_t count, const KeyOfPut& key_of_put) {
    for (int64_t i = 0; i < count; i += kBatchPuts) {
      Batch batch = store_->BeginBatch();
      for (int64_t j = i; j < std::min(count, i + kBatchPuts); ++j) {
        WriteTxn txn = batch.BeginTxn();
        CAIRN_CHECK(txn.Put(KeyOf(key_of_put(j)), value_, LeaseId(0)).ok());
        txn.Commit();
      }
      Commit(batch);
    }
  }

  void Get(uint64_t key) {
    CAIRN_CHECK(store_->Get(KeyOf(key), kCurrent, [](const KeyValueView&) { return true; }).ok());
  }

  int64_t Scan(Revision at) {
    const auto result = store_->Scan(
        {.range = KeyRange::All(), .at = at}, [](const KeyValueView&) { return true; }, [] {});
    CAIRN_CHECK(result.ok(), result.status().ToString());
    return result->count;
  }

  void Compact() {
    Batch batch = store_->BeginBatch();
    CAIRN_CHECK(batch.SetCompactWatermark(batch.current().revision).ok());
    Commit(batch);
  }
  void Remove() {
    for (;;) {
      const auto step = store_->FindRemovalStep(kRemovalRows);
      CAIRN_CHECK(step.ok());
      if (step->empty()) return;
      Batch batch = store_->BeginBatch();
      CAIRN_CHECK(*batch.ApplyRemoval(*step));
      Commit(batch);
    }
  }

  Store& store() { return *store_; }

 private:
  void Commit(Batch& batch) { CAIRN_CHECK(batch.Commit({Index(++index_), Term(1)}).ok()); }

  const std::string value_;
  std::unique_ptr<Store> store_;
  uint64_t index_ = 0;
};

void Run(const std::string& directory, uint64_t keys) {
  Bench bench(directory);
  std::mt19937_64 random(1);
  const auto count = static_cast<int64_t>(keys);
  fmt::print("{} keys of 64 B, values of 256 B, batches of {}\n", keys, kBatchPuts);
  Phase("create", count,
        [&] { bench.Puts(count, [](int64_t i) { return static_cast<uint64_t>(i); }); });
  const Revision created = bench.store().published().revision;
  Phase("overwrite 5,000 hot keys", kOverwrites,
        [&] { bench.Puts(kOverwrites, [&](int64_t) { return random() % kHotKeys; }); });
  Phase("get, hot keys", kGets, [&] {
    for (int i = 0; i < kGets; ++i) bench.Get(random() % kHotKeys);
  });
  Phase("overwrite, uniform", kUniform,
        [&] { bench.Puts(kUniform, [&](int64_t) { return random() % keys; }); });
  Phase("get, uniform", kGets, [&] {
    for (int i = 0; i < kGets; ++i) bench.Get(random() % keys);
  });
  Phase("latest range, per key", count, [&] { CAIRN_CHECK_EQ(bench.Scan(kCurrent), count); });
  Phase("old range, per key", count, [&] { CAIRN_CHECK_EQ(bench.Scan(created), count); });
  Phase("HashKV, per row", count + kOverwrites + kUniform,
        [&] { CAIRN_CHECK(bench.store().HashKv(kCurrent).ok()); });
  bench.Compact();
  Phase("removal, per row", count + kOverwrites + kUniform, [&] { bench.Remove(); });
  Phase("HashKV after it, per key", count,
        [&] { CAIRN_CHECK(bench.store().HashKv(kCurrent).ok()); });
  Phase("latest range, per key", count, [&] { CAIRN_CHECK_EQ(bench.Scan(kCurrent), count); });
  Phase("flush, once", 1, [&] { CAIRN_CHECK(bench.store().Flush().ok()); });
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  fmt::print("logical {} MiB, physical {} MiB, peak memory {} MiB\n",
             bench.store().logical_size_bytes() >> 20, bench.store().physical_size_bytes() >> 20,
             usage.ru_maxrss >> 10);
}

}  // namespace
}  // namespace cairn::mvcc

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: store_bench DIRECTORY [keys]\n");
    return 2;
  }
  cairn::mvcc::Run(argv[1], argc > 2 ? std::stoull(argv[2]) : 1'000'000);
  return 0;
}
