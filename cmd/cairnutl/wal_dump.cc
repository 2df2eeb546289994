#include "cmd/cairnutl/wal_dump.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cmd/cairnutl/entry_text.h"
#include "cmd/cairnutl/wal_report.h"
#include "wal/format.h"

namespace cairn::cairnutl {

namespace {

using wal::Record;
using wal::RecordType;
using wal::SeenBatch;

bool HasIndex(RecordType type) {
  return type == RecordType::kEntry || type == RecordType::kMarker ||
         type == RecordType::kSnapshotInstalled;
}

// Behind the type's name.
std::string RecordText(const Record& record) {
  switch (record.type) {
    case RecordType::kEntry: {
      const std::string text = DescribeEntry(record.kind, record.data);
      return fmt::format("{} of term {}  {}{}{}", record.id.index, record.id.term,
                         EntryKindName(record.kind), text.empty() ? "" : ": ", text);
    }
    case RecordType::kHardState:
      return fmt::format(
          "term {}, {}", record.term,
          record.vote == MemberId(0) ? "no vote" : fmt::format("vote {:x}", record.vote));
    case RecordType::kConfiguration:
      return DescribeConfiguration(record.data);
    case RecordType::kMarker:
      return fmt::format("the state is durable through {} of term {}", record.id.index,
                         record.id.term);
    case RecordType::kSnapshotInstalled:
      return fmt::format("{} of term {}, {}", record.id.index, record.id.term,
                         DescribeConfiguration(record.data));
    case RecordType::kSyncMode:
      return SyncModeName(record.sync_mode);
    default:
      return fmt::format("{} bytes", record.data.size());
  }
}

void PutRecord(Json& object, const Record& record) {
  if (HasIndex(record.type)) {
    object["index"] = record.id.index.value();
    object["term"] = record.id.term.value();
  }
  switch (record.type) {
    case RecordType::kEntry:
      PutEntry(object, record.kind, record.data);
      break;
    case RecordType::kHardState:
      object["term"] = record.term.value();
      object["vote"] = Hex(record.vote.value());
      break;
    case RecordType::kConfiguration:
    case RecordType::kSnapshotInstalled:
      PutConfiguration(object, record.data);
      break;
    case RecordType::kMarker:
      break;
    case RecordType::kSyncMode:
      object["mode"] = SyncModeName(record.sync_mode);
      break;
    default:
      object["data_base64"] = Base64(record.data);
      break;
  }
}

Json PlaceOf(const SeenBatch& batch) {
  Json object = {{"segment", wal::SegmentName(batch.sequence)},
                 {"offset", batch.offset},
                 {"batch", batch.header.number}};
  if (batch.is_behind_damage) object["behindDamage"] = true;
  return object;
}

}  // namespace

bool DumpFilter::Admits(const Record& record) const {
  if (!types.empty() &&
      std::find(types.begin(), types.end(), RecordTypeName(record.type)) == types.end()) {
    return false;
  }
  if (first_index || last_index) {
    if (!HasIndex(record.type)) return false;
    const uint64_t index = record.id.index.value();
    if (first_index && index < *first_index) return false;
    if (last_index && index > *last_index) return false;
  }
  if (term) {
    if (record.type == RecordType::kHardState) return record.term.value() == *term;
    return HasIndex(record.type) && record.id.term.value() == *term;
  }
  return true;
}

bool WalDump::Add(const SeenBatch& batch) {
  bool is_first = true;
  const auto begin = [&] {
    if (!std::exchange(is_first, false)) return;
    ShowHeading(batch);
    if (filter_.with_batches) ShowBatch(batch);
  };
  std::string_view body = batch.body;
  Record record;
  // A batch in which nothing is looked for is shown only when nothing particular is.
  const bool shows_all =
      filter_.types.empty() && !filter_.first_index && !filter_.last_index && !filter_.term;
  if (filter_.with_batches && shows_all) begin();
  while (wal::TakeRecord(body, record) && record.type != RecordType::kEnd) {
    if (!filter_.Admits(record)) continue;
    begin();
    ShowRecord(batch, record);
  }
  return true;
}

void WalDump::ShowHeading(const SeenBatch& batch) {
  if (format_ == Format::kJson) return;
  if (sequence_ != batch.sequence) {
    out_(fmt::format("# {}\n", wal::SegmentName(batch.sequence)));
    is_behind_damage_ = false;
  }
  sequence_ = batch.sequence;
  if (batch.is_behind_damage && !is_behind_damage_) {
    out_("# behind the damage; a start would not take this in:\n");
  }
  is_behind_damage_ = batch.is_behind_damage;
}

void WalDump::ShowBatch(const SeenBatch& batch) {
  const wal::BatchHeader& header = batch.header;
  if (format_ == Format::kJson) {
    Json object = PlaceOf(batch);
    object["type"] = "batch";
    object["bytes"] = header.size_bytes();
    object["bodyBytes"] = header.body_bytes;
    object["durableThrough"] = header.durable_through;
    object["commit"] = header.commit.value();
    object["checksum"] = fmt::format("{:08x}", header.checksum);
    object["isMasked"] = header.mask != 0;
    out_(JsonLine(object));
    return;
  }
  out_(fmt::format("{:>10}  {:<18}  {} of {} bytes, durable through {}, commit {}{}\n",
                   batch.offset, "batch", header.number, header.size_bytes(),
                   header.durable_through, header.commit, header.mask != 0 ? ", masked" : ""));
}

void WalDump::ShowRecord(const SeenBatch& batch, const Record& record) {
  if (format_ == Format::kJson) {
    Json object = PlaceOf(batch);
    object["type"] = RecordTypeName(record.type);
    PutRecord(object, record);
    out_(JsonLine(object));
    return;
  }
  out_(fmt::format("{:>10}  {:<18}  {}\n", batch.offset, RecordTypeName(record.type),
                   RecordText(record)));
}

std::string RequestLine(const raft::Entry& entry) {
  Json object = {{"index", entry.index.value()}, {"term", entry.term.value()}};
  PutEntry(object, entry.kind,
           entry.data == nullptr ? std::string_view() : std::string_view(*entry.data));
  return JsonLine(object);
}

}  // namespace cairn::cairnutl
