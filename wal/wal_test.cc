#include "wal/wal.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "base/fail_point.h"
#include "base/status.h"
#include "wal/fault_fs.h"
#include "wal/format.h"
#include "wal/test_log.h"

namespace cairn::wal {
namespace {

using ::testing::Test;
constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();
constexpr Options kSmall{.segment_bytes = 8192};

class WalTest : public Test {
 protected:
  void Create(Options options = kSmall) {
    options_ = options;
    auto opened = Wal::Create(fs_, kTestDirectory, options, kTestIdentity);
    ASSERT_TRUE(opened.ok()) << opened.status();
    wal_ = std::move(opened->wal);
  }

  absl::Status Open(std::optional<Identity> expected = kTestIdentity) {
    wal_.reset();
    fs_.Restart();
    auto opened = Wal::Open(fs_, kTestDirectory, options_, expected);
    if (!opened.ok()) return opened.status();
    wal_ = std::move(opened->wal);
    recovered_ = std::move(opened->recovered);
    return absl::OkStatus();
  }

  void Write(const Append& append) { ASSERT_TRUE(WriteAndSync(*wal_, append).ok()); }

  std::string Read(uint64_t first, uint64_t limit, size_t max_bytes = kNoLimit) {
    auto entries = wal_->ReadEntries(Index(first), Index(limit), max_bytes);
    return entries.ok() ? Describe(*entries) : std::string(base::Message(entries.status()));
  }

  // The log is gone.
  void Reset() {
    wal_.reset();
    const std::vector<std::string> names = *fs_.ListDirectory(kTestDirectory);
    for (const std::string& name : names) {
      ASSERT_TRUE(fs_.Remove(fmt::format("{}/{}", kTestDirectory, name)).ok());
    }
  }

  void MakeSparesAtEachRotation(size_t data_bytes) {
    int made = 0;
    {
      const base::ScopedFailPointObserver observer([&](std::string_view name) {
        if (name != "wal.rotate.begun") return;
        ++made;
        EXPECT_TRUE(wal_->MakeSpare(nullptr).ok());
      });
      for (uint64_t i = 1; i <= 40; ++i) Write(EntriesOf(i, i, 1, data_bytes));
    }
    EXPECT_GT(made, 1);
    ASSERT_TRUE(Open().ok());
    EXPECT_EQ(recovered_.last.index, Index(40));
  }

