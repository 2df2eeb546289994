// Logs that somebody has damaged: files missing, doubled, renamed, foreign, of another member or a
// newer format; every length that a file may be cut to, every bit that may flip, every run of
// sectors that may read as zeros. Either all that was acknowledged is there, or the log is refused
// with file, offset and remedy and nothing on the disk has changed. What no format can tell from a
// power cut, the last sectors gone whole, is counted.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/coding.h"
#include "base/crc32c.h"
#include "base/status.h"
#include "wal/fault_fs.h"
#include "wal/format.h"
#include "wal/log_model.h"
#include "wal/test_log.h"

namespace cairn::wal {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr Options kOptions{.segment_bytes = 4096};
constexpr uint64_t kLastBegun = 3;
constexpr uint64_t kSpare = 4;

std::string PathOfSegment(uint64_t sequence) {
  return fmt::format("{}/{}", kTestDirectory, SegmentName(sequence));
}

// Three segments and a spare, everything acknowledged; the last batch takes three sectors. A log
// that was shut down has its proof behind it.
struct TestLog {
  explicit TestLog(bool is_proven, Identity identity = kTestIdentity) {
    FaultFs fs;
    auto opened = Wal::Create(fs, kTestDirectory, kOptions, identity);
    EXPECT_TRUE(opened.ok()) << opened.status();
    const auto write = [&](Append append) {
      const uint64_t last = model.last();
      append.hard_state = raft::HardState{
          .term = Term(1 + last / 4), .vote = MemberId(last % 3), .commit = Index(last)};
      append.commit = Index(last);
      model.Apply(append);
      EXPECT_TRUE(WriteAndSync(*opened->wal, append).ok());
    };
    for (uint64_t i = 1; i <= 12; ++i) write(EntriesOf(i, i, 1, 300));
    write(EntriesOf(13, 13, 1, 1200));
    EXPECT_TRUE(opened->wal->MakeSpare(nullptr).ok());
    if (is_proven) {
      EXPECT_TRUE(opened->wal->WriteDurableThrough().ok());
      EXPECT_TRUE(opened->wal->Sync().ok());
    }
    opened->wal.reset();
    fs.CrashKeepingNothing();
    disk = fs.disk();
    EXPECT_EQ(fs.ListDirectory(kTestDirectory)->size(), kSpare);
    for (uint64_t sequence = 1; sequence <= kSpare; ++sequence) {
      std::string content = fs.Content(PathOfSegment(sequence));
      written[sequence] = content.size();
      while (written[sequence] > 0 && IsAllZero(std::string_view(content).substr(
                                          written[sequence] - kSectorBytes, kSectorBytes))) {
        written[sequence] -= kSectorBytes;
      }
    }
  }

