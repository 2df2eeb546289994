#include "wal/opening.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/fail_point.h"
#include "base/status.h"
#include "wal/format.h"
#include "wal/replay.h"

namespace cairn::wal {

namespace {

absl::Status Remove(Fs& fs, const std::string& directory, const std::string& name) {
  return fs.Remove(PathOf(directory, name));
}

// What was cut off earlier is kept for people, but not for ever: a member that crashes in a loop
// must not fill its disk. Each is at most a segment.
constexpr size_t kBrokenFilesKept = 8;

// A file that holds what was cut off a segment; later ones of a segment have higher numbers.
struct BrokenFile {
  uint64_t sequence = 0;
  uint64_t number = 0;

  static constexpr std::string_view kMiddle = ".broken.";

  static std::optional<BrokenFile> Parse(std::string_view name) {
    const size_t middle = name.find(kMiddle);
    if (middle == std::string_view::npos) return std::nullopt;
    const std::optional<uint64_t> sequence = SegmentSequence(name.substr(0, middle));
    const std::string_view digits = name.substr(middle + kMiddle.size());
    BrokenFile file;
    const auto [end, problem] =
        std::from_chars(digits.data(), digits.data() + digits.size(), file.number);
    if (!sequence || problem != std::errc() || end != digits.data() + digits.size()) {
      return std::nullopt;
    }
    file.sequence = *sequence;
    return file;
  }
  std::string Name() const { return fmt::format("{}{}{}", SegmentName(sequence), kMiddle, number); }

  friend auto operator<=>(const BrokenFile&, const BrokenFile&) = default;
};

// Beside segments: what the process that holds the log locks, and the file system's own.
constexpr std::array<std::string_view, 2> kOtherNames = {"lock", "lost+found"};

absl::StatusCode CodeOf(VerdictKind kind) {
  switch (kind) {
    case VerdictKind::kNoLog:
      return absl::StatusCode::kNotFound;
    case VerdictKind::kForeign:
      return absl::StatusCode::kFailedPrecondition;
    case VerdictKind::kNewer:
      return absl::StatusCode::kUnimplemented;
    default:
      return absl::StatusCode::kDataLoss;
  }
}

// A directory's segments, read one at a time and fed into a LogState.
class Opening {
 public:
  Opening(Fs& fs, std::string directory) : fs_(fs), directory_(std::move(directory)) {}

  absl::Status Scan() {
    CAIRN_ASSIGN_OR_RETURN(const std::vector<std::string> names, fs_.ListDirectory(directory_));
    std::optional<Chain> previous;
    std::string bytes;
    for (const std::string& name : names) {
      const std::optional<uint64_t> sequence = SegmentSequence(name);
      if (!sequence) {
        CAIRN_RETURN_IF_ERROR(TakeOther(name));
        continue;
      }
      CAIRN_ASSIGN_OR_RETURN(std::shared_ptr<File> file,
                             fs_.OpenForWriting(PathOf(directory_, name)));
      CAIRN_ASSIGN_OR_RETURN(const uint64_t size_bytes, file->SizeBytes());
      if (size_bytes > kSegmentFileBytesMax) {
        return base::Error(absl::StatusCode::kDataLoss,
                           "log in {}: {} has {} bytes, no segment has more than {}: it is not the "
                           "log's; move it away, or restore this member from a backup",
                           directory_, name, size_bytes, kSegmentFileBytesMax);
      }
      CAIRN_RETURN_IF_ERROR(
          base::Annotate(ReadExactly(*file, 0, size_bytes, bytes), PathOf(directory_, name)));
      scans_.push_back(ScanSegment(
          *sequence, bytes, previous,
          [this](const SegmentHeader& header) { return replay_.OnHeader(header); },
          [this](const BatchHeader& header, uint64_t offset, std::string_view body) {
            return replay_.OnBatch(header, offset, body);
          }));
      previous = scans_.back().chain;
      files_.push_back({.sequence = *sequence,
                        .file = std::move(file),
                        .size_bytes = size_bytes,
                        .used_bytes = scans_.back().end_offset,
                        .salt = scans_.back().header.salt});
    }
    return absl::OkStatus();
  }

