// Verdicts over damaged logs, in a mini-language: each case makes the same log, harms its files,
// and says what opening it must answer.
//
//   zero S X N   sectors X.. (N of them) of segment S become zero
//   flip S B     one bit of byte B of segment S
//   cut S B      segment S is shortened to B bytes
//   remove S     segment S disappears
#include "wal/recovery.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "base/fail_point.h"
#include "base/status.h"
#include "wal/fault_fs.h"
#include "wal/format.h"
#include "wal/test_log.h"

namespace cairn::wal {
namespace {

constexpr Options kOptions{.segment_bytes = 4096};

std::string PathOfSegment(uint64_t sequence) {
  return kTestDirectory + "/" + SegmentName(sequence);
}

// Segment 1: header, opening, entries 1..5 of one sector each, room for a proof. Segment 2: header,
// opening, entries 6 (one sector) and 7 (three sectors, unproven). Segment 3: a spare.
void MakeLog(FaultFs& fs) {
  auto opened = Wal::Create(fs, kTestDirectory, kOptions, kTestIdentity);
  ASSERT_TRUE(opened.ok()) << opened.status();
  Wal& wal = *opened->wal;
  for (uint64_t i = 1; i <= 6; ++i) ASSERT_TRUE(WriteAndSync(wal, EntriesOf(i, i, 1, 300)).ok());
  ASSERT_TRUE(WriteAndSync(wal, EntriesOf(7, 7, 1, 1200)).ok());
  ASSERT_TRUE(wal.MakeSpare(nullptr).ok());
  opened->wal.reset();
  fs.Restart();
}

void Harm(FaultFs& fs, const std::string& script) {
  std::istringstream words(script);
  std::string verb;
  while (words >> verb) {
    uint64_t segment = 0, at = 0, count = 0;
    words >> segment;
    std::string content = fs.Content(PathOfSegment(segment));
    if (verb == "remove") {
      ASSERT_TRUE(fs.Remove(PathOfSegment(segment)).ok());
      continue;
    }
    words >> at;
    if (verb == "zero") {
      words >> count;
      content.replace(at * kSectorBytes, count * kSectorBytes, count * kSectorBytes, '\0');
    } else if (verb == "flip") {
      content[at] = static_cast<char>(content[at] ^ 4);
    } else if (verb == "cut") {
      content.resize(at);
    } else {
      FAIL() << verb;
    }
    fs.SetContent(PathOfSegment(segment), content);
  }
}

TEST(RecoveryTest, Verdicts) {
  struct Case {
    std::string name;
    std::string script;
    std::string expected;  // "last N", with " cut" when torn; or a part of the refusal.
  };
  const std::string second = "0000000000000002.wal at offset ";
  const std::vector<Case> cases = {
      {"whole", "", "last 7"},
      {"the last batch never arrived", "zero 2 3 3", "last 6"},
      {"its header is missing", "zero 2 3 1", "last 6 cut"},
      {"a middle sector is missing", "zero 2 4 1", "last 6 cut"},
      {"its last sector is missing", "zero 2 5 1", "last 6 cut"},
      {"a batch is missing that a later one proves", "zero 2 2 1", second + "1024"},
      {"the opening batch is missing, but proven", "zero 2 1 1", second + "512"},
      {"the header is missing, but proven", "zero 2 0 1", second + "0"},
      {"the segment was never begun", "zero 2 0 6", "last 5"},
      {"a bit of the last body", "flip 2 1700", second + "1536"},
      {"a bit of the last header", "flip 2 1550", second + "1536"},
      {"a bit of its padding", "flip 2 3071", second + "1536"},
      {"a bit in the middle", "flip 2 1100", second + "1024"},
      {"a bit of the segment header", "flip 2 20", second + "0"},
      {"a bit in an older segment", "flip 1 2000", "0000000000000001.wal at offset 1536"},
      {"a batch missing from an older segment", "zero 1 6 1", "does not continue"},
      {"a bit in the unused end is never data", "flip 2 3600", "last 7 cut"},
      {"a shortened segment", "cut 2 2048", second + "0: the file has 2048 bytes"},
      {"a shortened spare", "cut 3 512",
       "0000000000000003.wal at offset 0: the file has 512 bytes"},
      {"a lost segment before the spare", "remove 2", "0000000000000002.wal, is missing"},
      {"a lost spare", "remove 3", "last 7"},
      {"a lost first segment", "remove 1", "segments before it are missing"},
      {"a lost last segment is seen by the state alone", "remove 3 remove 2", "last 5"},
      {"all lost", "remove 3 remove 2 remove 1", "there is no log"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    FaultFs fs;
    ASSERT_NO_FATAL_FAILURE(MakeLog(fs));
    ASSERT_NO_FATAL_FAILURE(Harm(fs, c.script));
    const auto opened = Wal::Open(fs, kTestDirectory, kOptions, kTestIdentity);
    if (!opened.ok()) {
      EXPECT_NE(base::Message(opened.status()).find(c.expected), std::string_view::npos)
          << opened.status();
      continue;
    }
    const Recovered& recovered = opened->recovered;
    std::string got = "last " + std::to_string(recovered.last.index.value());
    if (recovered.torn_tail_cut) {
      got += " cut";
      EXPECT_TRUE(fs.Exists(kTestDirectory + "/" + recovered.broken_file));
    }
    EXPECT_EQ(got, c.expected);
  }
}

// A member that is torn again and again keeps the newest of what was cut, and no more.
TEST(RecoveryTest, FilesOfWhatWasCutAreBounded) {
  FaultFs fs;
  ASSERT_NO_FATAL_FAILURE(MakeLog(fs));
  const auto names_of_broken = [&fs] {
    std::vector<std::string> broken;
    const auto names = fs.ListDirectory(kTestDirectory);
    EXPECT_TRUE(names.ok());
    for (const std::string& name : *names) {
      if (name.find(".broken.") != std::string::npos) broken.push_back(name);
    }
    return broken;
  };
  for (int round = 1; round <= 20; ++round) {
    SCOPED_TRACE(round);
    Harm(fs, "zero 2 3 1");
    const auto opened = Wal::Open(fs, kTestDirectory, kOptions, kTestIdentity);
    ASSERT_TRUE(opened.ok()) << opened.status();
    ASSERT_TRUE(opened->recovered.torn_tail_cut);
    EXPECT_EQ(opened->recovered.broken_file, SegmentName(2) + ".broken." + std::to_string(round));
    EXPECT_TRUE(fs.Exists(kTestDirectory + "/" + opened->recovered.broken_file));
    EXPECT_EQ(names_of_broken().size(), static_cast<size_t>(std::min(round, 8)));
    ASSERT_TRUE(WriteAndSync(*opened->wal, EntriesOf(7, 7, 1, 1200)).ok());
    fs.Restart();
  }
}

// No bit of what was acknowledged can change unseen: it is refused, or (beyond the end) cut.
TEST(RecoveryTest, NoFlippedBitIsAccepted) {
  FaultFs fs;
  ASSERT_NO_FATAL_FAILURE(MakeLog(fs));
  constexpr uint64_t kWritten = 6 * kSectorBytes;
  for (uint64_t at = 0; at < kWritten; ++at) {
    fs.FlipBit(PathOfSegment(2), at, static_cast<int>(at % 8));
    EXPECT_FALSE(Wal::Open(fs, kTestDirectory, kOptions, kTestIdentity).ok()) << at;
    fs.FlipBit(PathOfSegment(2), at, static_cast<int>(at % 8));
  }
  EXPECT_TRUE(Wal::Open(fs, kTestDirectory, kOptions, kTestIdentity).ok());
}

// Stops at the `stop_at`th named point of a start and some work; false when there are not so many.
bool WalkTo(int stop_at, bool is_torn) {
  FaultFs fs;
  MakeLog(fs);
  if (is_torn) Harm(fs, "zero 2 4 1");
  uint64_t acknowledged = is_torn ? 6 : 7;
  int passed = 0;
  {
    base::ScopedFailPointObserver observer([&](std::string_view) {
      if (++passed == stop_at) fs.PowerOff();
    });
    auto opened = Wal::Open(fs, kTestDirectory, kOptions, kTestIdentity);
    for (uint64_t i = acknowledged + 1; opened.ok() && i < 30; ++i) {
      if (!WriteAndSync(*opened->wal, EntriesOf(i, i, 1, 900)).ok()) break;
      acknowledged = i;
      if (!WriteAndSync(*opened->wal, MarkerAt(i - 2, 1)).ok()) break;
      if (!opened->wal->CollectCovered(Index(i - 2)).ok()) break;
    }
  }
  fs.Crash(static_cast<uint64_t>(stop_at));
  const auto opened = Wal::Open(fs, kTestDirectory, kOptions, kTestIdentity);
  EXPECT_TRUE(opened.ok()) << "point " << stop_at << ": " << opened.status();
  if (!opened.ok()) return false;
  EXPECT_GE(opened->recovered.last.index, Index(acknowledged));
  EXPECT_TRUE(opened->wal->ReadEntries(Index(acknowledged), Index(acknowledged + 1), 1).ok());
  return passed >= stop_at;
}

// The power fails at each named point in turn, also during the cut; what was acknowledged stays.
TEST(RecoveryTest, APowerCutAtAnyNamedPointLosesNothing) {
  for (const bool is_torn : {false, true}) {
    int stop_at = 1;
    while (WalkTo(stop_at, is_torn)) ++stop_at;
    EXPECT_GT(stop_at, 50) << "the walk is too short to mean anything";
  }
}

}  // namespace
}  // namespace cairn::wal
