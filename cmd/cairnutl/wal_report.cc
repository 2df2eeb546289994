#include "cmd/cairnutl/wal_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <string_view>

namespace cairn::cairnutl {

namespace {

using wal::LogReport;
using wal::SegmentReport;
using wal::VerdictKind;

std::string StateOf(const LogReport& log, size_t at) {
  const SegmentReport& segment = log.segments[at];
  size_t begun = log.segments.size();
  while (begun > 0 && log.segments[begun - 1].scan.is_all_zero) --begun;
  if (at >= begun) return "spare";
  if (segment.is_damaged()) {
    const bool is_torn = log.verdict.kind == VerdictKind::kTorn && log.verdict.cut == at;
    return is_torn ? "torn" : "damaged";
  }
  return at + 1 == begun ? "current" : "finished";
}

Json IndexOf(const std::optional<raft::EntryId>& id) {
  return id ? Json(id->index.value()) : Json(nullptr);
}
Json TermOf(const std::optional<raft::EntryId>& id) {
  return id ? Json(id->term.value()) : Json(nullptr);
}

std::string OtherName(wal::OtherFile::Kind kind) {
  switch (kind) {
    case wal::OtherFile::Kind::kUnfinished:
      return "unfinished";
    case wal::OtherFile::Kind::kBroken:
      return "broken";
    case wal::OtherFile::Kind::kForeign:
      break;
  }
  return "foreign";
}

std::string EntriesText(const std::optional<raft::EntryId>& first,
                        const std::optional<raft::EntryId>& last) {
  if (!first) return "no entries";
  return fmt::format("entries {} to {}", first->index, last->index);
}

std::string ReadableText(const LogReport& log) {
  const raft::EntryId before = log.state.before_first();
  if (log.last.index <= before.index) {
    return fmt::format("no entries, after {} (term {})", before.index, before.term);
  }
  return fmt::format("entries {} to {} (term {}), committed through {}", before.index + 1,
                     log.last.index, log.last.term, log.state.commit());
}

std::string TornText(const LogReport& log) {
  const SegmentReport& segment = log.segments[log.verdict.cut];
  const uint64_t bytes = segment.scan.nonzero_end - log.verdict.cut_offset;
  const wal::SyncMode mode = log.state.sync_mode();
  return fmt::format(
      "torn: {} at offset {}: {} bytes of a write that {} ({}); a start cuts them off and keeps "
      "them in {}.broken.<n>",
      segment.name, log.verdict.cut_offset, bytes,
      mode == wal::SyncMode::kAlways
          ? "was never acknowledged"
          : fmt::format("may have been acknowledged, in sync mode {}", SyncModeName(mode)),
      segment.scan.reason.empty() ? "the opening batch is missing" : segment.scan.reason,
      segment.name);
}

// The least power of two that is not below `value`.
uint64_t BucketOf(uint64_t value) { return value <= 1 ? value : std::bit_ceil(value); }

}  // namespace

std::string RecordTypeName(wal::RecordType type) {
  switch (type) {
    case wal::RecordType::kEntry:
      return "entry";
    case wal::RecordType::kHardState:
      return "hard-state";
    case wal::RecordType::kConfiguration:
      return "configuration";
    case wal::RecordType::kMarker:
      return "marker";
    case wal::RecordType::kSnapshotInstalled:
      return "snapshot-installed";
    case wal::RecordType::kSyncMode:
      return "sync-mode";
    default:
      return fmt::format("type-{}", static_cast<uint8_t>(type));
  }
}

std::string SyncModeName(wal::SyncMode mode) {
  constexpr std::array<std::string_view, 3> kNames = {"always", "never", "interval"};
  const auto at = static_cast<size_t>(mode);
  return at < kNames.size() ? std::string(kNames[at]) : fmt::format("mode {}", at);
}

std::string VerdictName(VerdictKind kind) {
  switch (kind) {
    case VerdictKind::kNoLog:
      return "no log";
    case VerdictKind::kWhole:
      return "whole";
    case VerdictKind::kTorn:
      return "torn";
    case VerdictKind::kCorrupt:
      return "corrupt";
    case VerdictKind::kForeign:
      return "foreign";
    case VerdictKind::kNewer:
      return "newer";
  }
  return "unknown";
}

int ExitCodeOf(const LogReport& log) {
  if (log.is_readable()) return kExitOk;
  return log.verdict.kind == VerdictKind::kNoLog ? kExitError : kExitDamaged;
}

bool HasForeignFiles(const LogReport& log) {
  return std::any_of(log.others.begin(), log.others.end(), [](const wal::OtherFile& other) {
    return other.kind == wal::OtherFile::Kind::kForeign;
  });
}

Report SegmentsReport(const LogReport& log) {
  Report report({"name", "state", "bytes", "used", "batches", "records", "first index",
                 "first term", "last index", "last term"});
  for (size_t i = 0; i < log.segments.size(); ++i) {
    const SegmentReport& segment = log.segments[i];
    report.AddRow({segment.name, StateOf(log, i), segment.scan.file_bytes, segment.scan.end_offset,
                   segment.scan.batches, segment.records, IndexOf(segment.first_entry),
                   TermOf(segment.first_entry), IndexOf(segment.last_entry),
                   TermOf(segment.last_entry)});
  }
  for (const wal::OtherFile& other : log.others) {
    report.AddRow({other.name, OtherName(other.kind), other.size_bytes, nullptr, nullptr, nullptr,
                   nullptr, nullptr, nullptr, nullptr});
  }
  return report;
}

std::vector<std::string> DamageLines(const LogReport& log) {
  std::vector<std::string> lines;
  for (const SegmentReport& segment : log.segments) {
    if (segment.batches_behind_damage == 0) continue;
    lines.push_back(
        fmt::format("intact behind the damage, in {}: {} batches, {}", segment.name,
                    segment.batches_behind_damage,
                    EntriesText(segment.first_entry_behind, segment.last_entry_behind)));
  }
  return lines;
}

std::vector<std::string> VerdictLines(const LogReport& log) {
  std::vector<std::string> lines;
  for (const wal::OtherFile& other : log.others) {
    if (other.kind != wal::OtherFile::Kind::kForeign) continue;
    lines.push_back(fmt::format(
        "{} is none of the log's files; a start refuses until it is moved elsewhere", other.name));
  }
  switch (log.verdict.kind) {
    case VerdictKind::kWhole:
      lines.push_back(
          fmt::format("whole: {} segments, {}", log.verdict.last + 1, ReadableText(log)));
      break;
    case VerdictKind::kTorn:
      lines.push_back(TornText(log));
      break;
    default:
      lines.push_back(fmt::format("{}: {}", VerdictName(log.verdict.kind), log.verdict.message));
      break;
  }
  if (log.verdict.kind != VerdictKind::kNoLog && log.verdict.kind != VerdictKind::kWhole) {
    lines.push_back("readable: " + ReadableText(log));
  }
  if (log.state.sync_mode() != wal::SyncMode::kAlways) {
    lines.push_back(fmt::format(
        "sync mode {}: a power cut may have taken what was acknowledged last, and no verdict tells",
        SyncModeName(log.state.sync_mode())));
  }
  const std::vector<std::string> behind = DamageLines(log);
  lines.insert(lines.end(), behind.begin(), behind.end());
  return lines;
}

Json VerdictJson(const LogReport& log) {
  Json json = {{"verdict", VerdictName(log.verdict.kind)}};
  if (log.verdict.kind == VerdictKind::kTorn) {
    json["segment"] = log.segments[log.verdict.cut].name;
    json["offset"] = log.verdict.cut_offset;
  }
  if (!log.verdict.message.empty()) json["message"] = log.verdict.message;
  json["segments"] = log.segments.size();
  json["beforeFirst"] = log.state.before_first().index.value();
  json["last"] = log.last.index.value();
  json["lastTerm"] = log.last.term.value();
  json["commit"] = log.state.commit().value();
  json["syncMode"] = SyncModeName(log.state.sync_mode());
  Json damaged = Json::array();
  for (const SegmentReport& segment : log.segments) {
    if (!segment.is_damaged()) continue;
    damaged.push_back({{"segment", segment.name},
                       {"offset", segment.scan.end_offset},
                       {"reason", segment.scan.reason},
                       {"batchesBehind", segment.batches_behind_damage},
                       {"firstIndexBehind", IndexOf(segment.first_entry_behind)},
                       {"lastIndexBehind", IndexOf(segment.last_entry_behind)}});
  }
  json["damaged"] = std::move(damaged);
  Json foreign = Json::array();
  for (const wal::OtherFile& other : log.others) {
    if (other.kind == wal::OtherFile::Kind::kForeign) foreign.push_back(other.name);
  }
  json["foreignFiles"] = std::move(foreign);
  return json;
}

void WalStats::Add(const wal::SeenBatch& batch) {
  std::string_view body = batch.body;
  uint64_t entries = 0;
  wal::Record record;
  for (size_t before = body.size();
       wal::TakeRecord(body, record) && record.type != wal::RecordType::kEnd;
       before = body.size()) {
    Count& count = records_[RecordTypeName(record.type)];
    const uint64_t bytes = before - body.size();
    ++count.records;
    count.bytes += bytes;
    count.largest = std::max(count.largest, bytes);
    entries += record.type == wal::RecordType::kEntry ? 1 : 0;
  }
  ++batches_;
  empty_batches_ += batch.body.size() == 1 ? 1 : 0;
  masked_batches_ += batch.header.mask != 0 ? 1 : 0;
  header_bytes_ += wal::kBatchHeaderBytes;
  body_bytes_ += batch.body.size();
  padding_bytes_ += batch.header.size_bytes() - wal::kBatchHeaderBytes - batch.header.body_bytes;
  ++batch_bytes_[BucketOf(batch.header.size_bytes())];
  ++batch_entries_[BucketOf(entries)];
}

Report WalStats::Records() const {
  Report report({"type", "records", "bytes", "average", "largest"});
  for (const auto& [type, count] : records_) {
    report.AddRow({type, count.records, count.bytes, count.bytes / count.records, count.largest});
  }
  return report;
}

Report WalStats::ToReport(const Histogram& histogram, const std::string& title) {
  Report report({title, "batches"});
  for (const auto& [bound, batches] : histogram) report.AddRow({bound, batches});
  return report;
}

Report WalStats::BatchSizes() const { return ToReport(batch_bytes_, "bytes up to"); }
Report WalStats::EntriesPerBatch() const { return ToReport(batch_entries_, "entries up to"); }

Report WalStats::Bytes(const LogReport& log) const {
  uint64_t file_bytes = 0;
  uint64_t segment_headers = 0;
  for (const SegmentReport& segment : log.segments) {
    file_bytes += segment.scan.file_bytes;
    if (segment.scan.header_state == wal::HeaderState::kValid) {
      segment_headers += wal::kSegmentHeaderBytes;
    }
  }
  const uint64_t batch_bytes = header_bytes_ + body_bytes_ + padding_bytes_;
  const uint64_t written = batch_bytes + segment_headers;
  Facts facts;
  facts.Add("segments", log.segments.size());
  facts.Add("file bytes", file_bytes);
  facts.Add("segment header bytes", segment_headers);
  facts.Add("batches", batches_);
  facts.Add("empty batches", empty_batches_);
  facts.Add("masked batches", masked_batches_);
  facts.Add("batch header bytes", header_bytes_);
  facts.Add("record bytes", body_bytes_);
  facts.Add("padding bytes", padding_bytes_);
  facts.Add("padding percent", batch_bytes == 0 ? 0 : padding_bytes_ * 100 / batch_bytes);
  facts.Add("other bytes", file_bytes > written ? file_bytes - written : 0);
  return facts.ToReport();
}

}  // namespace cairn::cairnutl