  absl::Status DecideOn(const std::optional<Identity>& expected) {
    verdict_ = Judge(scans_, expected);
    if (verdict_.kind == VerdictKind::kWhole || verdict_.kind == VerdictKind::kTorn) {
      const std::string problem = replay_.CheckStart();
      if (problem.empty()) return absl::OkStatus();
      return base::Error(absl::StatusCode::kDataLoss, "log in {}: {}", directory_, problem);
    }
    return base::Error(CodeOf(verdict_.kind), "log in {}: {}", directory_, verdict_.message);
  }

  // Removes every file of a log that was never finished.
  absl::Status RemoveAll() {
    for (size_t i = files_.size(); i > 0; --i) {
      CAIRN_RETURN_IF_ERROR(Remove(fs_, directory_, SegmentName(files_[i - 1].sequence)));
    }
    CAIRN_RETURN_IF_ERROR(RemoveUnfinished());
    return fs_.SyncDirectory(directory_);
  }

  absl::StatusOr<OpenedLog> Finish(uint64_t spare_bytes) {
    OpenedLog opened;
    if (verdict_.kind == VerdictKind::kTorn) {
      CAIRN_RETURN_IF_ERROR(KeepWhatIsCut(opened.recovered));
      base::FailPoint("wal.cut.copied");
    }
    CAIRN_RETURN_IF_ERROR(RemoveLater(spare_bytes, opened));
    CAIRN_RETURN_IF_ERROR(RemoveUnfinished());
    CAIRN_RETURN_IF_ERROR(fs_.SyncDirectory(directory_));
    base::FailPoint("wal.cut.removed");
    CAIRN_RETURN_IF_ERROR(MakeDurable());
    const SegmentScan& last = scans_[verdict_.last];
    opened.chain = last.chain;
    // Whole segments behind a cut one were proven by the header of the segment that was cut.
    opened.is_proven =
        replay_.last_batch_is_empty() && last.proven + kSectorBytes == last.end_offset;
    opened.segments.assign(files_.begin(),
                           files_.begin() + static_cast<std::ptrdiff_t>(verdict_.last) + 1);
    Describe(opened);
    opened.state = replay_.TakeState();
    return opened;
  }

 private:
  // A file that is no segment. Somebody's own may be a segment under another name: nothing is
  // begun beside it.
  absl::Status TakeOther(const std::string& name) {
    if (IsUnfinishedSegmentName(name)) {
      unfinished_.push_back(name);
    } else if (const auto broken = BrokenFile::Parse(name)) {
      broken_.push_back(*broken);
    } else if (std::find(kOtherNames.begin(), kOtherNames.end(), name) == kOtherNames.end()) {
      return base::Error(absl::StatusCode::kFailedPrecondition,
                         "log in {}: {} is none of the log's files; move it elsewhere", directory_,
                         name);
    }
    return absl::OkStatus();
  }

  absl::Status KeepWhatIsCut(Recovered& recovered) {
    const SegmentFile& segment = files_[verdict_.cut];
    const uint64_t bytes = scans_[verdict_.cut].nonzero_end - verdict_.cut_offset;
    std::string cut;
    CAIRN_RETURN_IF_ERROR(ReadExactly(*segment.file, verdict_.cut_offset, bytes, cut));
    recovered.torn_tail_cut = true;
    recovered.torn_bytes = bytes;
    recovered.torn_segment = SegmentName(segment.sequence);
    recovered.torn_offset = verdict_.cut_offset;
    std::sort(broken_.begin(), broken_.end());
    uint64_t number = 1;
    for (const BrokenFile& file : broken_) {
      if (file.sequence == segment.sequence) number = file.number + 1;
    }
    recovered.broken_file = BrokenFile{segment.sequence, number}.Name();
    CAIRN_ASSIGN_OR_RETURN(auto file, fs_.Create(PathOf(directory_, recovered.broken_file)));
    CAIRN_RETURN_IF_ERROR(file->Write(0, cut));
    CAIRN_RETURN_IF_ERROR(file->Sync());
    CAIRN_RETURN_IF_ERROR(fs_.SyncDirectory(directory_));
    // The new one is safe: the oldest may go.
    for (size_t i = 0; i + kBrokenFilesKept <= broken_.size(); ++i) {
      CAIRN_RETURN_IF_ERROR(Remove(fs_, directory_, broken_[i].Name()));
    }
    return absl::OkStatus();
  }

