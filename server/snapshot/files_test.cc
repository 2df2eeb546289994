#include "server/snapshot/files.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/crc32c.h"
#include "base/status.h"
#include "server/snapshot/incoming.h"
#include "wal/fault_fs.h"

namespace cairn::server {
namespace {

const std::string kFrom = "/from";
const std::string kTo = "/to";

class SnapshotFilesTest : public testing::Test {
 protected:
  SnapshotFilesTest() {
    EXPECT_TRUE(fs_.CreateDirectory(kFrom).ok());
    Write("CURRENT", "MANIFEST-000005\n");
    Write("MANIFEST-000005", "");
    Write("000007.sst", std::string(3000, 's'));
    Write("OPTIONS-000009", "options");
    files_ = *DescribeFiles(fs_, kFrom);
  }

  void Write(const std::string& name, std::string_view content) {
    auto file = fs_.Create(kFrom + "/" + name);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE((*file)->Write(0, content).ok());
    ASSERT_TRUE((*file)->Sync().ok());
    ASSERT_TRUE(fs_.SyncDirectory(kFrom).ok());
  }

  // Sends all of it in parts, and returns how many there were.
  int Send(size_t part_bytes) {
    auto incoming = IncomingSnapshot::Begin(fs_, kTo, files_);
    EXPECT_TRUE(incoming.ok()) << incoming.status();
    int parts = 0;
    while (!(*incoming)->is_complete()) {
      const SnapshotPosition at = (*incoming)->position();
      const std::string content = fs_.Content(kFrom + "/" + files_[at.file].name);
      const absl::Status taken = (*incoming)->Take(content.substr(at.offset_bytes, part_bytes));
      EXPECT_TRUE(taken.ok()) << taken;
      if (!taken.ok()) break;
      ++parts;
    }
    return parts;
  }
  absl::Status Verify() { return VerifyFiles(fs_, kTo, files_); }

  wal::FaultFs fs_;
  std::vector<SnapshotFile> files_;
};

TEST_F(SnapshotFilesTest, DescribesEveryFileByName) {
  ASSERT_EQ(files_.size(), 4U);
  EXPECT_EQ(files_[0], (SnapshotFile{"000007.sst", 3000, base::Crc32c(std::string(3000, 's'))}));
  EXPECT_EQ(files_[2], (SnapshotFile{"MANIFEST-000005", 0, 0}));
}

// Empty files need no bytes, the first and the last one too.
TEST_F(SnapshotFilesTest, ArrivesInPartsOfAnySize) {
  for (const size_t part_bytes : {1, 7, 512, 2999, 3000, 100'000}) {
    SCOPED_TRACE(part_bytes);
    fs_.set_capacity_bytes(1 << 30);
    for (const SnapshotFile& file : files_) fs_.Remove(kTo + "/" + file.name).IgnoreError();
    EXPECT_GE(Send(part_bytes), 3);
    EXPECT_TRUE(Verify().ok()) << Verify();
  }
}

// What was verified is on the disk: it is there after a power cut.
TEST_F(SnapshotFilesTest, WhatIsVerifiedIsDurable) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    for (const SnapshotFile& file : files_) fs_.Remove(kTo + "/" + file.name).IgnoreError();
    Send(1000);
    ASSERT_TRUE(Verify().ok());
    fs_.Crash(seed);
    EXPECT_TRUE(Verify().ok()) << Verify();
  }
}

TEST_F(SnapshotFilesTest, AnythingThatDiffersIsFound) {
  Send(1000);
  const std::string table = kTo + "/000007.sst";
  const std::string content = fs_.Content(table);
  const auto expect_loss = [&](std::string_view what) {
    const absl::Status status = Verify();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_NE(base::Message(status).find(what), std::string_view::npos) << status;
  };
  for (size_t i = 0; i < content.size(); i += 97) {
    fs_.FlipBit(table, i, 3);
    expect_loss("000007.sst");
    fs_.FlipBit(table, i, 3);
  }
  for (const size_t size : {0, 1, 2999}) {
    fs_.SetContent(table, content.substr(0, size));
    expect_loss("instead of 3000");
  }
  fs_.SetContent(table, content + "x");
  expect_loss("has 3001 bytes");
  fs_.SetContent(table, content);
  EXPECT_TRUE(Verify().ok());
  fs_.SetContent(kTo + "/MANIFEST-000005", "x");
  expect_loss("MANIFEST-000005");
  fs_.SetContent(kTo + "/MANIFEST-000005", "");
  ASSERT_TRUE(fs_.Create(kTo + "/000008.sst").ok());
  expect_loss("5 files instead of 4");
  ASSERT_TRUE(fs_.Remove(table).ok());
  expect_loss("000007.sst is missing");
}

TEST_F(SnapshotFilesTest, BytesThatDoNotFitAreRefused) {
  auto incoming = IncomingSnapshot::Begin(fs_, kTo, files_);
  ASSERT_TRUE(incoming.ok());
  EXPECT_TRUE(absl::IsInvalidArgument((*incoming)->Take("")));
  EXPECT_TRUE(absl::IsInvalidArgument((*incoming)->Take(std::string(3001, 'x'))));
  EXPECT_EQ((*incoming)->position(), (SnapshotPosition{0, 0}));
  ASSERT_TRUE((*incoming)->Take(std::string(2999, 'x')).ok());
  EXPECT_TRUE(absl::IsInvalidArgument((*incoming)->Take("xy")));
  EXPECT_FALSE(IncomingSnapshot::Begin(fs_, kTo, files_).ok()) << "something is there";
}

// The disk says no at any operation: an error, and nothing that looks whole.
TEST_F(SnapshotFilesTest, AFailingDiskIsAnError) {
  for (const wal::FaultOperation operation :
       {wal::FaultOperation::kCreate, wal::FaultOperation::kWrite, wal::FaultOperation::kSync}) {
    for (const SnapshotFile& file : files_) fs_.Remove(kTo + "/" + file.name).IgnoreError();
    fs_.FailOnce(operation, absl::StatusCode::kResourceExhausted);
    absl::Status status;
    auto incoming = IncomingSnapshot::Begin(fs_, kTo, files_);
    status = incoming.status();
    if (incoming.ok()) status = (*incoming)->Take(std::string(3000, 's'));
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
    EXPECT_FALSE(Verify().ok());
  }
}

TEST(StateNamesTest, AreThoseOfACheckpoint) {
  const auto message = [](std::vector<std::string_view> names) {
    return std::string(CheckStateNames(names).message());
  };
  EXPECT_EQ(message({"CURRENT", "MANIFEST-000005", "OPTIONS-000007", "000012.sst", "7.sst"}), "");
  EXPECT_EQ(message({"CURRENT", "MANIFEST-000005"}), "");
  for (const std::string_view other :
       {"000099.log", "000099.blob", "000099.ldb", "LOCK", "IDENTITY", "current", ".sst", "x.sst",
        "18446744073709551614.sst", "MANIFEST-18446744073709551615", "MANIFEST-", "OPTIONS-x"}) {
    EXPECT_EQ(message({"CURRENT", "MANIFEST-000005", other}),
              fmt::format("the file {} is none of a state's", other));
  }
  EXPECT_EQ(message({"MANIFEST-000005"}),
            "there is no state in it: it has 0 files CURRENT and 1 files MANIFEST-*");
  EXPECT_EQ(message({"CURRENT", "MANIFEST-000005", "MANIFEST-000006"}),
            "there is no state in it: it has 1 files CURRENT and 2 files MANIFEST-*");
}

}  // namespace
}  // namespace cairn::server
