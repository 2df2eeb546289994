// What a look at a log tells, against what opening the same files does: every truncation, every
// flipped byte, and what is still readable behind damage. A look changes nothing.
#include "wal/inspector.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "wal/fault_fs.h"
#include "wal/format.h"
#include "wal/test_log.h"

namespace cairn::wal {
namespace {

constexpr Options kOptions{.segment_bytes = 4096};

using Files = std::map<std::string, std::string>;

std::string PathOfFile(const std::string& name) { return kTestDirectory + "/" + name; }

Files Contents(FaultFs& fs) {
  Files files;
  const auto names = fs.ListDirectory(kTestDirectory);
  for (const std::string& name : *names) files[name] = fs.Content(PathOfFile(name));
  return files;
}

void Put(FaultFs& fs, const Files& files) {
  ASSERT_TRUE(fs.CreateDirectory(kTestDirectory).ok());
  for (const auto& [name, content] : files) {
    ASSERT_TRUE(fs.Create(PathOfFile(name)).ok());
    fs.SetContent(PathOfFile(name), content);
  }
}

// Segment 1: entries 1..5, then 4..5 of term 2 and a marker. Segment 2: entries 6 and 7, the last
// of three sectors and unproven. Segment 3: a spare.
Files MakeLog() {
  FaultFs fs;
  auto opened = Wal::Create(fs, kTestDirectory, kOptions, kTestIdentity);
  EXPECT_TRUE(opened.ok()) << opened.status();
  Wal& wal = *opened->wal;
  EXPECT_TRUE(WriteAndSync(wal, EntriesOf(1, 5, 1, 100)).ok());
  Append superseding = EntriesOf(4, 5, 2, 100);
  superseding.hard_state = {.term = Term(2), .vote = MemberId(7), .commit = Index(5)};
  superseding.commit = Index(5);
  EXPECT_TRUE(WriteAndSync(wal, superseding).ok());
  EXPECT_TRUE(WriteAndSync(wal, MarkerAt(4, 2)).ok());
  Append next = EntriesOf(6, 6, 2, 300);
  next.commit = Index(5);
  EXPECT_TRUE(WriteAndSync(wal, next).ok());
  EXPECT_TRUE(WriteAndSync(wal, EntriesOf(7, 7, 2, 1200)).ok());
  EXPECT_TRUE(wal.MakeSpare(nullptr).ok());
  opened->wal.reset();
  fs.Restart();
  return Contents(fs);
}

struct Seen {
  LogReport report;
  std::vector<SeenBatch> batches;  // Bodies are gone.
};

Seen Look(FaultFs& fs) {
  Seen seen;
  auto report = InspectLog(fs, kTestDirectory, [&](const SeenBatch& batch) {
    seen.batches.push_back(batch);
    return true;
  });
  EXPECT_TRUE(report.ok()) << report.status();
  if (report.ok()) seen.report = *std::move(report);
  return seen;
}

std::vector<raft::Entry> ReadableEntries(FaultFs& fs, const LogReport& report) {
  std::vector<raft::Entry> entries;
  const Index first = report.state.before_first().index + 1;
  if (first > report.last.index) return entries;
  const absl::Status status = ForEachEntry(fs, kTestDirectory, report, first, report.last.index,
                                           [&](const raft::Entry& entry) {
                                             entries.push_back(entry);
                                             return true;
                                           });
  EXPECT_TRUE(status.ok()) << status;
  return entries;
}

TEST(InspectorTest, TellsWhatAWholeLogHolds) {
  FaultFs fs;
  Put(fs, MakeLog());
  const Seen seen = Look(fs);
  const LogReport& report = seen.report;
  EXPECT_EQ(report.verdict.kind, VerdictKind::kWhole);
  EXPECT_EQ(report.identity, kTestIdentity);
  EXPECT_EQ(report.last, (raft::EntryId{Term(2), Index(7)}));
  EXPECT_EQ(report.state.commit(), Index(5));
  EXPECT_EQ(report.state.vote(), MemberId(7));
  ASSERT_TRUE(report.state.marker().has_value());
  ASSERT_EQ(report.segments.size(), 3U);
  EXPECT_EQ(report.segments[0].first_entry->index, Index(1));
  EXPECT_EQ(report.segments[1].last_entry->index, Index(7));
  EXPECT_TRUE(report.segments[2].scan.is_all_zero);
  EXPECT_EQ(seen.batches.size(), report.segments[0].scan.batches + report.segments[1].scan.batches);
  EXPECT_EQ(Describe(ReadableEntries(fs, report)), "1/1 2/1 3/1 4/2 5/2 6/2 7/2");
}

TEST(InspectorTest, AVisitorThatHasSeenEnoughIsLeftAlone) {
  FaultFs fs;
  Put(fs, MakeLog());
  int calls = 0;
  const auto report = InspectLog(fs, kTestDirectory, [&](const SeenBatch&) { return ++calls < 2; });
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(report->last.index, Index(7));
}

TEST(InspectorTest, NamesTheOtherFiles) {
  FaultFs fs;
  Files files = MakeLog();
  files["lock"] = "";
  files["0000000000000004.wal.new"] = std::string(100, '\0');
  files["0000000000000002.wal.broken.1"] = "cut";
  files["notes.txt"] = "somebody's";
  Put(fs, files);
  const LogReport report = Look(fs).report;
  ASSERT_EQ(report.others.size(), 3U);
  EXPECT_EQ(report.others[0].kind, OtherFile::Kind::kBroken);
  EXPECT_EQ(report.others[0].size_bytes, 3U);
  EXPECT_EQ(report.others[1].kind, OtherFile::Kind::kUnfinished);
  EXPECT_EQ(report.others[2].kind, OtherFile::Kind::kForeign);
  EXPECT_EQ(report.others[2].name, "notes.txt");
}

TEST(InspectorTest, RefusesEntriesThatAreNotThere) {
  FaultFs fs;
  Put(fs, MakeLog());
  const LogReport report = Look(fs).report;
  const auto ignore = [](const raft::Entry&) { return true; };
  EXPECT_TRUE(
      absl::IsOutOfRange(ForEachEntry(fs, kTestDirectory, report, Index(0), Index(3), ignore)));
  EXPECT_TRUE(
      absl::IsOutOfRange(ForEachEntry(fs, kTestDirectory, report, Index(3), Index(8), ignore)));
  EXPECT_TRUE(
      absl::IsNotFound(InspectLog(fs, "/nowhere", [](const SeenBatch&) { return true; }).status()));
}

// Damage in the second batch of the first segment: what lies behind it is shown, in both segments.
TEST(InspectorTest, FindsWhatIsIntactBehindDamage) {
  const Files whole = MakeLog();
  FaultFs intact;
  Put(intact, whole);
  const Seen before = Look(intact);
  const uint64_t damaged = before.batches[1].offset;

  Files files = whole;
  files[SegmentName(1)][damaged + 70] ^= 1;
  FaultFs fs;
  Put(fs, files);
  const Seen seen = Look(fs);
  EXPECT_EQ(seen.report.verdict.kind, VerdictKind::kCorrupt);
  EXPECT_NE(
      seen.report.verdict.message.find("0000000000000001.wal at offset " + std::to_string(damaged)),
      std::string::npos)
      << seen.report.verdict.message;
  EXPECT_EQ(seen.batches.size(), before.batches.size() - 1);
  const SegmentReport& first = seen.report.segments[0];
  EXPECT_EQ(first.scan.batches, 1U);
  EXPECT_EQ(first.batches_behind_damage, before.report.segments[0].scan.batches - 2);
  EXPECT_EQ(first.first_entry_behind->index, Index(4));
  const SegmentReport& second = seen.report.segments[1];
  EXPECT_EQ(second.batches_behind_damage, before.report.segments[1].scan.batches);
  EXPECT_EQ(second.last_entry_behind->index, Index(7));
  EXPECT_EQ(seen.report.last.index, Index(0));
}

TEST(InspectorTest, FindsWhatIsIntactBehindADamagedHeader) {
  Files files = MakeLog();
  files[SegmentName(2)][20] ^= 1;
  FaultFs fs;
  Put(fs, files);
  const LogReport report = Look(fs).report;
  EXPECT_EQ(report.verdict.kind, VerdictKind::kCorrupt);
  EXPECT_EQ(Describe(ReadableEntries(fs, report)).substr(0, 11), "1/1 2/1 3/1");
  EXPECT_GT(report.segments[1].batches_behind_damage, 0U);
}

VerdictKind KindOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      return VerdictKind::kNoLog;
    case absl::StatusCode::kFailedPrecondition:
      return VerdictKind::kForeign;
    case absl::StatusCode::kUnimplemented:
      return VerdictKind::kNewer;
    default:
      return VerdictKind::kCorrupt;
  }
}