  // Everything behind the last segment, newest first; a whole log keeps one fitting spare.
  absl::Status RemoveLater(uint64_t spare_bytes, OpenedLog& opened) {
    for (size_t i = files_.size() - 1; i > verdict_.last; --i) {
      const bool is_next = files_[i].sequence == files_[verdict_.last].sequence + 1;
      if (verdict_.kind == VerdictKind::kWhole && is_next && files_[i].size_bytes == spare_bytes) {
        opened.spare = files_[i];
        continue;
      }
      CAIRN_RETURN_IF_ERROR(Remove(fs_, directory_, SegmentName(files_[i].sequence)));
      // Before the next one goes: an older one must never be missing while a younger one is there.
      CAIRN_RETURN_IF_ERROR(fs_.SyncDirectory(directory_));
    }
    return absl::OkStatus();
  }

  absl::Status RemoveUnfinished() {
    for (const std::string& name : unfinished_) {
      CAIRN_RETURN_IF_ERROR(Remove(fs_, directory_, name));
    }
    return absl::OkStatus();
  }

  // The page cache proves nothing (after kill -9 or a failed sync): what no batch proves is written
  // again, and zeros behind it, so that no old batch can lie there.
  absl::Status MakeDurable() {
    const SegmentScan& scan = scans_[verdict_.last];
    const SegmentFile& segment = files_[verdict_.last];
    File& file = *segment.file;
    std::string piece;
    for (uint64_t at = scan.proven; at < scan.end_offset; at += piece.size()) {
      const uint64_t bytes = std::min<uint64_t>(scan.end_offset - at, uint64_t{1} << 20);
      CAIRN_RETURN_IF_ERROR(ReadExactly(file, at, bytes, piece));
      CAIRN_RETURN_IF_ERROR(file.Write(at, piece));
    }
    const uint64_t limit = std::max(scan.nonzero_end, scan.end_offset + kUnsyncedBytesMax);
    CAIRN_RETURN_IF_ERROR(WriteZeros(file, scan.end_offset, std::min(limit, segment.size_bytes)));
    base::FailPoint("wal.open.rewritten");
    CAIRN_RETURN_IF_ERROR(file.Sync());
    base::FailPoint("wal.open.durable");
    return absl::OkStatus();
  }

  void Describe(OpenedLog& opened) const {
    Recovered& recovered = opened.recovered;
    const LogState& state = replay_.state();
    recovered.identity = replay_.identity();
    recovered.hard_state = {.term = state.term(), .vote = state.vote(), .commit = state.commit()};
    recovered.before_first = state.before_first();
    recovered.last = state.last();
    recovered.marker = state.marker();
    recovered.snapshot_installed = state.snapshot_installed();
    recovered.configuration = state.configuration();
    recovered.sync_mode = state.sync_mode();
    recovered.segments = opened.segments.size();
    recovered.first_segment = SegmentName(opened.segments.front().sequence);
    recovered.last_segment = SegmentName(opened.segments.back().sequence);
  }

  Fs& fs_;
  const std::string directory_;
  std::vector<std::string> unfinished_;
  std::vector<BrokenFile> broken_;
  std::vector<SegmentFile> files_;  // Parallel to scans_.
  std::vector<SegmentScan> scans_;
  Verdict verdict_;
  Replay replay_;
};

}  // namespace

absl::StatusOr<OpenedLog> OpenLog(Fs& fs, const std::string& directory, uint64_t spare_bytes,
                                  const std::optional<Identity>& expected) {
  Opening opening(fs, directory);
  CAIRN_RETURN_IF_ERROR(opening.Scan());
  CAIRN_RETURN_IF_ERROR(opening.DecideOn(expected));
  return opening.Finish(spare_bytes);
}

absl::Status RemoveUnfinishedLog(Fs& fs, const std::string& directory) {
  Opening opening(fs, directory);
  CAIRN_RETURN_IF_ERROR(opening.Scan());
  const absl::Status decision = opening.DecideOn(std::nullopt);
  if (decision.code() == absl::StatusCode::kNotFound) return opening.RemoveAll();
  return base::Error(absl::StatusCode::kAlreadyExists, "there is a log in {} already", directory);
}

}  // namespace cairn::wal
