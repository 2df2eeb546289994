// The log: a damaged image of a segment, and records whose checksums are right.
//
// The first byte chooses: 0 opens a directory whose first segment holds the rest of the input;
// anything else reads the rest as the body of a checked batch and lets the log's state take it.
#include "base/check.h"
#include "base/fail_point.h"
#include "test/fuzz/fuzz.h"
#include "wal/fault_fs.h"
#include "wal/format.h"
#include "wal/log_state.h"
#include "wal/test_log.h"
#include "wal/wal.h"

namespace cairn::test {
namespace {

using namespace wal;  // The target is about nothing else.

constexpr Options kOptions{.segment_bytes = 8192};
constexpr uint64_t kFirstSequence = 1;

std::string FirstSegment() { return kTestDirectory + "/" + SegmentName(kFirstSequence); }

void MakeLog(FaultFs& fs) {
  auto opened = Wal::Create(fs, kTestDirectory, kOptions, kTestIdentity);
  CAIRN_CHECK(opened.ok());
  for (uint64_t i = 1; i <= 6; ++i) {
    CAIRN_CHECK(WriteAndSync(*opened->wal, EntriesOf(i, i, 1, i * 100)).ok());
  }
  CAIRN_CHECK(WriteAndSync(*opened->wal, EntriesOf(4, 5, 2)).ok());
  CAIRN_CHECK(WriteAndSync(*opened->wal, MarkerAt(3, 1)).ok());
  opened->wal.reset();
  fs.Restart();
}

// Whatever the file holds, opening it ends in a log that can be written and opened again, or in a
// refusal with words.
void OpenDamaged(std::string_view content) {
  FaultFs fs;
  MakeLog(fs);
  fs.SetContent(FirstSegment(), std::string(content));
  auto opened = Wal::Open(fs, kTestDirectory, kOptions, kTestIdentity);
  if (!opened.ok()) {
    CAIRN_CHECK(!opened.status().message().empty());
    return;
  }
  const raft::EntryId last = opened->recovered.last;
  const uint64_t next = last.index.value() + 1;
  CAIRN_CHECK(WriteAndSync(*opened->wal, EntriesOf(next, next, last.term.value() + 1)).ok());
  opened->wal.reset();
  fs.Restart();
  opened = Wal::Open(fs, kTestDirectory, kOptions, kTestIdentity);
  CAIRN_CHECK(opened.ok());
  CAIRN_CHECK_EQ(opened->recovered.last.index, Index(next));
}

void TakeRecords(std::string_view body) {
  LogState state;
  state.BeginSegment(kFirstSequence);
  state.BeginBatch(0, Index(0));
  Record record;
  while (TakeRecord(body, record)) {
    if (record.type == RecordType::kEnd) {
      CAIRN_CHECK(body.empty());
      return;
    }
    if (!state.Apply(record).empty()) return;
    CAIRN_CHECK_GE(state.last().index, state.before_first().index);
    if (state.last().index > state.before_first().index) {
      CAIRN_CHECK_EQ(state.TermAt(state.last().index), state.last().term);
      state.Locate(state.last().index);
    }
  }
}

}  // namespace

void Fuzz(std::string_view input) {
  if (input.empty()) return;
  if (input[0] == 0) {
    OpenDamaged(input.substr(1));
  } else {
    TakeRecords(input.substr(1));
  }
}

std::vector<std::string> FuzzSeeds() {
  FaultFs fs;
  MakeLog(fs);
  std::vector<std::string> seeds = {std::string(1, '\0') + fs.Content(FirstSegment())};
  const std::string data = "data";
  BatchEncoder encoder(1);
  encoder.Begin();
  encoder.Add({.type = RecordType::kHardState, .term = Term(3), .vote = MemberId(4)});
  for (uint64_t i = 1; i <= 3; ++i) {
    encoder.Add({.type = RecordType::kEntry,
                 .id = {Term(3), Index(i)},
                 .previous_term = Term(i == 1 ? 0 : 3),
                 .kind = raft::EntryKind::kCommand,
                 .data = data});
  }
  encoder.Add({.type = RecordType::kMarker, .id = {Term(3), Index(2)}});
  encoder.Add({.type = RecordType::kConfiguration, .data = data});
  encoder.Add({.type = RecordType::kSnapshotInstalled, .id = {Term(4), Index(9)}, .data = data});
  BatchHeader header;
  const BatchPlace place = {.sequence = kFirstSequence, .offset = kSectorBytes, .salt = 7};
  const std::string batch(encoder.Finish(header, place));
  std::string scratch;
  seeds.push_back("r" + std::string(BodyOf(batch, header, scratch)));
  return seeds;
}

}  // namespace cairn::test
