#include "wal/recovery.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace cairn::wal {

namespace {

constexpr std::string_view kRemedy =
    "restore this member from a backup, or remove it from the cluster, delete its data directory "
    "and "
    "add it again";

// One pass over a segment; the fields of the result are filled as it goes.
class Scanner {
 public:
  Scanner(uint64_t sequence, std::string_view bytes)
      : bytes_(bytes.substr(0, bytes.size() / kSectorBytes * kSectorBytes)) {
    scan_.sequence = sequence;
    scan_.file_bytes = bytes.size();
  }

  SegmentScan Run(const std::optional<Chain>& previous, const HeaderSink& on_header,
                  const BatchSink& on_batch) {
    FindNonzeroEnd();
    scan_.is_all_zero = scan_.nonzero_end == 0;
    if (scan_.is_all_zero) return scan_;
    scan_.header_state = DecodeSegmentHeader(bytes_, scan_.header);
    if (scan_.header_state == HeaderState::kZero) {
      Stop(ScanEnd::kMissing, "the header is missing");
    } else if (scan_.header_state == HeaderState::kBad) {
      Stop(ScanEnd::kBad, "the segment header is damaged");
    } else if (scan_.header_state == HeaderState::kValid) {
      std::string problem = CheckHeader(previous);
      if (problem.empty()) problem = on_header(scan_.header);
      if (!problem.empty()) {
        Stop(ScanEnd::kBad, std::move(problem));
      } else {
        scan_.end_offset = kSegmentHeaderBytes;
        while (TakeBatch(on_batch)) {
        }
      }
    }
    if (scan_.end != ScanEnd::kClean) FindLaterHeaders();
    return scan_;
  }

 private:
  void FindNonzeroEnd() {
    size_t end = bytes_.size();
    while (end > 0 && IsAllZero(bytes_.substr(end - kSectorBytes, kSectorBytes))) {
      end -= kSectorBytes;
    }
    scan_.nonzero_end = end;
  }

  void Stop(ScanEnd end, std::string reason) {
    scan_.end = end;
    scan_.reason = std::move(reason);
  }

  std::string CheckHeader(const std::optional<Chain>& previous) {
    const SegmentHeader& header = scan_.header;
    if (header.sequence != scan_.sequence) {
      return fmt::format("the header belongs to {}", SegmentName(header.sequence));
    }
    if (header.size_bytes != scan_.file_bytes) {
      return fmt::format("the file has {} bytes but was made with {}", scan_.file_bytes,
                         header.size_bytes);
    }
    if (previous && (header.previous_checksum != previous->checksum ||
                     header.first_batch_number != previous->number + 1)) {
      return "it does not continue the segment before it";
    }
    scan_.chain = {.number = header.first_batch_number - 1, .checksum = header.previous_checksum};
    return {};
  }

  BatchPlace PlaceAt(uint64_t offset) const {
    return {.sequence = scan_.sequence, .offset = offset, .salt = scan_.header.salt};
  }

  // False at the end of what is good.
  bool TakeBatch(const BatchSink& on_batch) {
    const uint64_t offset = scan_.end_offset;
    if (offset >= scan_.nonzero_end) return false;
    const std::string_view rest = bytes_.substr(offset);
    const BatchPlace place = PlaceAt(offset);
    const std::optional<BatchHeader> header = DecodeBatchHeader(rest, place);
    if (!header) {
      if (IsAllZero(rest.substr(0, kSectorBytes))) {
        Stop(ScanEnd::kMissing, "a batch is missing");
      } else {
        Stop(ScanEnd::kBad, "the batch header is damaged");
      }
      return false;
    }
    if (std::string problem = CheckBatchHeader(*header, offset, rest.size()); !problem.empty()) {
      Stop(ScanEnd::kBad, std::move(problem));
      return false;
    }
    const std::string_view batch = rest.substr(0, header->size_bytes());
    switch (CheckBody(batch, *header, place)) {
      case BodyState::kMissing:
        Stop(ScanEnd::kMissing, "parts of a batch are missing");
        return false;
      case BodyState::kBad:
        Stop(ScanEnd::kBad, "the batch is damaged");
        return false;
      case BodyState::kValid:
        break;
    }
    if (std::string problem = on_batch(*header, offset, BodyOf(batch, *header, scratch_));
        !problem.empty()) {
      Stop(ScanEnd::kBad, std::move(problem));
      return false;
    }
    scan_.end_offset = offset + header->size_bytes();
    scan_.proven = std::max(scan_.proven, header->durable_through);
    scan_.chain = {.number = header->number, .checksum = header->checksum};
    ++scan_.batches;
    return true;
  }

  std::string CheckBatchHeader(const BatchHeader& header, uint64_t offset, size_t room) const {
    if (header.body_bytes > room - kBatchHeaderBytes) return "the batch exceeds the file";
    if (header.body_bytes == 0 || header.durable_through > offset) {
      return "the batch header contradicts itself";
    }
    if (header.number != scan_.chain.number + 1 ||
        header.previous_checksum != scan_.chain.checksum) {
      return "the batch does not continue the one before it";
    }
    return {};
  }

  void FindLaterHeaders() {
    for (uint64_t offset = scan_.end_offset + kSectorBytes; offset < scan_.nonzero_end;
         offset += kSectorBytes) {
      const std::string_view rest = bytes_.substr(offset);
      BatchPlace place = PlaceAt(offset);
      if (scan_.header_state != HeaderState::kValid) {
        const std::optional<uint64_t> salt = ClaimedSalt(rest);
        if (!salt) continue;
        place.salt = *salt;
      }
      if (const auto header = DecodeBatchHeader(rest, place)) {
        scan_.later_durable_through =
            std::max(scan_.later_durable_through, header->durable_through);
      }
    }
  }

