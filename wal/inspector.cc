#include "wal/inspector.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "base/status.h"
#include "wal/entry_reader.h"
#include "wal/replay.h"
#include "wal/segment_file.h"

namespace cairn::wal {

namespace {

// What ForEachEntry holds in memory at once, beside one entry.
constexpr size_t kReadBytes = size_t{4} << 20;

// A disk that dies answers a sector at a time, if at all, and slowly: what lies between is given up
// after so many pieces that it would not give.
constexpr size_t kPieceBytes = 4096;
constexpr int kUnreadablePiecesMax = 64;

// What the process that holds the log locks, and the file system's own.
constexpr std::array<std::string_view, 2> kIgnoredNames = {"lock", "lost+found"};
constexpr std::string_view kBrokenMiddle = ".broken.";

OtherFile::Kind KindOf(std::string_view name) {
  if (IsUnfinishedSegmentName(name)) return OtherFile::Kind::kUnfinished;
  const size_t middle = name.find(kBrokenMiddle);
  if (middle != std::string_view::npos && SegmentSequence(name.substr(0, middle))) {
    return OtherFile::Kind::kBroken;
  }
  return OtherFile::Kind::kForeign;
}

void Note(const Record& record, std::optional<raft::EntryId>& first,
          std::optional<raft::EntryId>& last) {
  if (record.type != RecordType::kEntry) return;
  if (!first) first = record.id;
  last = record.id;
}

class Inspection {
 public:
  Inspection(Fs& fs, const std::string& directory, BatchVisitor visit)
      : fs_(fs), directory_(directory), visit_(visit) {}

  absl::StatusOr<LogReport> Run() {
    CAIRN_ASSIGN_OR_RETURN(const std::vector<std::string> names, fs_.ListDirectory(directory_));
    for (const std::string& name : names) {
      const std::optional<uint64_t> sequence = SegmentSequence(name);
      const absl::Status status = sequence ? LookAtSegment(name, *sequence) : LookAtOther(name);
      // A running member removes what it no longer needs.
      if (!status.ok() && !absl::IsNotFound(status)) return status;
    }
    Decide();
    return std::move(report_);
  }

 private:
  absl::Status LookAtOther(const std::string& name) {
    if (std::find(kIgnoredNames.begin(), kIgnoredNames.end(), name) != kIgnoredNames.end()) {
      return absl::OkStatus();
    }
    OtherFile other{.name = name, .kind = KindOf(name), .size_bytes = 0};
    // Whatever it is, it is only measured.
    if (const auto file = fs_.OpenForReading(PathOf(directory_, name)); file.ok()) {
      if (const auto size_bytes = (*file)->SizeBytes(); size_bytes.ok()) {
        other.size_bytes = *size_bytes;
      }
    }
    report_.others.push_back(std::move(other));
    return absl::OkStatus();
  }

  absl::Status LookAtSegment(const std::string& name, uint64_t sequence) {
    CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<File> file,
                           fs_.OpenForReading(PathOf(directory_, name)));
    CAIRN_ASSIGN_OR_RETURN(const uint64_t size_bytes, file->SizeBytes());
    SegmentReport& segment = report_.segments.emplace_back();
    segment.name = name;
    segment.scan.sequence = sequence;
    if (size_bytes > kSegmentFileBytesMax) {
      segment.scan.file_bytes = size_bytes;
      Spoil(segment.scan, "the file is larger than any segment");
    } else {
      Scan(sequence, Read(*file, size_bytes), segment);
    }
    if (segment.is_damaged()) is_broken_off_ = true;
    previous_ = segment.scan.chain;
    scans_.push_back(segment.scan);
    return absl::OkStatus();
  }

  // Reads into bytes_ what the disk gives, zeros for the rest; says what it does not give.
  std::string Read(const File& file, uint64_t size_bytes) {
    if (ReadExactly(file, 0, size_bytes, bytes_).ok()) return {};
    bytes_.assign(size_bytes, '\0');
    std::string problem;
    std::string piece;
    int unreadable = 0;
    for (uint64_t at = 0; at < size_bytes && unreadable < kUnreadablePiecesMax; at += kPieceBytes) {
      const size_t piece_bytes = std::min<uint64_t>(kPieceBytes, size_bytes - at);
      if (const absl::Status status = ReadExactly(file, at, piece_bytes, piece); status.ok()) {
        bytes_.replace(at, piece_bytes, piece);
      } else if (++unreadable == 1) {
        problem = fmt::format("offset {} cannot be read: {}", at, base::Message(status));
      }
    }
    return problem;
  }

  // For what the bytes at hand do not show.
  static void Spoil(SegmentScan& scan, std::string reason) {
    if (scan.header_state == HeaderState::kZero) scan.header_state = HeaderState::kBad;
    scan.is_all_zero = false;
    scan.end = ScanEnd::kBad;
    scan.reason = std::move(reason);
  }

  // `unreadable`: what is wrong with the bytes; empty if they are all there.
  void Scan(uint64_t sequence, std::string unreadable, SegmentReport& segment) {
    segment.scan = ScanSegment(
        sequence, bytes_, previous_,
        [&](const SegmentHeader& header) -> std::string {
          if (is_broken_off_) return "it follows damage";
          return replay_.OnHeader(header);
        },
        [&](const BatchHeader& header, uint64_t offset, std::string_view body) {
          return OnBatch({sequence, offset, header, body, false}, segment);
        });
    if (segment.scan.header_state == HeaderState::kValid && report_.identity == Identity{}) {
      report_.identity = segment.scan.header.identity;
    }
    if (!unreadable.empty()) Spoil(segment.scan, std::move(unreadable));
    if (segment.is_damaged()) LookBehindDamage(segment);
  }