  FaultFs fs_;
  Options options_;
  std::unique_ptr<Wal> wal_;
  Recovered recovered_;
};

TEST_F(WalTest, AFreshLogIsEmptyAndComesBackEmpty) {
  Create();
  EXPECT_EQ(wal_->last(), raft::EntryId());
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(recovered_.identity, kTestIdentity);
  EXPECT_EQ(recovered_.last, raft::EntryId());
  EXPECT_EQ(recovered_.hard_state, raft::HardState());
  EXPECT_EQ(recovered_.segments, 1u);
  EXPECT_FALSE(recovered_.torn_tail_cut);
}

TEST_F(WalTest, CreateRefusesToReplaceALog) {
  Create();
  fs_.Restart();
  EXPECT_EQ(Wal::Create(fs_, kTestDirectory, kSmall, kTestIdentity).status().code(),
            absl::StatusCode::kAlreadyExists);
}

TEST_F(WalTest, OpenOfNothingIsNotFound) {
  EXPECT_EQ(Open().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(fs_.CreateDirectory(kTestDirectory).ok());
  EXPECT_EQ(Open().code(), absl::StatusCode::kNotFound);
}

TEST_F(WalTest, EverythingWrittenComesBack) {
  Create();
  Append append = EntriesOf(1, 3, 2);
  append.entries[1].kind = raft::EntryKind::kEmpty;
  append.entries[1].data = nullptr;
  append.entries[2].kind = raft::EntryKind::kConfiguration;
  append.hard_state = raft::HardState{.term = Term(2), .vote = MemberId(7), .commit = Index(1)};
  append.configuration = "three members";
  append.marker = Marker{.id = {.term = Term(2), .index = Index(1)}};
  append.commit = Index(2);
  Write(append);
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(recovered_.hard_state,
            (raft::HardState{.term = Term(2), .vote = MemberId(7), .commit = Index(2)}));
  EXPECT_EQ(recovered_.last, (raft::EntryId{.term = Term(2), .index = Index(3)}));
  EXPECT_EQ(recovered_.marker, append.marker);
  EXPECT_EQ(recovered_.configuration, "three members");
  auto entries = wal_->ReadEntries(Index(1), Index(10), kNoLimit);
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 3u);
  EXPECT_EQ(*(*entries)[0].data, *append.entries[0].data);
  EXPECT_EQ((*entries)[1].data, nullptr);
  EXPECT_EQ((*entries)[1].kind, raft::EntryKind::kEmpty);
  EXPECT_EQ((*entries)[2].kind, raft::EntryKind::kConfiguration);
}

TEST_F(WalTest, ACommitIndexBeyondTheLastEntryIsNotRecorded) {
  Create();
  Append append = EntriesOf(1, 3, 1);
  append.commit = Index(9);
  Write(append);
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(recovered_.hard_state.commit, Index(3));
}

TEST_F(WalTest, ForeignIdentitiesAreADistinctError) {
  Create();
  const absl::Status cluster = Open(Identity{.cluster = ClusterId(1), .member = MemberId(0x3e)});
  EXPECT_EQ(cluster.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(base::Message(cluster).find("member 3e of cluster c1"), std::string::npos) << cluster;
  EXPECT_EQ(Open(Identity{.cluster = ClusterId(0xc1), .member = MemberId(1)}).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Open(std::nullopt).ok());
}

TEST_F(WalTest, ReadsAreBoundedByRangeAndBytes) {
  Create();
  for (uint64_t i = 1; i <= 60; ++i) Write(EntriesOf(i, i, 1 + i / 20, 300));
  EXPECT_EQ(Read(18, 22), "18/1 19/1 20/2 21/2");
  EXPECT_EQ(Read(59, 100), "59/3 60/4");
  EXPECT_EQ(Read(5, 60, 900), "5/1 6/1 7/1");
  EXPECT_EQ(Read(5, 60, 1), "5/1");
  EXPECT_EQ(wal_->ReadEntries(Index(61), Index(62), 1).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(wal_->ReadEntries(Index(0), Index(2), 1).status().code(),
            absl::StatusCode::kOutOfRange);
  EXPECT_EQ(*wal_->TermAt(Index(0)), Term(0));
  EXPECT_EQ(*wal_->TermAt(Index(19)), Term(1));
  EXPECT_EQ(*wal_->TermAt(Index(20)), Term(2));
  EXPECT_EQ(wal_->TermAt(Index(61)).status().code(), absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(Open().ok());
  EXPECT_GT(recovered_.segments, 3u);
  EXPECT_EQ(Read(18, 22), "18/1 19/1 20/2 21/2");
}

TEST_F(WalTest, ALaterEntrySupersedes) {
  Create();
  Write(EntriesOf(1, 10, 1));
  // Twice within one batch, so that the dead version lies in the batch of the live one.
  const std::vector<Append> appends = {EntriesOf(5, 9, 2), EntriesOf(7, 8, 3), EntriesOf(9, 9, 4)};
  ASSERT_TRUE(wal_->Write(appends).ok());
  for (const bool reopened : {false, true}) {
    if (reopened) {
      ASSERT_TRUE(Open().ok());
    }
    EXPECT_EQ(Read(1, 20), "1/1 2/1 3/1 4/1 5/2 6/2 7/3 8/3 9/4");
    EXPECT_EQ(Read(7, 8), "7/3");
    EXPECT_EQ(Read(9, 10), "9/4");
    EXPECT_EQ(*wal_->TermAt(Index(6)), Term(2));
    EXPECT_EQ(*wal_->TermAt(Index(8)), Term(3));
    EXPECT_EQ(wal_->last().index, Index(9));
  }
}

TEST_F(WalTest, ASnapshotDropsEarlierEntriesAndPermitsTheGap) {
  Create();
  Write(EntriesOf(1, 10, 1));
  Append install;
  install.snapshot_installed = SnapshotInstalled{.id = {.term = Term(4), .index = Index(100)},
                                                 .configuration = "from the leader"};
  install.entries = EntriesOf(101, 102, 5).entries;
  Write(install);
  for (const bool reopened : {false, true}) {
    if (reopened) {
      ASSERT_TRUE(Open().ok());
    }
    EXPECT_EQ(wal_->before_first(), (raft::EntryId{.term = Term(4), .index = Index(100)}));
    EXPECT_EQ(Read(101, 200), "101/5 102/5");
    EXPECT_EQ(*wal_->TermAt(Index(100)), Term(4));
    EXPECT_EQ(wal_->TermAt(Index(10)).status().code(), absl::StatusCode::kOutOfRange);
  }
  EXPECT_EQ(recovered_.snapshot_installed, install.snapshot_installed);
  EXPECT_EQ(recovered_.configuration, "from the leader");
}

TEST_F(WalTest, AnEntryLargerThanASegmentGetsOneOfItsSize) {
  Create();
  Write(EntriesOf(1, 1, 1));
  ASSERT_TRUE(wal_->MakeSpare(nullptr).ok());
  Write(EntriesOf(2, 2, 1, 50000));
  Write(EntriesOf(3, 3, 1));
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(Read(1, 4), "1/1 2/1 3/1");
  EXPECT_EQ(recovered_.segments, 3u);
}

TEST_F(WalTest, BytesThatLookUnwrittenOrLikeABatchAreOnlyData) {
  Create({.segment_bytes = 65536});
  Append append = EntriesOf(1, 1, 1);
  append.entries.push_back(MakeEntry(2, 1, std::string(8000, '\0')));
  Write(append);
  const std::string first = fs_.Content(kTestDirectory + "/" + SegmentName(1)).substr(512, 8192);
  append.entries = {MakeEntry(3, 1, first), MakeEntry(4, 1, std::string(448 + 512, '\0') + first)};
  Write(append);
  ASSERT_TRUE(Open().ok()) << Open();
  EXPECT_EQ(Read(1, 5), "1/1 2/1 3/1 4/1");
  EXPECT_EQ(*(*wal_->ReadEntries(Index(2), Index(3), 1))[0].data, std::string(8000, '\0'));
  EXPECT_EQ(*(*wal_->ReadEntries(Index(3), Index(4), 1))[0].data, first);
}

TEST_F(WalTest, CoveredSegmentsGoAndReadersSayHowFar) {
  Create();
  for (uint64_t i = 1; i <= 100; ++i) Write(EntriesOf(i, i, 1, 500));
  EXPECT_EQ(*wal_->CollectCovered(Index(50)), 0u) << "no marker";
  ASSERT_TRUE(wal_->Write(std::vector{MarkerAt(50, 1)}).ok());
  EXPECT_EQ(*wal_->CollectCovered(Index(50)), 0u) << "the marker is not synced";
  ASSERT_TRUE(wal_->Sync().ok());
  EXPECT_GT(*wal_->CollectCovered(Index(50)), 3u);
  EXPECT_EQ(*wal_->CollectCovered(Index(50)), 0u);
  for (const bool reopened : {false, true}) {
    if (reopened) {
      ASSERT_TRUE(Open().ok());
    }
    const Index before = wal_->before_first().index;
    EXPECT_LE(before, Index(50));
    EXPECT_GT(before, Index(35));
    EXPECT_EQ(wal_->ReadEntries(before, before + 1, 1).status().code(),
              absl::StatusCode::kOutOfRange);
    EXPECT_EQ(*wal_->TermAt(before), Term(1));
    EXPECT_EQ(wal_->ReadEntries(before + 1, Index(101), kNoLimit)->size(), 100 - before.value());
    EXPECT_EQ(wal_->ReadEntries(Index(51), Index(52), 1)->front().index, Index(51));
  }
  EXPECT_EQ(recovered_.marker->id.index, Index(50));
}

TEST_F(WalTest, ATailAndAPinAreKeptOfWhatIsCovered) {
  Create();
  for (uint64_t i = 1; i <= 100; ++i) Write(EntriesOf(i, i, 1, 500));
  Write(MarkerAt(100, 1));
  const TailToKeep tail = {.entries_max = 40, .bytes_max = 1 << 20};
  const Pins pinned = {.tail = tail, .pins = {{PinKind::kSnapshot, 1, Index(30)}}};
  EXPECT_GT(*wal_->CollectCovered(Index(100), pinned), 1u);
  EXPECT_LT(wal_->before_first().index, Index(30));
  EXPECT_GT(wal_->before_first().index, Index(15));
  EXPECT_EQ(wal_->Retained(pinned).keep_from, Index(30));
  EXPECT_EQ(wal_->Retained(pinned).pins[1].entries, 71u);
  EXPECT_GT(*wal_->CollectCovered(Index(100), {.tail = tail}), 1u);
  EXPECT_LE(wal_->before_first().index, Index(60));
  EXPECT_GT(wal_->before_first().index, Index(45));
  // Two segments and what the current one holds.
  const Pins small = {.tail = {.entries_max = 1000, .bytes_max = 2 * 8192}};
  EXPECT_GT(*wal_->CollectCovered(Index(100), small), 0u);
  EXPECT_GT(wal_->before_first().index, Index(60));
  EXPECT_EQ(*wal_->CollectCovered(Index(100), small), 0u);
}

// Also when the power goes right after.
TEST_F(WalTest, WhatWasRemovedStaysRemoved) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    FaultFs fs;
    auto opened = Wal::Create(fs, kTestDirectory, kSmall, kTestIdentity);
    ASSERT_TRUE(opened.ok()) << opened.status();
    for (uint64_t i = 1; i <= 60; ++i) {
      ASSERT_TRUE(WriteAndSync(*opened->wal, EntriesOf(i, i, 1, 500)).ok());
    }
    ASSERT_TRUE(WriteAndSync(*opened->wal, MarkerAt(60, 1)).ok());
    EXPECT_GT(*opened->wal->CollectCovered(Index(60)), 2u);
    const raft::EntryId before = opened->wal->before_first();
    opened->wal.reset();
    fs.Crash(seed);
    opened = Wal::Open(fs, kTestDirectory, kSmall, kTestIdentity);
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_EQ(opened->recovered.before_first, before);
  }
}

// Entries 30.. are superseded from 25 on in a later segment; the segments before may go only when
// all they name is covered, and what stays begins below its own header's word.
TEST_F(WalTest, RemovalAfterSupersessionKeepsTheTermBeforeTheFirst) {
  Create();
  for (uint64_t i = 1; i <= 30; ++i) Write(EntriesOf(i, i, 1, 500));
  for (uint64_t i = 25; i <= 60; ++i) Write(EntriesOf(i, i, 2, 500));
  Write(MarkerAt(26, 2));
  ASSERT_TRUE(wal_->CollectCovered(Index(26)).ok());
  EXPECT_LE(wal_->before_first().index, Index(24));
  Write(MarkerAt(45, 2));
  ASSERT_TRUE(wal_->CollectCovered(Index(45)).ok());
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(wal_->ReadEntries(Index(46), Index(47), 1)->front().term, Term(2));
  for (Index i = wal_->before_first().index; i <= Index(60); ++i) {
    EXPECT_EQ(*wal_->TermAt(i), Term(i < Index(25) ? 1 : 2)) << i;
  }
}

TEST_F(WalTest, HardStateAndConfigurationSurviveTheirSegment) {
  Create();
  Append append = EntriesOf(1, 1, 3);
  append.hard_state = raft::HardState{.term = Term(3), .vote = MemberId(9)};
  append.configuration = "one member";
  append.sync_mode = SyncMode::kInterval;
  Write(append);
  for (uint64_t i = 2; i <= 100; ++i) Write(EntriesOf(i, i, 3, 500));
  Write(MarkerAt(100, 3));
  ASSERT_GT(*wal_->CollectCovered(Index(100)), 3u);
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(recovered_.hard_state.term, Term(3));
  EXPECT_EQ(recovered_.hard_state.vote, MemberId(9));
  EXPECT_EQ(recovered_.configuration, "one member");
  EXPECT_EQ(recovered_.sync_mode, SyncMode::kInterval);
  EXPECT_GT(recovered_.read_bytes, 0u);
  Write(Append{.sync_mode = SyncMode::kAlways});
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(recovered_.sync_mode, SyncMode::kAlways);
}

TEST_F(WalTest, FiguresCountWhatIsWrittenAndSynced) {
  Create();
  const LogFigures before = wal_->figures();
  EXPECT_EQ(before.synced_bytes, before.appended_bytes);
  ASSERT_TRUE(wal_->Write(std::vector{EntriesOf(1, 3, 1, 300)}).ok());
  LogFigures figures = wal_->figures();
  EXPECT_EQ(figures.appended_entries, 3u);
  EXPECT_EQ(figures.appended_bytes - before.appended_bytes, 2 * 512u)
      << "64 bytes and three times 310";
  EXPECT_EQ(figures.synced_bytes, before.synced_bytes);
  EXPECT_EQ(figures.batch_bytes.count, 1u);
  EXPECT_EQ(figures.batch_bytes.sum, 2 * 512u);
  ASSERT_TRUE(wal_->Sync().ok());
  figures = wal_->figures();
  EXPECT_EQ(figures.synced_bytes, figures.appended_bytes);
  EXPECT_EQ(figures.sync_us.count, before.sync_us.count + 1);
  for (uint64_t i = 4; i <= 50; ++i) Write(EntriesOf(i, i, 1, 500));
  Write(MarkerAt(50, 1));
  const uint64_t segments = wal_->figures().segments;
  EXPECT_GT(segments, 2u);
  const size_t removed = *wal_->CollectCovered(Index(50));
  figures = wal_->figures();
  EXPECT_EQ(figures.removed_segments, removed);
  EXPECT_EQ(figures.segments, segments - removed);
  EXPECT_EQ(figures.marker, Index(50));
  EXPECT_EQ(figures.last.index, Index(50));
  EXPECT_GE(figures.disk_bytes, figures.used_bytes);
}

TEST_F(WalTest, AFailedSyncIsFinal) {
  Create();
  const Append append = EntriesOf(1, 1, 1);
  fs_.FailOnce(FaultOperation::kSync, absl::StatusCode::kInternal);
  ASSERT_TRUE(wal_->Write({&append, 1}).ok());
  EXPECT_EQ(wal_->Sync().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(wal_->Sync().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(wal_->Write({&append, 1}).code(), absl::StatusCode::kInternal);
  EXPECT_EQ(wal_->WriteDurableThrough().code(), absl::StatusCode::kInternal);
}

// The kernel marks pages clean after a failed sync: what a restarted process reads is not on the
// disk. Opening must write it again before it counts.
TEST_F(WalTest, WhatAFailedSyncLeftInThePageCacheIsMadeDurableAtTheNextStart) {
  Create();
  const Append append = EntriesOf(1, 1, 1);
  fs_.FailOnce(FaultOperation::kSync, absl::StatusCode::kInternal);
  ASSERT_TRUE(wal_->Write({&append, 1}).ok());
  EXPECT_FALSE(wal_->Sync().ok());
  ASSERT_TRUE(Open().ok());
  ASSERT_EQ(recovered_.last.index, Index(1));
  wal_.reset();
  fs_.Crash(1);
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(recovered_.last.index, Index(1));
}

// Otherwise an idle log with a full segment would begin another one for it.
TEST_F(WalTest, AFullSegmentHasRoomForItsProof) {
  Create();
  ASSERT_TRUE(wal_->MakeSpare(nullptr).ok());
  uint64_t index = 0;
  uint64_t full_at = 0;
  while (wal_->has_spare()) {
    full_at = index;
    Write(EntriesOf(index + 1, index + 1, 1));
    ++index;
  }
  Reset();
  Create();
  ASSERT_TRUE(wal_->MakeSpare(nullptr).ok());
  for (uint64_t i = 1; i <= full_at; ++i) Write(EntriesOf(i, i, 1));
  ASSERT_TRUE(wal_->WriteDurableThrough().ok());
  EXPECT_TRUE(wal_->has_spare());
}

TEST_F(WalTest, TheProofIsWrittenOnce) {
  Create();
  Write(EntriesOf(1, 1, 1));
  ASSERT_TRUE(wal_->WriteDurableThrough().ok());
  ASSERT_TRUE(wal_->Sync().ok());
  const uint64_t operations = fs_.operations();
  ASSERT_TRUE(wal_->WriteDurableThrough().ok());
  ASSERT_TRUE(wal_->Sync().ok());
  EXPECT_EQ(fs_.operations(), operations);
  ASSERT_TRUE(Open().ok());
  const uint64_t opened = fs_.operations();
  ASSERT_TRUE(wal_->WriteDurableThrough().ok());
  EXPECT_EQ(fs_.operations(), opened);
}

// One batch, one write, one sync: the cost of a lone put.
TEST_F(WalTest, ABatchIsOneWriteAndOneSync) {
  Create();
  const uint64_t before = fs_.operations();
  Write(EntriesOf(1, 1, 1, 300));
  EXPECT_EQ(fs_.operations() - before, 2u);
}

TEST_F(WalTest, RotationIntoAReadySpareTouchesNoDirectory) {
  Create();
  ASSERT_TRUE(wal_->MakeSpare(nullptr).ok());
  fs_.FailOnce(FaultOperation::kSyncDirectory, absl::StatusCode::kInternal);
  fs_.FailOnce(FaultOperation::kCreate, absl::StatusCode::kInternal);
  for (uint64_t i = 1; wal_->has_spare(); ++i) Write(EntriesOf(i, i, 1, 500));
}

TEST_F(WalTest, AFullDiskStopsOnlyTheSpareWhileTheSegmentHasRoom) {
  Create();
  fs_.set_capacity_bytes(fs_.used_bytes() + 100);
  EXPECT_EQ(wal_->MakeSpare(nullptr).code(), absl::StatusCode::kResourceExhausted);
  Write(EntriesOf(1, 1, 1));
  EXPECT_LE(fs_.used_bytes(), 8192u) << "nothing half-made is left";
  fs_.set_capacity_bytes(1 << 20);
  EXPECT_TRUE(wal_->MakeSpare(nullptr).ok());
}

TEST_F(WalTest, ASpareLeftHalfWayIsGoneOnWith) {
  auto opened =
      Wal::Create(fs_, kTestDirectory, {.segment_bytes = 4 * kSparePieceBytes}, kTestIdentity);
  ASSERT_TRUE(opened.ok()) << opened.status();
  Wal& wal = *opened->wal;
  EXPECT_EQ(wal.MakeSpare([] { return false; }).code(), absl::StatusCode::kCancelled);
  EXPECT_FALSE(wal.has_spare());
  const uint64_t before = fs_.operations();
  EXPECT_TRUE(wal.MakeSpare(nullptr).ok());
  EXPECT_TRUE(wal.has_spare());
  // Three pieces, one sync, the name, the directory.
  EXPECT_EQ(fs_.operations() - before, 6u);
}

TEST_F(WalTest, WhoeverNeedsASpareGoesOnWithIt) {
  constexpr uint64_t kSegment = 2 * kSparePieceBytes;
  auto opened = Wal::Create(fs_, kTestDirectory, {.segment_bytes = kSegment}, kTestIdentity);
  ASSERT_TRUE(opened.ok()) << opened.status();
  Wal& wal = *opened->wal;
  // A segment of the usual size, then one of its own size that takes the spare's name.
  uint64_t index = 0;
  for (const size_t bytes : {size_t{kSegment - 4096}, size_t{2 * kSegment}}) {
    EXPECT_EQ(wal.MakeSpare([] { return false; }).code(), absl::StatusCode::kCancelled);
    ++index;
    ASSERT_TRUE(WriteAndSync(wal, EntriesOf(index, index, 1, bytes)).ok());
    ++index;
    ASSERT_TRUE(WriteAndSync(wal, EntriesOf(index, index, 1, 8000)).ok());
  }
  opened->wal.reset();
  opened = Wal::Open(fs_, kTestDirectory, {.segment_bytes = kSegment}, kTestIdentity);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->recovered.last.index, Index(index));
}

// The thread that makes spares may come after a writer that failed with one.
TEST_F(WalTest, ASpareThatAWriterCouldNotFinishIsBegunAnew) {
  Create();
  fs_.FailOnce(FaultOperation::kSyncDirectory, absl::StatusCode::kInternal);
  absl::Status written;
  for (uint64_t i = 1; written.ok(); ++i) written = WriteAndSync(*wal_, EntriesOf(i, i, 1, 500));
  EXPECT_EQ(written.code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(wal_->MakeSpare(nullptr).ok());
  EXPECT_TRUE(wal_->has_spare());
}

TEST_F(WalTest, ASpareIsKeptOverARestart) {
  Create();
  ASSERT_TRUE(wal_->MakeSpare(nullptr).ok());
  ASSERT_TRUE(Open().ok());
  EXPECT_TRUE(wal_->has_spare());
  EXPECT_EQ(wal_->figures().disk_bytes, 2 * 8192u);
}

// The spare maker's thread may come between the taking of a spare and its first use: what it makes
// is the one after, never a second file of the same name over the first.
TEST_F(WalTest, ASpareMadeWhileOneIsBegunTakesItsOwnName) {
  Create();
  MakeSparesAtEachRotation(500);
}

TEST_F(WalTest, ASpareMadeWhileALargeSegmentIsBegunTakesItsOwnName) {
  Create();
  MakeSparesAtEachRotation(20'000);
}

TEST_F(WalTest, OptionsAreChecked) {
  EXPECT_EQ(
      Wal::Create(fs_, kTestDirectory, {.segment_bytes = 1000}, kTestIdentity).status().code(),
      absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace cairn::wal