  std::string_view bytes_;
  std::string scratch_;
  SegmentScan scan_;
};

Verdict Refuse(VerdictKind kind, const SegmentScan& scan, uint64_t offset, std::string_view what) {
  return {.kind = kind,
          .message = fmt::format("{} at offset {}: {}; {}", SegmentName(scan.sequence), offset,
                                 what, kRemedy)};
}

// Something that no crash explains in `scan`, if there is.
std::optional<Verdict> FindDamage(const SegmentScan& scan) {
  if (scan.header_state == HeaderState::kNewer) {
    return Verdict{.kind = VerdictKind::kNewer,
                   .message = fmt::format("{} at offset 8: the format is newer than this program "
                                          "knows ({}); start the version that wrote it, or a newer "
                                          "one",
                                          SegmentName(scan.sequence), kFormatVersion)};
  }
  if (scan.end == ScanEnd::kBad) {
    return Refuse(VerdictKind::kCorrupt, scan, scan.end_offset, scan.reason);
  }
  if (scan.end == ScanEnd::kMissing && scan.later_durable_through > scan.end_offset) {
    return Refuse(VerdictKind::kCorrupt, scan, scan.end_offset,
                  scan.reason + ", although later batches say that it was on the disk");
  }
  return std::nullopt;
}

std::optional<Verdict> CheckIdentity(std::span<const SegmentScan> scans,
                                     const std::optional<Identity>& expected) {
  std::optional<Identity> identity = expected;
  for (const SegmentScan& scan : scans) {
    if (scan.header_state != HeaderState::kValid) continue;
    const Identity& found = scan.header.identity;
    if (identity && *identity != found) {
      return Verdict{
          .kind = VerdictKind::kForeign,
          .message = fmt::format(
              "{} at offset 16: it belongs to member {:x} of cluster {:x}, but this is member {:x} "
              "of cluster {:x}; check the data directory, the name, the initial cluster and its "
              "token",
              SegmentName(scan.sequence), found.member, found.cluster, identity->member,
              identity->cluster)};
    }
    identity = found;
  }
  return std::nullopt;
}

// Files that no crash leaves: a segment has its full size before it has its name, and the numbers
// rise by one, the spare's too.
std::optional<Verdict> FindImpossibleFile(std::span<const SegmentScan> scans) {
  for (const SegmentScan& scan : scans) {
    if (scan.file_bytes >= kSegmentBytesMin) continue;
    return Refuse(VerdictKind::kCorrupt, scan, 0,
                  fmt::format("the file has {} bytes, and no segment is made with fewer than {}",
                              scan.file_bytes, kSegmentBytesMin));
  }
  for (size_t i = 1; i < scans.size(); ++i) {
    if (scans[i].sequence == scans[i - 1].sequence + 1) continue;
    return Refuse(
        VerdictKind::kCorrupt, scans[i], 0,
        fmt::format("the segment before it, {}, is missing", SegmentName(scans[i].sequence - 1)));
  }
  return std::nullopt;
}

// The last segment that was begun, not damaged: whole, or torn, or never finished.
Verdict JudgeLast(std::span<const SegmentScan> begun) {
  const size_t last = begun.size() - 1;
  const SegmentScan& scan = begun[last];
  if (scan.batches > 0) {
    if (scan.end == ScanEnd::kClean)
      return {.kind = VerdictKind::kWhole, .last = last, .message = {}};
    return {.kind = VerdictKind::kTorn,
            .last = last,
            .cut = last,
            .cut_offset = scan.end_offset,
            .message = {}};
  }
  // Not even the opening batch arrived, so nothing in the segment was ever acknowledged.
  if (last > 0) {
    return {
        .kind = VerdictKind::kTorn, .last = last - 1, .cut = last, .cut_offset = 0, .message = {}};
  }
  if (scan.sequence == 1) {
    return {.kind = VerdictKind::kNoLog, .message = "the log was never finished being made"};
  }
  // Older segments were removed only after this opening batch was synced.
  return Refuse(VerdictKind::kCorrupt, scan, scan.end_offset, "the opening batch is missing");
}

}  // namespace

SegmentScan ScanSegment(uint64_t sequence, std::string_view bytes,
                        const std::optional<Chain>& previous, const HeaderSink& on_header,
                        const BatchSink& on_batch) {
  return Scanner(sequence, bytes).Run(previous, on_header, on_batch);
}

Verdict Judge(std::span<const SegmentScan> scans, const std::optional<Identity>& expected) {
  if (auto impossible = FindImpossibleFile(scans)) return *impossible;
  size_t begun = scans.size();
  while (begun > 0 && scans[begun - 1].is_all_zero) --begun;
  if (begun == 0) {
    // A log that was never begun has its first segment at most; zeros with a later number were
    // more.
    if (!scans.empty() && (scans.size() > 1 || scans[0].sequence != 1)) {
      return Refuse(VerdictKind::kCorrupt, scans[0], 0, "the segment header is zeros");
    }
    return {.kind = VerdictKind::kNoLog, .message = "there is no log"};
  }
  const std::span<const SegmentScan> live = scans.first(begun);
  if (auto foreign = CheckIdentity(live, expected)) return *foreign;
  for (const SegmentScan& scan : live) {
    if (auto damage = FindDamage(scan)) return *damage;
  }
  // A segment is begun only when all before it are synced, so nothing may be missing there.
  for (const SegmentScan& scan : live.first(begun - 1)) {
    if (scan.end != ScanEnd::kClean || scan.batches == 0) {
      return Refuse(VerdictKind::kCorrupt, scan, scan.end_offset,
                    scan.reason.empty() ? "batches are missing" : scan.reason);
    }
  }
  return JudgeLast(live);
}

}  // namespace cairn::wal
