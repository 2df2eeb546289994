#include "mvcc/rocks_backend.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/status.h"
#include "mvcc/store.h"

namespace cairn::mvcc {
namespace {

class RocksBackendTest : public ::testing::Test {
 protected:
  RocksBackendTest() { std::filesystem::remove_all(directory_); }
  ~RocksBackendTest() override { std::filesystem::remove_all(directory_); }

  absl::StatusOr<std::unique_ptr<Backend>> Open(std::function<bool()> on_flush_begin = {}) {
    return OpenRocksBackend({.directory = directory_,
                             .memory_limit_bytes = kMemoryLimitBytesMin,
                             .on_flush_begin = std::move(on_flush_begin)});
  }

  const std::string directory_ =
      ::testing::TempDir() + "/" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
};

std::string Read(const Backend& backend, Family family, std::string_view key) {
  std::string value = "none";
  const auto found =
      backend.Get(family, key, [&value](std::string_view row) { value = std::string(row); });
  EXPECT_TRUE(found.ok()) << found.status();
  return value;
}

TEST_F(RocksBackendTest, KeepsFamiliesApartAndAcrossAClose) {
  {
    auto backend = Open();
    ASSERT_TRUE(backend.ok()) << backend.status();
    const auto batch = (*backend)->NewBatch();
    batch->Put(Family::kKeys, "a", "key");
    batch->Put(Family::kRevisions, "a", "revision");
    batch->Put(Family::kRevisions, "b", "gone");
    batch->Put(Family::kMeta, "a", "meta");
    ASSERT_TRUE((*backend)->Write(*batch).ok());
    batch->Clear();
    batch->SingleDelete(Family::kRevisions, "b");
    batch->Put(Family::kKeys, "b", "row");
    ASSERT_TRUE((*backend)->Write(*batch).ok());
    EXPECT_GE((*backend)->PhysicalSizeBytes(), 1);
  }
  auto backend = Open();
  ASSERT_TRUE(backend.ok()) << backend.status();
  EXPECT_EQ(Read(**backend, Family::kKeys, "a"), "key");
  EXPECT_EQ(Read(**backend, Family::kRevisions, "a"), "revision");
  EXPECT_EQ(Read(**backend, Family::kRevisions, "b"), "none");
  EXPECT_EQ(Read(**backend, Family::kMeta, "a"), "meta");
  const auto rows = (*backend)->NewIterator(Family::kKeys, "b", CacheUse::kFill);
  rows->Seek("");
  ASSERT_TRUE(rows->Valid());
  EXPECT_EQ(rows->key(), "a");
  rows->Next();
  EXPECT_FALSE(rows->Valid()) << "the limit is not part of the range";
  EXPECT_TRUE(rows->status().ok());
}

TEST_F(RocksBackendTest, NoFlushBeginsBeforeTheGateWasAsked) {
  std::atomic<int> asked{0};
  auto backend = Open([&asked] {
    ++asked;
    return true;
  });
  ASSERT_TRUE(backend.ok());
  const auto batch = (*backend)->NewBatch();
  batch->Put(Family::kMeta, "a", "meta");
  ASSERT_TRUE((*backend)->Write(*batch).ok());
  EXPECT_EQ(asked, 0);
  ASSERT_TRUE((*backend)->Flush().ok());
  EXPECT_GT(asked, 0);
}

// What was flushed before stays; what was not is gone, also at the end.
TEST_F(RocksBackendTest, NothingBecomesDurableThatMayNot) {
  std::atomic<bool> may_flush = true;
  const auto put = [](Backend& backend, std::string_view value) {
    const auto batch = backend.NewBatch();
    batch->Put(Family::kKeys, "key", value);
    batch->Put(Family::kMeta, "key", value);
    return backend.Write(*batch);
  };
  for (const bool asks : {true, false}) {
    may_flush = true;
    auto backend = Open([&may_flush] { return may_flush.load(); });
    ASSERT_TRUE(backend.ok()) << backend.status();
    ASSERT_TRUE(put(**backend, "old").ok());
    ASSERT_TRUE((*backend)->Flush().ok());
    ASSERT_TRUE(put(**backend, "new").ok());
    EXPECT_EQ(Read(**backend, Family::kKeys, "key"), "new");
    may_flush = false;
    if (asks) {
      EXPECT_FALSE((*backend)->Flush().ok());
    }
    backend->reset();
    backend = Open();
    ASSERT_TRUE(backend.ok()) << backend.status();
    EXPECT_EQ(Read(**backend, Family::kKeys, "key"), "old");
    EXPECT_EQ(Read(**backend, Family::kMeta, "key"), "old");
  }
}

// Whoever waits for room that only a flush makes does not wait for ever.
TEST_F(RocksBackendTest, WritesFailWhereAFlushMustNotHappen) {
  auto backend = Open([] { return false; });
  ASSERT_TRUE(backend.ok()) << backend.status();
  absl::Status status;
  for (int i = 0; i < 200 && status.ok(); ++i) {
    const auto batch = (*backend)->NewBatch();
    batch->Put(Family::kKeys, std::to_string(i), std::string(size_t{1} << 20, 'x'));
    status = (*backend)->Write(*batch);
  }
  EXPECT_FALSE(status.ok());
}

// One beside the data would have to grow on a disk that is full.
TEST_F(RocksBackendTest, HasNoDiaryBesideTheData) {
  {
    const auto backend = Open();
    ASSERT_TRUE(backend.ok());
    ASSERT_TRUE((*backend)->Checkpoint(directory_ + ".copy").ok());
  }
  std::filesystem::remove_all(directory_ + ".copy");
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/LOG"));
}

TEST_F(RocksBackendTest, TellsWarnings) {
  std::atomic<int> lines = 0;
  const auto backend = OpenRocksBackend({.directory = directory_,
                                         .memory_limit_bytes = kMemoryLimitBytesMin,
                                         .on_warning = [&](bool, std::string_view line) {
                                           if (!line.empty()) ++lines;
                                         }});
  ASSERT_TRUE(backend.ok());
  lines = 0;
  ASSERT_TRUE((*backend)->Checkpoint(directory_ + ".copy").ok());
  std::filesystem::remove_all(directory_ + ".copy");
  EXPECT_GT(lines, 0) << "RocksDB warns of what a checkpoint does";
}

TEST_F(RocksBackendTest, AFlushWritesWhatIsBuffered) {
  const auto backend = Open();
  ASSERT_TRUE(backend.ok());
  const int64_t empty_bytes = (*backend)->BufferedBytes();
  const auto batch = (*backend)->NewBatch();
  batch->Put(Family::kKeys, "key", std::string(size_t{1} << 20, 'x'));
  ASSERT_TRUE((*backend)->Write(*batch).ok());
  EXPECT_GE((*backend)->BufferedBytes(), empty_bytes + (int64_t{1} << 20));
  ASSERT_TRUE((*backend)->Flush().ok());
  EXPECT_LE((*backend)->BufferedBytes(), empty_bytes + 4096);
}

TEST_F(RocksBackendTest, RefusesADirectoryInUse) {
  auto backend = Open();
  ASSERT_TRUE(backend.ok());
  const auto second = Open();
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(base::Message(second.status()).find(directory_), std::string_view::npos);
}

TEST_F(RocksBackendTest, RefusesUnusableOptions) {
  EXPECT_EQ(OpenRocksBackend({}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(OpenRocksBackend({.directory = directory_, .memory_limit_bytes = 1}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(RocksBackendTest, NamesTheDirectoryOfADamagedState) {
  ASSERT_TRUE(Open().ok());
  std::ofstream(directory_ + "/CURRENT", std::ios::trunc) << "nonsense";
  const auto backend = Open();
  ASSERT_FALSE(backend.ok());
  EXPECT_NE(base::Message(backend.status()).find(directory_), std::string_view::npos);
}

// A flipped bit in a table file is never served: every read checks the block that it comes from.
TEST_F(RocksBackendTest, DamagedTablesAreRefusedNotServed) {
  constexpr int kRows = 300;
  const auto key = [](int i) { return fmt::format("k{:03}", i); };
  const auto value = [](int i) { return fmt::format("value {:0100}", i * 7919); };
  {
    auto backend = Open();
    ASSERT_TRUE(backend.ok()) << backend.status();
    const auto batch = (*backend)->NewBatch();
    for (int i = 0; i < kRows; ++i) batch->Put(Family::kKeys, key(i), value(i));
    ASSERT_TRUE((*backend)->Write(*batch).ok());
    ASSERT_TRUE((*backend)->Flush().ok());
  }
  std::filesystem::path table;
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
    if (entry.path().extension() == ".sst") table = entry.path();
  }
  ASSERT_FALSE(table.empty());
  const auto flip = [&table](std::streamoff offset_bytes) {
    std::fstream file(table, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(offset_bytes);
    const char byte = static_cast<char>(file.get());
    file.seekp(offset_bytes);
    file.put(static_cast<char>(byte ^ 0x10));
  };
  const auto size_bytes = static_cast<std::streamoff>(std::filesystem::file_size(table));
  int refused = 0;
  for (std::streamoff offset = 10; offset < size_bytes; offset += size_bytes / 12) {
    SCOPED_TRACE(offset);
    flip(offset);
    if (auto backend = Open(); backend.ok()) {
      for (int i = 0; i < kRows; ++i) {
        std::string found;
        const absl::StatusOr<bool> is_there = (*backend)->Get(
            Family::kKeys, key(i), [&found](std::string_view row) { found = std::string(row); });
        if (is_there.ok()) {
          EXPECT_EQ(found, value(i));
        } else {
          EXPECT_TRUE(absl::IsDataLoss(is_there.status())) << is_there.status();
          ++refused;
        }
      }
      const auto rows = (*backend)->NewIterator(Family::kKeys, {}, CacheUse::kBypass);
      int next = 0;
      for (rows->Seek({}); rows->Valid(); rows->Next(), ++next) {
        EXPECT_EQ(rows->value(), value(next));
      }
      EXPECT_TRUE(next == kRows || absl::IsDataLoss(rows->status())) << rows->status();
    } else {
      EXPECT_TRUE(absl::IsDataLoss(backend.status())) << backend.status();
      ++refused;
    }
    flip(offset);
  }
  EXPECT_GT(refused, 0);
  EXPECT_EQ(Read(**Open(), Family::kKeys, key(0)), value(0));
}

}  // namespace
}  // namespace cairn::mvcc