// A look says what opening does, and leaves the files as they are.
void ExpectAgreement(const Files& files) {
  FaultFs fs;
  Put(fs, files);
  const LogReport report = Look(fs).report;
  const std::vector<raft::Entry> entries = ReadableEntries(fs, report);
  ASSERT_EQ(Contents(fs), files);
  auto opened = Wal::Open(fs, kTestDirectory, kOptions, std::nullopt);
  ASSERT_EQ(opened.ok(), report.is_readable()) << opened.status() << report.verdict.message;
  if (!opened.ok()) {
    EXPECT_EQ(KindOf(opened.status()), report.verdict.kind) << opened.status();
    EXPECT_NE(base::Message(opened.status()).find(report.verdict.message), std::string_view::npos)
        << opened.status() << " / " << report.verdict.message;
    return;
  }
  EXPECT_EQ(opened->recovered.torn_tail_cut, report.verdict.kind == VerdictKind::kTorn);
  EXPECT_EQ(opened->recovered.before_first, report.state.before_first());
  ASSERT_EQ(opened->recovered.last, report.last);
  EXPECT_EQ(opened->recovered.hard_state.commit, report.state.commit());
  if (report.last.index == report.state.before_first().index) return;
  const auto read = opened->wal->ReadEntries(report.state.before_first().index + 1,
                                             report.last.index + 1, size_t{1} << 20);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(Describe(*read), Describe(entries));
}