  FaultDisk disk;
  LogModel model;
  std::map<uint64_t, size_t> written;  // By sequence: the end of what is not zero.
};

enum class Outcome { kWhole, kRefused, kLess };

// Opens what `fs` holds. Whatever it answers must be in order: a refusal names file, offset and
// remedy and changes nothing.
Outcome Open(FaultFs& fs, const LogModel& model, std::string* message = nullptr) {
  const std::map<std::string, std::string> before = fs.Contents();
  const auto opened = Wal::Open(fs, kTestDirectory, kOptions, kTestIdentity);
  if (opened.ok()) {
    return Difference(model, opened->recovered, *opened->wal).empty() ? Outcome::kWhole
                                                                      : Outcome::kLess;
  }
  const std::string words(base::Message(opened.status()));
  EXPECT_THAT(words, AllOf(HasSubstr(kTestDirectory), HasSubstr(".wal at offset "),
                           testing::AnyOf(HasSubstr("restore"), HasSubstr("put the missing"))));
  EXPECT_TRUE(fs.Contents() == before) << "a refused log was changed: " << words;
  if (message != nullptr) *message = words;
  return Outcome::kRefused;
}

// A log cut to any length is refused: a segment has its full size before it has its name.
TEST(DamageTest, EveryLengthOfEveryFile) {
  const TestLog log(false);
  uint64_t lengths = 0;
  for (uint64_t sequence = 1; sequence <= kSpare; ++sequence) {
    const std::string content = FaultFs(log.disk).Content(PathOfSegment(sequence));
    for (size_t length = 0; length < content.size(); ++length, ++lengths) {
      FaultFs fs(log.disk);
      fs.SetContent(PathOfSegment(sequence), content.substr(0, length));
      ASSERT_EQ(Open(fs, log.model), Outcome::kRefused)
          << SegmentName(sequence) << " cut to " << length;
      // The same where no spare is left beside it.
      if (sequence != kLastBegun) continue;
      ASSERT_TRUE(fs.Remove(PathOfSegment(kSpare)).ok());
      ASSERT_EQ(Open(fs, log.model), Outcome::kRefused)
          << SegmentName(sequence) << " cut to " << length << ", no spare";
    }
  }
  fmt::print("{} lengths: each is refused\n", lengths);
}

// Every bit of the newest segment that is written, and one of each other byte.
TEST(DamageTest, EveryFlippedBit) {
  for (const bool is_proven : {false, true}) {
    const TestLog log(is_proven);
    uint64_t refused = 0;
    uint64_t whole = 0;
    for (uint64_t sequence = 1; sequence <= kSpare; ++sequence) {
      for (size_t at = 0; at < kOptions.segment_bytes; ++at) {
        const bool is_written = at < log.written.at(sequence);
        for (size_t bit = 0; bit < 8; ++bit) {
          if (!(is_written && sequence == kLastBegun) && bit != at % 8) continue;
          FaultFs fs(log.disk);
          fs.FlipBit(PathOfSegment(sequence), at, static_cast<int>(bit));
          const Outcome outcome = Open(fs, log.model);
          ASSERT_NE(outcome, Outcome::kLess) << SegmentName(sequence) << " at " << at;
          ASSERT_TRUE(!is_written || outcome == Outcome::kRefused)
              << SegmentName(sequence) << " at " << at;
          ++(outcome == Outcome::kRefused ? refused : whole);
        }
      }
    }
    fmt::print("{} flipped bits are refused, {} changed nothing that counts\n", refused, whole);
  }
}

// Any run of sectors of any segment reads as zeros, as if it had never reached the disk.
TEST(DamageTest, EveryRunOfSectorsThatReadsAsZeros) {
  for (const bool is_proven : {false, true}) {
    const TestLog log(is_proven);
    std::map<Outcome, uint64_t> counts;
    std::string less;
    for (uint64_t sequence = 1; sequence <= kLastBegun; ++sequence) {
      const size_t end = log.written.at(sequence);
      for (size_t from = 0; from < end; from += kSectorBytes) {
        for (size_t to = from + kSectorBytes; to <= end; to += kSectorBytes) {
          FaultFs fs(log.disk);
          std::string content = fs.Content(PathOfSegment(sequence));
          content.replace(from, to - from, to - from, '\0');
          fs.SetContent(PathOfSegment(sequence), content);
          const Outcome outcome = Open(fs, log.model);
          ++counts[outcome];
          if (outcome != Outcome::kLess) continue;
          less += fmt::format("  {} from {} to {}\n", SegmentName(sequence), from, to);
          // No format can tell: the only word that what is missing was on the disk is in the last
          // batch, and its header is gone, too, or it is that batch of which a part is missing.
          const size_t last_batch_bytes = (is_proven ? 1 : 3) * kSectorBytes;
          EXPECT_EQ(sequence, kLastBegun) << less;
          EXPECT_GT(to, end - last_batch_bytes) << less;
        }
      }
    }
    EXPECT_GT(counts[Outcome::kRefused], 0U);
    fmt::print("{}: {} runs are refused, {} changed nothing, {} look like a power cut:\n{}",
               is_proven ? "shut down" : "killed", counts[Outcome::kRefused],
               counts[Outcome::kWhole], counts[Outcome::kLess], less);
  }
}

// Without the newest segment, and without the spare behind it, the log is a whole one that ends
// earlier: only the state can tell (README, what a start cannot see).
TEST(DamageTest, TheNewestFilesRemovedWithTheSpare) {
  const TestLog log(true);
  FaultFs fs(log.disk);
  ASSERT_TRUE(fs.Remove(PathOfSegment(kSpare)).ok());
  ASSERT_TRUE(fs.Remove(PathOfSegment(kLastBegun)).ok());
  EXPECT_EQ(Open(fs, log.model), Outcome::kLess);
}

std::string NewerVersion(std::string content) {
  std::string header = content.substr(0, kSegmentHeaderBytes);
  header[8] = 2;
  std::string crc;
  base::AppendLittle32(crc, base::Crc32c(std::string_view(header).substr(0, 508)));
  return content.replace(0, kSegmentHeaderBytes, header.substr(0, 508) + crc);
}

TEST(DamageTest, WhatIsNotAWholeLogIsRefusedByNameAndNothingChanges) {
  const TestLog log(true);
  const TestLog other_member(true, {.cluster = kTestIdentity.cluster, .member = MemberId(0x77)});
  const TestLog other_cluster(true, {.cluster = ClusterId(0x88), .member = kTestIdentity.member});
  const auto content_of = [](const TestLog& of, uint64_t sequence) {
    return FaultFs(of.disk).Content(PathOfSegment(sequence));
  };
  const auto put = [](FaultFs& fs, uint64_t sequence, std::string content) {
    fs.SetContent(PathOfSegment(sequence), std::move(content));
  };
  const auto remove = [](FaultFs& fs, uint64_t sequence) {
    ASSERT_TRUE(fs.Remove(PathOfSegment(sequence)).ok());
  };
  struct Case {
    std::string name;
    std::function<void(FaultFs&)> harm;
    absl::StatusCode code;
    std::string at;  // File and offset.
    std::string what;
    std::string remedy = "restore this member from a backup";
  };
  const auto kDataLoss = absl::StatusCode::kDataLoss;
  const std::vector<Case> cases = {
      {"the first segment is missing", [&](FaultFs& fs) { remove(fs, 1); }, kDataLoss,
       "0000000000000002.wal at offset 0", "segments before it are missing", "put the missing"},
      {"the first two are missing",
       [&](FaultFs& fs) {
         remove(fs, 1);
         remove(fs, 2);
       },
       kDataLoss, "0000000000000003.wal at offset 0", "segments before it are missing",
       "put the missing"},
      {"a middle segment is missing", [&](FaultFs& fs) { remove(fs, 2); }, kDataLoss,
       "0000000000000003.wal at offset 0",
       "the segment before it, 0000000000000002.wal, is missing"},
      {"the newest segment is missing, but not the spare", [&](FaultFs& fs) { remove(fs, 3); },
       kDataLoss, "0000000000000004.wal at offset 0",
       "the segment before it, 0000000000000003.wal, is missing"},
      {"a segment is there twice, in place of the spare",
       [&](FaultFs& fs) { put(fs, 4, content_of(log, 2)); }, kDataLoss,
       "0000000000000004.wal at offset 0", "the header belongs to 0000000000000002.wal"},
      {"a segment is there twice, behind the spare",
       [&](FaultFs& fs) { put(fs, 5, content_of(log, 3)); }, kDataLoss,
       "0000000000000005.wal at offset 0", "the header belongs to 0000000000000003.wal"},
      {"two segments have changed names",
       [&](FaultFs& fs) {
         put(fs, 1, content_of(log, 2));
         put(fs, 2, content_of(log, 1));
       },
       kDataLoss, "0000000000000001.wal at offset 0", "the header belongs to 0000000000000002.wal"},
      {"a segment has another number",
       [&](FaultFs& fs) {
         put(fs, 7, content_of(log, 3));
         remove(fs, 3);
       },
       kDataLoss, "0000000000000004.wal at offset 0",
       "the segment before it, 0000000000000003.wal, is missing"},
      {"a segment of another member", [&](FaultFs& fs) { put(fs, 2, content_of(other_member, 2)); },
       absl::StatusCode::kFailedPrecondition, "0000000000000002.wal at offset 16",
       "belongs to member 77 of cluster c1, but this is member 3e of cluster c1",
       "check the data directory"},
      {"a segment of another cluster",
       [&](FaultFs& fs) { put(fs, 3, content_of(other_cluster, 3)); },
       absl::StatusCode::kFailedPrecondition, "0000000000000003.wal at offset 16",
       "belongs to member 3e of cluster 88", "check the data directory"},
      {"the same segment of another life of this member",
       [&](FaultFs& fs) { put(fs, 2, content_of(TestLog(true), 2)); }, kDataLoss,
       "0000000000000002.wal at offset 0", "it does not continue the segment before it"},
      {"a newer format", [&](FaultFs& fs) { put(fs, 2, NewerVersion(content_of(log, 2))); },
       absl::StatusCode::kUnimplemented, "0000000000000002.wal at offset 8", "the format is newer",
       "start the version that wrote it"},
      {"a first segment of length zero", [&](FaultFs& fs) { put(fs, 1, ""); }, kDataLoss,
       "0000000000000001.wal at offset 0", "the file has 0 bytes"},
      {"a middle segment of length zero", [&](FaultFs& fs) { put(fs, 2, ""); }, kDataLoss,
       "0000000000000002.wal at offset 0", "the file has 0 bytes"},
      {"a newest segment of length zero",
       [&](FaultFs& fs) {
         put(fs, 3, "");
         remove(fs, 4);
       },
       kDataLoss, "0000000000000003.wal at offset 0", "the file has 0 bytes"},
      {"a spare of length zero", [&](FaultFs& fs) { put(fs, 4, ""); }, kDataLoss,
       "0000000000000004.wal at offset 0", "the file has 0 bytes"},
      {"another program's file",
       [&](FaultFs& fs) { fs.SetContent(kTestDirectory + "/notes.txt", "mine"); },
       absl::StatusCode::kFailedPrecondition, "notes.txt", "is none of the log's files",
       "move it elsewhere"},
      {"a copy of a segment beside it",
       [&](FaultFs& fs) { fs.SetContent(PathOfSegment(2) + ".bak", content_of(log, 2)); },
       absl::StatusCode::kFailedPrecondition, "0000000000000002.wal.bak",
       "is none of the log's files", "move it elsewhere"},
      {"a segment of etcd's",
       [&](FaultFs& fs) {
         fs.SetContent(kTestDirectory + "/0000000000000000-0000000000000000.wal", "etcd");
       },
       absl::StatusCode::kFailedPrecondition, "0000000000000000-0000000000000000.wal",
       "is none of the log's files", "move it elsewhere"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    FaultFs fs(log.disk);
    c.harm(fs);
    fs.Restart();
    const std::map<std::string, std::string> before = fs.Contents();
    // A start does not know whose log it should be; the log says.
    for (const bool knows_identity : {true, false}) {
      const auto opened = Wal::Open(fs, kTestDirectory, kOptions,
                                    knows_identity ? std::optional(kTestIdentity) : std::nullopt);
      ASSERT_FALSE(opened.ok());
      EXPECT_EQ(opened.status().code(), c.code) << opened.status();
      EXPECT_THAT(std::string(base::Message(opened.status())),
                  AllOf(HasSubstr(kTestDirectory), HasSubstr(c.at), HasSubstr(c.what),
                        HasSubstr(c.remedy)));
      EXPECT_TRUE(fs.Contents() == before) << "it changed something";
    }
    EXPECT_FALSE(Wal::Create(fs, kTestDirectory, kOptions, kTestIdentity).ok());
    EXPECT_TRUE(fs.Contents() == before) << "Create changed something";
  }
}

// What a crash or a person leaves there rightly.
TEST(DamageTest, FilesThatMayLieInTheDirectory) {
  const TestLog log(true);
  FaultFs fs(log.disk);
  fs.SetContent(kTestDirectory + "/lock", "");
  fs.SetContent(kTestDirectory + "/lost+found", "");
  fs.SetContent(PathOfSegment(5) + ".new", "");
  fs.SetContent(PathOfSegment(2) + ".broken.1", "cut off");
  EXPECT_EQ(Open(fs, log.model), Outcome::kWhole);
  EXPECT_FALSE(fs.Exists(PathOfSegment(5) + ".new"));
  EXPECT_TRUE(fs.Exists(PathOfSegment(2) + ".broken.1"));
}

}  // namespace
}  // namespace cairn::wal
