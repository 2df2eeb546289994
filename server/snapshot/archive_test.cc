#include "server/snapshot/archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "server/snapshot/archive_reader.h"
#include "server/snapshot/archive_stream.h"
#include "server/snapshot/sha256.h"
#include "wal/fault_fs.h"

namespace cairn::server {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr std::string_view kFrom = "/from";
constexpr std::string_view kFile = "/saved/file";

bool GoOn() { return false; }

// Keeps what it is given.
class Collector final : public ArchiveSink {
 public:
  absl::Status BeginFile(const SnapshotFile& file) override {
    name_ = file.name;
    files[name_].clear();
    return absl::OkStatus();
  }
  absl::Status Take(std::string_view bytes) override {
    files[name_] += bytes;
    return absl::OkStatus();
  }
  absl::Status EndFile() override {
    ++ended;
    return absl::OkStatus();
  }

  std::map<std::string, std::string> files;
  int ended = 0;

 private:
  std::string name_;
};

class ArchiveTest : public testing::Test {
 protected:
  ArchiveTest() {
    EXPECT_TRUE(fs_.CreateDirectory(kFrom).ok());
    EXPECT_TRUE(fs_.CreateDirectory("/saved").ok());
    Add("000007.sst", std::string(700, 's') + std::string(600, '\0'));
    Add("CURRENT", "MANIFEST-000005\n");
    Add("EMPTY", "");
    Add("MANIFEST-000005", std::string(512, 'm'));
    manifest_.set_format_version(kArchiveFormatVersion);
    manifest_.set_cairn_version("0.1.0");
    manifest_.set_revision(7);
  }

  void Add(const std::string& name, const std::string& content) {
    const std::string path = fmt::format("{}/{}", kFrom, name);
    EXPECT_TRUE(fs_.Create(path).ok());
    fs_.SetContent(path, content);
    contents_[name] = content;
    snapshot::Manifest::File& file = *manifest_.add_files();
    file.set_name(name);
    file.set_size_bytes(content.size());
  }

  std::unique_ptr<ArchiveStream> Begin() {
    auto stream = ArchiveStream::Begin(fs_, std::string(kFrom), manifest_);
    EXPECT_TRUE(stream.ok()) << stream.status();
    return *std::move(stream);
  }

  // The whole archive, read in pieces.
  std::string Write(size_t piece_bytes) {
    const std::unique_ptr<ArchiveStream> stream = Begin();
    std::string all;
    std::string piece(piece_bytes, '?');
    while (stream->left_bytes() > 0) {
      const uint64_t left = stream->left_bytes();
      const absl::StatusOr<size_t> size = stream->Read(piece.data(), piece.size());
      EXPECT_TRUE(size.ok()) << size.status();
      if (!size.ok()) break;
      EXPECT_EQ(stream->left_bytes(), left - *size);
      all += piece.substr(0, *size);
    }
    return all;
  }
  static std::string WithDigest(std::string data) {
    Sha256 sha256;
    sha256.Update(data);
    return data + sha256.Finish();
  }

  // Reads `content` as a saved file.
  absl::Status Read(std::string content, Digest digest = Digest::kCheck,
                    ArchiveSink* sink = nullptr) {
    if (!fs_.Exists(kFile)) {
      EXPECT_TRUE(fs_.Create(kFile).ok());
    }
    fs_.SetContent(kFile, std::move(content));
    auto reader = ArchiveReader::Open(fs_, std::string(kFile), digest);
    CAIRN_RETURN_IF_ERROR(reader.status());
    return (*reader)->ReadAll(sink, GoOn);
  }

  wal::FaultFs fs_;
  snapshot::Manifest manifest_;
  std::map<std::string, std::string> contents_;
};

TEST_F(ArchiveTest, WhatIsWrittenIsReadBack) {
  const std::string data = Write(512);
  EXPECT_EQ(data.size() % kArchiveBlockBytes, 0U);
  for (const size_t piece : {1, 7, 511, 1024, 1 << 20}) EXPECT_EQ(Write(piece), data);
  Collector collected;
  const absl::Status read = Read(WithDigest(data), Digest::kCheck, &collected);
  EXPECT_TRUE(read.ok()) << read;
  EXPECT_EQ(collected.files, contents_);
  EXPECT_EQ(collected.ended, 4);
}

TEST_F(ArchiveTest, TheDigestMayBeMissingIfItIsNotAskedFor) {
  const std::string data = Write(4096);
  EXPECT_THAT(std::string(Read(data).message()), HasSubstr("--skip-hash-check"));
  EXPECT_TRUE(Read(data, Digest::kSkip).ok());
  EXPECT_TRUE(Read(data + std::string(32, 'x'), Digest::kSkip).ok());
}

TEST_F(ArchiveTest, EveryTruncationIsRefused) {
  const std::string whole = WithDigest(Write(4096));
  for (size_t size = 0; size < whole.size(); ++size) {
    const absl::Status read = Read(whole.substr(0, size));
    ASSERT_TRUE(absl::IsDataLoss(read)) << size << ": " << read;
    ASSERT_THAT(std::string(read.message()), AllOf(HasSubstr(kFile), HasSubstr("offset")));
    // A cut is no missing digest.
    if (size != whole.size() - 32) {
      ASSERT_FALSE(Read(whole.substr(0, size), Digest::kSkip).ok()) << size;
    }
  }
  EXPECT_TRUE(absl::IsDataLoss(Read(whole + "x")));
}

TEST_F(ArchiveTest, EveryFlippedByteIsRefused) {
  const std::string whole = WithDigest(Write(4096));
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string altered = whole;
    altered[i] = static_cast<char>(altered[i] ^ 0x10);
    const absl::Status read = Read(std::move(altered));
    ASSERT_FALSE(read.ok()) << "offset " << i;
    // A flipped number of the format looks like a newer one.
    ASSERT_TRUE(absl::IsDataLoss(read) || absl::IsUnimplemented(read)) << read;
  }
}

