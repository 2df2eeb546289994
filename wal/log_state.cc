#include "wal/log_state.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace cairn::wal {

void LogState::BeginSegment(uint64_t sequence) {
  segments_.push_back({.sequence = sequence, .before_first = last_, .highest = Index()});
}

void LogState::BeginBatch(uint64_t offset, Index commit) {
  CAIRN_CHECK(!segments_.empty());
  batch_offset_ = offset;
  batch_entries_ = 0;
  commit_ = std::max(commit_, commit);
}

std::string LogState::Apply(const Record& record) {
  switch (record.type) {
    case RecordType::kEntry:
      return ApplyEntry(record);
    case RecordType::kHardState:
      if (record.term < term_) {
        return fmt::format("the term goes back from {} to {}", term_, record.term);
      }
      term_ = record.term;
      vote_ = record.vote;
      return {};
    case RecordType::kConfiguration:
      configuration_.emplace(record.data);
      return {};
    case RecordType::kMarker:
      marker_ = Marker{.id = record.id};
      return {};
    case RecordType::kSnapshotInstalled:
      ApplySnapshotInstalled(record);
      return {};
    case RecordType::kSyncMode:
      sync_mode_ = record.sync_mode;
      return {};
    case RecordType::kEnd:
      return {};
  }
  return "a record of unknown type";
}

std::string LogState::ApplyEntry(const Record& record) {
  const Index index = record.id.index;
  if (index > last_.index + 1) {
    return fmt::format("entry {} follows entry {}", index, last_.index);
  }
  const Index before = index - 1;
  // In the oldest segment an entry may supersede what removed segments held; then the record itself
  // says which term its predecessor has.
  if (before >= before_first_.index && TermAt(before) != record.previous_term) {
    return fmt::format("entry {} follows an entry of term {}, but entry {} has term {}", index,
                       record.previous_term, before, TermAt(before));
  }
  const bool supersedes = index <= last_.index;
  if (supersedes) Supersede(index, record.previous_term);
  const uint64_t sequence = segments_.back().sequence;
  if (supersedes || anchors_.empty() || anchors_.back().sequence != sequence ||
      batch_offset_ >= anchors_.back().offset + kAnchorBytes) {
    anchors_.push_back(
        {.first = index, .sequence = sequence, .offset = batch_offset_, .skip = batch_entries_});
  }
  if (runs_.empty() || runs_.back().term != record.id.term) {
    runs_.push_back({.first = index, .term = record.id.term});
  }
  last_ = record.id;
  segments_.back().highest = std::max(segments_.back().highest, index);
  ++batch_entries_;
  return {};
}

void LogState::Supersede(Index index, Term previous_term) {
  while (!anchors_.empty() && anchors_.back().first >= index) anchors_.pop_back();
  while (!runs_.empty() && runs_.back().first >= index) runs_.pop_back();
  const raft::EntryId before = {.term = previous_term, .index = index - 1};
  for (SegmentSummary& segment : segments_) {
    if (segment.before_first.index >= index) segment.before_first = before;
  }
  if (before_first_.index >= index) before_first_ = before;
}

void LogState::ApplySnapshotInstalled(const Record& record) {
  anchors_.clear();
  runs_.clear();
  before_first_ = record.id;
  last_ = record.id;
  for (SegmentSummary& segment : segments_) segment.before_first = record.id;
  segments_.back().highest = std::max(segments_.back().highest, record.id.index);
  snapshot_installed_ = {.id = record.id, .configuration = std::string(record.data)};
  configuration_.emplace(record.data);
}

void LogState::RemoveOldestSegment() {
  CAIRN_CHECK_GE(segments_.size(), size_t{2});
  const uint64_t removed = segments_.front().sequence;
  segments_.pop_front();
  while (!anchors_.empty() && anchors_.front().sequence == removed) anchors_.pop_front();
  before_first_ = std::max(before_first_, segments_.front().before_first,
                           [](const auto& a, const auto& b) { return a.index < b.index; });
  while (runs_.size() > 1 && runs_[1].first <= before_first_.index + 1) runs_.pop_front();
  if (last_.index == before_first_.index) runs_.clear();
}

Term LogState::TermAt(Index index) const {
  CAIRN_CHECK(Knows(index));
  if (index == before_first_.index) return before_first_.term;
  auto after = std::upper_bound(runs_.begin(), runs_.end(), index,
                                [](Index i, const TermRun& run) { return i < run.first; });
  CAIRN_CHECK(after != runs_.begin());
  return std::prev(after)->term;
}

LogState::Stretch LogState::Locate(Index index) const {
  CAIRN_CHECK_GT(index, before_first_.index);
  CAIRN_CHECK_LE(index, last_.index);
  auto after = std::upper_bound(anchors_.begin(), anchors_.end(), index,
                                [](Index i, const Anchor& anchor) { return i < anchor.first; });
  CAIRN_CHECK(after != anchors_.begin());
  Stretch stretch{.from = *std::prev(after), .next = std::nullopt};
  if (after != anchors_.end()) stretch.next = *after;
  return stretch;
}

}  // namespace cairn::wal
