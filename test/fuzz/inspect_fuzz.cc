// A log that somebody looks at: a damaged image of a segment, shown by every command of the offline
// tools that reads logs. They must end in words.
#include <optional>
#include <string>

#include "base/check.h"
#include "cmd/cairnutl/wal_dump.h"
#include "cmd/cairnutl/wal_report.h"
#include "server/command.h"
#include "test/fuzz/fuzz.h"
#include "wal/fault_fs.h"
#include "wal/format.h"
#include "wal/inspector.h"
#include "wal/test_log.h"

namespace cairn::test {
namespace {

using namespace wal;       // The target is about these
using namespace cairnutl;  // two alone.

constexpr Options kOptions{.segment_bytes = 8192};

std::string FirstSegment() { return kTestDirectory + "/" + SegmentName(1); }

void MakeLog(FaultFs& fs) {
  auto opened = Wal::Create(fs, kTestDirectory, kOptions, kTestIdentity);
  CAIRN_CHECK(opened.ok());
  Append append = EntriesOf(1, 2, 1);
  append.hard_state = raft::HardState{.term = Term(1), .vote = MemberId(7), .commit = Index(1)};
  const std::string command = server::EncodeCommand({.kind = server::CommandKind::kPut,
                                                     .proposer = MemberId(7),
                                                     .nonce = 1,
                                                     .sequence = 2,
                                                     .auth_revision = 0,
                                                     .user = "root"},
                                                    "\x0a\x01k\x12\x01v");
  append.entries.push_back(MakeEntry(3, 1, command));
  append.configuration = std::string("\x0a\x01\x07");
  append.commit = Index(3);
  CAIRN_CHECK(WriteAndSync(*opened->wal, append).ok());
  CAIRN_CHECK(WriteAndSync(*opened->wal, EntriesOf(2, 4, 2, 700)).ok());
  CAIRN_CHECK(WriteAndSync(*opened->wal, MarkerAt(1, 1)).ok());
  opened->wal.reset();
  fs.Restart();
}

}  // namespace

void Fuzz(std::string_view input) {
  FaultFs fs;
  MakeLog(fs);
  fs.SetContent(FirstSegment(), std::string(input));
  size_t lines = 0;
  const auto count = [&lines](std::string_view line) {
    CAIRN_CHECK(line.ends_with('\n'));
    ++lines;
  };
  WalDump text({.with_batches = true}, Format::kSimple, count);
  WalDump json({.with_batches = true}, Format::kJson, count);
  WalStats stats;
  const auto log = InspectLog(fs, kTestDirectory, [&](const SeenBatch& batch) {
    text.Add(batch);
    json.Add(batch);
    stats.Add(batch);
    return true;
  });
  CAIRN_CHECK(log.ok());
  CAIRN_CHECK(!VerdictLines(*log).empty());
  CAIRN_CHECK(!JsonLine(VerdictJson(*log)).empty());
  Render(SegmentsReport(*log), Format::kTable, Simple::kColumns, /*is_one=*/false);
  Render(stats.Bytes(*log), Format::kJson, Simple::kLines, /*is_one=*/true);
  const Index before_first = log->state.before_first().index;
  if (log->last.index <= before_first) return;
  // A batch whose checksums are right and whose records are not may hide the last of them.
  const absl::Status read = ForEachEntry(fs, kTestDirectory, *log, before_first + 1,
                                         log->last.index, [](const raft::Entry& entry) {
                                           CAIRN_CHECK(!RequestLine(entry).empty());
                                           return true;
                                         });
  CAIRN_CHECK(read.ok() || absl::IsDataLoss(read));
}

std::vector<std::string> FuzzSeeds() {
  FaultFs fs;
  MakeLog(fs);
  return {fs.Content(FirstSegment())};
}

}  // namespace cairn::test
