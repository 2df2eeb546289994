#include "wal/fs.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "wal/fault_fs.h"
#include "wal/posix_fs.h"
#include "wal/test_log.h"

namespace cairn::wal {
namespace {

// What both file systems promise.
void TryOut(Fs& fs, const std::string& directory) {
  ASSERT_TRUE(fs.CreateDirectory(directory).ok());
  ASSERT_TRUE(fs.CreateDirectory(directory).ok());
  const std::string path = directory + "/b";
  auto file = fs.Create(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(fs.Create(path).status().code(), absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE((*file)->Write(3, "stone").ok());
  ASSERT_TRUE((*file)->Sync().ok());
  EXPECT_EQ(*(*file)->SizeBytes(), 8u);
  char bytes[16];
  EXPECT_EQ(*(*file)->Read(3, bytes, sizeof bytes), 5u);
  EXPECT_EQ(std::string(bytes, 5), "stone");
  EXPECT_EQ(*(*file)->Read(100, bytes, sizeof bytes), 0u);
  ASSERT_TRUE(fs.Rename(path, directory + "/a").ok());
  ASSERT_TRUE(fs.Create(path).ok());
  EXPECT_EQ(fs.RenameNew(path, directory + "/a").code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(*fs.ListDirectory(directory), (std::vector<std::string>{"a", "b"}));
  ASSERT_TRUE(fs.Remove(directory + "/a").ok());
  ASSERT_TRUE(fs.RenameNew(path, directory + "/a").ok());
  ASSERT_TRUE(fs.SyncDirectory(directory).ok());
  EXPECT_EQ(*fs.ListDirectory(directory), std::vector<std::string>{"a"});
  EXPECT_EQ(fs.OpenForReading(path).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(fs.Remove(directory + "/a").ok());
  EXPECT_EQ(*(*file)->Read(3, bytes, 5), 5u) << "readable after its removal";
  EXPECT_EQ(fs.Remove(directory + "/a").code(), absl::StatusCode::kNotFound);
  auto lock = fs.LockFile(directory + "/lock");
  ASSERT_TRUE(lock.ok()) << lock.status();
  EXPECT_EQ(fs.LockFile(directory + "/lock").status().code(), absl::StatusCode::kUnavailable);
  lock->reset();
  EXPECT_TRUE(fs.LockFile(directory + "/lock").ok());
}

TEST(FsTest, FaultFsKeepsThePromise) {
  FaultFs fs;
  TryOut(fs, "/data/wal");
}

TEST(FsTest, PosixFsKeepsThePromise) {
  TryOut(PosixFs(), std::string(testing::TempDir()) + "/cairn_fs_test/promise");
}

TEST(FsTest, PosixFsCarriesALogForItsOwnerOnly) {
  const std::string directory = std::string(testing::TempDir()) + "/cairn_fs_test/log";
  for (const std::string& name :
       PosixFs().ListDirectory(directory).value_or(std::vector<std::string>())) {
    ASSERT_TRUE(PosixFs().Remove(directory + "/" + name).ok());
  }
  constexpr Options kOptions{.segment_bytes = 65536};
  auto opened = Wal::Create(PosixFs(), directory, kOptions, kTestIdentity);
  ASSERT_TRUE(opened.ok()) << opened.status();
  for (uint64_t i = 1; i <= 300; ++i) {
    ASSERT_TRUE(WriteAndSync(*opened->wal, EntriesOf(i, i, 1, 300)).ok());
  }
  opened->wal.reset();
  struct stat status;
  ASSERT_EQ(stat(directory.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  opened = Wal::Open(PosixFs(), directory, kOptions, kTestIdentity);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->recovered.last.index, Index(300));
  ASSERT_EQ(stat((directory + "/" + opened->recovered.last_segment).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

// It would be read whole.
TEST(FsTest, AFileLargerThanAnySegmentIsRefusedUnread) {
  const std::string directory = std::string(testing::TempDir()) + "/cairn_fs_test/large";
  std::filesystem::remove_all(directory);
  constexpr Options kOptions{.segment_bytes = 65536};
  auto opened = Wal::Create(PosixFs(), directory, kOptions, kTestIdentity);
  ASSERT_TRUE(opened.ok()) << opened.status();
  ASSERT_TRUE(WriteAndSync(*opened->wal, EntriesOf(1, 1, 1, 300)).ok());
  opened->wal.reset();
  const std::string path = directory + "/0000000000000009.wal";
  std::ofstream(path).put('x');
  std::filesystem::resize_file(path, kSegmentFileBytesMax + 1);  // A hole.
  opened = Wal::Open(PosixFs(), directory, kOptions, kTestIdentity);
  EXPECT_TRUE(absl::IsDataLoss(opened.status())) << opened.status();
  EXPECT_NE(base::Message(opened.status())
                .find("0000000000000009.wal has 1073741825 bytes, no segment has more than"),
            std::string_view::npos)
      << opened.status();
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace cairn::wal
