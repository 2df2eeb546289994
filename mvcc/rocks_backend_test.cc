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

  absl::StatusOr<std::unique_ptr<Backend>> Open(std::function<void()> on_flush_begin = {}) {
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
  auto backend = Open([&asked] { ++asked; });
  ASSERT_TRUE(backend.ok());
  const auto batch = (*backend)->NewBatch();
  batch->Put(Family::kMeta, "a", "meta");
  ASSERT_TRUE((*backend)->Write(*batch).ok());
  EXPECT_EQ(asked, 0);
  ASSERT_TRUE((*backend)->Flush().ok());
  EXPECT_GT(asked, 0);
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

}  // namespace
}  // namespace cairn::mvcc