TEST_F(ArchiveTest, AFlippedByteOfAFileIsNamed) {
  std::string altered = WithDigest(Write(4096));
  altered[altered.find("sss") + 100] = 't';
  for (const Digest digest : {Digest::kCheck, Digest::kSkip}) {
    EXPECT_THAT(std::string(Read(altered, digest).message()),
                AllOf(HasSubstr("state/000007.sst"), HasSubstr("checksum")));
  }
}

TEST_F(ArchiveTest, NamesArePlain) {
  for (const char* name : {"../../etc/passwd", "/etc/passwd", "a/b", "", ".", ".."}) {
    manifest_.mutable_files(0)->set_name(name);
    EXPECT_TRUE(absl::IsDataLoss(DecodeManifest(EncodeManifest(manifest_)).status())) << name;
  }
  manifest_.mutable_files(0)->set_name(manifest_.files(1).name());
  EXPECT_TRUE(absl::IsDataLoss(DecodeManifest(EncodeManifest(manifest_)).status()));
  manifest_.mutable_files(0)->set_name(std::string(200, 'n'));
  EXPECT_TRUE(
      absl::IsInvalidArgument(ArchiveStream::Begin(fs_, std::string(kFrom), manifest_).status()));
}

TEST_F(ArchiveTest, SizesDoNotOverflow) {
  manifest_.mutable_files(0)->set_size_bytes(~uint64_t{0});
  EXPECT_TRUE(absl::IsDataLoss(DecodeManifest(EncodeManifest(manifest_)).status()));
  for (const uint64_t size :
       {uint64_t{0}, uint64_t{511}, (uint64_t{1} << 33) - 1, uint64_t{1} << 33, ~uint64_t{0}}) {
    uint64_t found = 1;
    EXPECT_TRUE(DecodeHeaderSize(EncodeHeader("name", size), found));
    EXPECT_EQ(found, size);
  }
}

TEST_F(ArchiveTest, OtherFormatsAreNamed) {
  std::string bolt(4096, '\0');
  bolt.replace(16, 4, "\xed\xda\x0c\xed");
  const absl::Status etcd = Read(bolt);
  EXPECT_TRUE(absl::IsFailedPrecondition(etcd));
  EXPECT_THAT(std::string(etcd.message()), HasSubstr("etcdutl"));
  manifest_.set_format_version(kArchiveFormatVersion + 1);
  const absl::Status newer = Read(WithDigest(Write(4096)));
  EXPECT_TRUE(absl::IsUnimplemented(newer)) << newer;
  EXPECT_THAT(std::string(newer.message()), HasSubstr("take a newer one"));
}

TEST_F(ArchiveTest, AFileThatIsNotAsItWasEndsTheStream) {
  const std::string path = fmt::format("{}/000007.sst", kFrom);
  const std::string content = contents_["000007.sst"];
  std::string buffer(size_t{1} << 20, '\0');
  for (const std::string& broken : {content.substr(1), content + "x", std::string()}) {
    fs_.SetContent(path, broken);
    const absl::Status read = Begin()->Read(buffer.data(), buffer.size()).status();
    EXPECT_TRUE(absl::IsDataLoss(read)) << read;
    EXPECT_THAT(std::string(read.message()), HasSubstr(path));
  }
  EXPECT_TRUE(fs_.Remove(path).ok());
  EXPECT_TRUE(absl::IsDataLoss(Begin()->Read(buffer.data(), buffer.size()).status()));
  // It cannot be read any more in the middle.
  EXPECT_TRUE(fs_.Create(path).ok());
  fs_.SetContent(path, content);
  const std::unique_ptr<ArchiveStream> cut = Begin();
  ASSERT_TRUE(cut->Read(buffer.data(), 3000).ok());
  fs_.FailOnce(wal::FaultOperation::kRead, absl::StatusCode::kInternal);
  EXPECT_TRUE(absl::IsDataLoss(cut->Read(buffer.data(), buffer.size()).status()));
}

TEST_F(ArchiveTest, ReadingCanBeInterrupted) {
  ASSERT_TRUE(Read(WithDigest(Write(4096))).ok());
  auto reader = ArchiveReader::Open(fs_, std::string(kFile), Digest::kCheck);
  ASSERT_TRUE(reader.ok());
  EXPECT_TRUE(absl::IsCancelled((*reader)->ReadAll(nullptr, [] { return true; })));
}

}  // namespace
}  // namespace cairn::server