TEST(InspectorTest, AgreesWithAStartOverEveryTruncation) {
  const Files whole = MakeLog();
  for (const uint64_t sequence : {1, 2, 3}) {
    const std::string name = SegmentName(sequence);
    const size_t step = sequence == 3 ? 64 : 7;
    for (size_t size = 0; size < whole.at(name).size(); size += step) {
      SCOPED_TRACE(name + " cut to " + std::to_string(size));
      Files files = whole;
      files[name].resize(size);
      ASSERT_NO_FATAL_FAILURE(ExpectAgreement(files));
    }
    Files files = whole;
    files.erase(name);
    SCOPED_TRACE(name + " removed");
    ASSERT_NO_FATAL_FAILURE(ExpectAgreement(files));
  }
}

TEST(InspectorTest, AgreesWithAStartOverEveryFlippedByte) {
  const Files whole = MakeLog();
  for (const uint64_t sequence : {1, 2}) {
    const std::string name = SegmentName(sequence);
    for (size_t at = 0; at < whole.at(name).size(); ++at) {
      SCOPED_TRACE(name + " flipped at " + std::to_string(at));
      Files files = whole;
      files[name][at] = static_cast<char>(files[name][at] ^ (1 << (at % 8)));
      ASSERT_NO_FATAL_FAILURE(ExpectAgreement(files));
    }
  }
}

TEST(InspectorTest, AgreesWithAStartOverMissingSectors) {
  const Files whole = MakeLog();
  for (const uint64_t sequence : {1, 2}) {
    const std::string name = SegmentName(sequence);
    for (size_t at = 0; at < whole.at(name).size(); at += kSectorBytes) {
      SCOPED_TRACE(name + " zeroed at " + std::to_string(at));
      Files files = whole;
      files[name].replace(at, kSectorBytes, kSectorBytes, '\0');
      ASSERT_NO_FATAL_FAILURE(ExpectAgreement(files));
    }
  }
}

// A disk that dies: what it does not give is named, what it gives is shown.
TEST(InspectorTest, ShowsWhatIsReadableAroundASectorThatIsNot) {
  constexpr Options kLarge{.segment_bytes = 65536};
  FaultFs fs;
  auto opened = Wal::Create(fs, kTestDirectory, kLarge, kTestIdentity);
  ASSERT_TRUE(opened.ok()) << opened.status();
  for (uint64_t first = 1; first <= 60; first += 5) {
    ASSERT_TRUE(WriteAndSync(*opened->wal, EntriesOf(first, first + 4, 1, 1000)).ok());
  }
  opened->wal.reset();
  const std::string first_path = PathOfFile(SegmentName(1));
  fs.SpoilByte(first_path, 20000);
  fs.SpoilByte(first_path, 21000);
  const Seen seen = Look(fs);
  EXPECT_EQ(seen.report.verdict.kind, VerdictKind::kCorrupt);
  EXPECT_NE(seen.report.verdict.message.find("offset 16384 cannot be read: "), std::string::npos)
      << seen.report.verdict.message;
  ASSERT_GE(seen.report.segments.size(), 1u);
  const SegmentReport& spoiled = seen.report.segments[0];
  EXPECT_TRUE(spoiled.is_damaged());
  EXPECT_EQ(spoiled.first_entry, (raft::EntryId{Term(1), Index(1)}));
  ASSERT_TRUE(spoiled.first_entry_behind.has_value());
  EXPECT_GT(spoiled.first_entry_behind->index, spoiled.last_entry->index);
  EXPECT_GT(spoiled.batches_behind_damage, 3u);
}

TEST(InspectorTest, ASegmentWhoseHeaderCannotBeReadIsDamagedAndTheOthersAreShown) {
  for (const uint64_t sequence : {1, 2, 3}) {
    SCOPED_TRACE(sequence);
    FaultFs fs;
    ASSERT_NO_FATAL_FAILURE(Put(fs, MakeLog()));
    fs.SpoilByte(PathOfFile(SegmentName(sequence)), 0);
    const Seen seen = Look(fs);
    EXPECT_EQ(seen.report.verdict.kind, VerdictKind::kCorrupt);
    EXPECT_EQ(seen.report.segments.size(), 3u);
    EXPECT_TRUE(seen.report.segments[sequence - 1].is_damaged());
    EXPECT_NE(seen.report.verdict.message.find(SegmentName(sequence)), std::string::npos)
        << seen.report.verdict.message;
  }
}

}  // namespace
}  // namespace cairn::wal