  std::string OnBatch(const SeenBatch& batch, SegmentReport& segment) {
    std::string problem = replay_.OnBatch(batch.header, batch.offset, batch.body);
    if (!problem.empty()) return problem;
    report_.last = replay_.state().last();
    ForEachRecord(batch.body, [&](const Record& record) {
      ++segment.records;
      Note(record, segment.first_entry, segment.last_entry);
    });
    Show(batch);
    return {};
  }

  // Batches begin on sectors, and their checksums say where they were written.
  void LookBehindDamage(SegmentReport& segment) {
    const std::string_view bytes = bytes_;
    const SegmentScan& scan = segment.scan;
    for (uint64_t offset = std::max<uint64_t>(scan.end_offset, kSegmentHeaderBytes);
         offset + kSectorBytes <= std::min<uint64_t>(scan.nonzero_end, bytes.size());) {
      offset += TakeLooseBatch(bytes.substr(offset), offset, segment);
    }
  }

  // Returns how many bytes to go on by.
  uint64_t TakeLooseBatch(std::string_view rest, uint64_t offset, SegmentReport& segment) {
    BatchPlace place{
        .sequence = segment.scan.sequence, .offset = offset, .salt = segment.scan.header.salt};
    if (segment.scan.header_state != HeaderState::kValid) {
      place.salt = ClaimedSalt(rest).value_or(0);
    }
    const std::optional<BatchHeader> header = DecodeBatchHeader(rest, place);
    if (!header || header->body_bytes > rest.size() - kBatchHeaderBytes ||
        header->size_bytes() > rest.size()) {
      return kSectorBytes;
    }
    const std::string_view batch = rest.substr(0, header->size_bytes());
    if (CheckBody(batch, *header, place) != BodyState::kValid) return kSectorBytes;
    const std::string_view body = BodyOf(batch, *header, scratch_);
    ++segment.batches_behind_damage;
    ForEachRecord(body, [&](const Record& record) {
      Note(record, segment.first_entry_behind, segment.last_entry_behind);
    });
    Show({segment.scan.sequence, offset, *header, body, true});
    return batch.size();
  }

  static void ForEachRecord(std::string_view body, absl::FunctionRef<void(const Record&)> visit) {
    Record record;
    while (TakeRecord(body, record) && record.type != RecordType::kEnd) visit(record);
  }

  void Show(const SeenBatch& batch) {
    if (is_wanted_) is_wanted_ = visit_(batch);
  }

  void Decide() {
    report_.verdict = Judge(scans_, std::nullopt);
    if (report_.is_readable()) {
      if (std::string problem = replay_.CheckStart(); !problem.empty()) {
        report_.verdict = {.kind = VerdictKind::kCorrupt, .message = std::move(problem)};
      }
    }
    report_.state = replay_.TakeState();
    // A batch whose checksums are right, but not its records, may have superseded what was good.
    if (report_.state.last().index < report_.last.index) report_.last = report_.state.last();
  }

  Fs& fs_;
  const std::string& directory_;
  const BatchVisitor visit_;
  LogReport report_;
  std::vector<SegmentScan> scans_;
  std::optional<Chain> previous_;
  Replay replay_;
  // What follows counts no more.
  bool is_broken_off_ = false;
  bool is_wanted_ = true;
  std::string bytes_;
  std::string scratch_;
};

}  // namespace

absl::StatusOr<LogReport> InspectLog(Fs& fs, const std::string& directory, BatchVisitor visit) {
  return Inspection(fs, directory, visit).Run();
}

absl::Status ForEachEntry(Fs& fs, const std::string& directory, const LogReport& report,
                          Index first, Index last,
                          absl::FunctionRef<bool(const raft::Entry&)> visit) {
  const LogState& state = report.state;
  if (first <= state.before_first().index || last > report.last.index) {
    return base::Error(absl::StatusCode::kOutOfRange,
                       "the log in {} holds entries {} to {}, not all of {} to {}", directory,
                       state.before_first().index + 1, report.last.index, first, last);
  }
  SegmentFile segment;
  std::vector<raft::Entry> entries;
  for (Index at = first; at <= last;) {
    const LogState::Stretch stretch = state.Locate(at);
    const uint64_t sequence = stretch.from.sequence;
    if (segment.file == nullptr || segment.sequence != sequence) {
      const auto found =
          std::find_if(report.segments.begin(), report.segments.end(),
                       [&](const SegmentReport& one) { return one.scan.sequence == sequence; });
      CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<File> file,
                             fs.OpenForReading(PathOf(directory, SegmentName(sequence))));
      segment = {.sequence = sequence,
                 .file = std::move(file),
                 .size_bytes = found->scan.file_bytes,
                 .used_bytes = found->scan.end_offset,
                 .salt = found->scan.header.salt};
    }
    const Index limit = stretch.next ? std::min(last + 1, stretch.next->first) : last + 1;
    entries.clear();
    size_t bytes = 0;
    CAIRN_RETURN_IF_ERROR(ReadStretch({.segment = segment,
                                       .from = stretch.from,
                                       .first = at,
                                       .limit = limit,
                                       .max_bytes = kReadBytes},
                                      entries, bytes)
                              .status());
    for (const raft::Entry& entry : entries) {
      if (!visit(entry)) return absl::OkStatus();
    }
    at = at + entries.size();
  }
  return absl::OkStatus();
}

}  // namespace cairn::wal
