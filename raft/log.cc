#include "raft/log.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace cairn::raft {

size_t EntryBytes(const Entry& entry) { return sizeof(Entry) + entry.data_bytes(); }

Log::Log(EntryId before_tail, Index applied, EntryId last, Index commit, std::vector<Entry> tail)
    : before_tail_(before_tail.index),
      before_tail_term_(before_tail.term),
      last_(last),
      commit_(std::max(commit, applied)),
      applying_(applied),
      applied_(applied),
      handed_out_(last.index),
      durable_(last.index) {
  CAIRN_CHECK_LE(commit_, last.index);
  CAIRN_CHECK_LE(before_tail_, commit_);
  CAIRN_CHECK(!tail.empty() || before_tail == last);
  for (Entry& entry : tail) {
    CAIRN_CHECK_EQ(entry.index, before_tail_ + tail_.size() + 1);
    tail_bytes_ += EntryBytes(entry);
    tail_.push_back(std::move(entry));
  }
  CAIRN_CHECK(tail_.empty() || (tail_.back().index == last.index && tail_.back().term == last.term),
              "the restored entries do not end in the last entry of the log");
}

std::optional<Term> Log::TermAt(Index index) const {
  if (index == last_.index) return last_.term;
  if (index == before_tail_) return before_tail_term_;
  if (index < before_tail_ || index > last_.index) return std::nullopt;
  return At(index).term;
}

bool Log::IsUpToDate(EntryId candidate_last) const {
  return candidate_last >= last_;  // Term first, then index.
}

void Log::Push(Entry entry) {
  CAIRN_CHECK_EQ(entry.index, last_.index + 1);
  CAIRN_CHECK_GE(entry.term, last_.term);
  last_ = {.term = entry.term, .index = entry.index};
  tail_bytes_ += EntryBytes(entry);
  tail_.push_back(std::move(entry));
}

void Log::Append(EntryKind kind, Payload data, Term term) {
  Push({.term = term, .index = last_.index + 1, .kind = kind, .data = std::move(data)});
}

bool Log::Matches(EntryId previous) const {
  if (previous.index <= commit_) return true;
  return previous.index <= last_.index && TermAt(previous.index) == previous.term;
}

std::optional<Index> Log::Merge(const LogSlice& slice) {
  std::optional<Index> dropped;
  for (const Entry& entry : slice.entries) {
    if (entry.index <= commit_) {
      // State-machine safety (thesis 3.6.3): what is committed is the same in every log.
      CAIRN_CHECK_EQ(TermAt(entry.index).value_or(entry.term), entry.term);
      continue;
    }
    if (entry.index <= last_.index) {
      if (At(entry.index).term == entry.term) continue;
      dropped = entry.index;
      DropFrom(entry.index);
    }
    Push(entry);
  }
  return dropped;
}

void Log::DropFrom(Index first) {
  // Committed entries are never superseded (leader completeness, thesis 3.6.3).
  CAIRN_CHECK_GT(first, commit_);
  while (last_.index >= first) {
    tail_bytes_ -= EntryBytes(tail_.back());
    tail_.pop_back();
    last_ = {.term = tail_.empty() ? before_tail_term_ : tail_.back().term,
             .index = last_.index - 1};
  }
  handed_out_ = std::min(handed_out_, last_.index);
  durable_ = std::min(durable_, last_.index);
  for (Write& write : writes_) write.last = std::min(write.last, last_.index);
}

EntryId Log::LastAtMost(Term term, Index index, Index foot) const {
  CAIRN_CHECK_GE(foot, before_tail_);
  const Index top = std::min(index, last_.index);
  if (top <= foot) return {.term = Term(0), .index = top};
  const auto begin = tail_.begin() + static_cast<std::ptrdiff_t>(foot - before_tail_);
  const auto end = tail_.begin() + static_cast<std::ptrdiff_t>(top - before_tail_);
  const auto above =
      std::partition_point(begin, end, [&](const Entry& entry) { return entry.term <= term; });
  if (above == begin) return {.term = Term(0), .index = foot};
  const Entry& found = *std::prev(above);
  return {.term = found.term, .index = found.index};
}

void Log::CommitTo(Index index) { commit_ = std::max(commit_, std::min(index, last_.index)); }

EntryId Log::committed() const {
  return {.term = commit_ == before_tail_ ? before_tail_term_ : At(commit_).term, .index = commit_};
}

std::vector<Entry> Log::TakeUnwritten() {
  std::vector<Entry> entries;
  entries.reserve(last_.index - handed_out_);
  const auto begin = tail_.begin() + static_cast<std::ptrdiff_t>(handed_out_ - before_tail_);
  entries.assign(begin, tail_.end());
  handed_out_ = last_.index;
  return entries;
}

void Log::WriteStarted(uint64_t number) {
  CAIRN_CHECK(writes_.empty() || writes_.back().number < number);
  writes_.push_back({number, handed_out_});
}

void Log::WriteFinished(uint64_t number) {
  while (!writes_.empty() && writes_.front().number <= number) {
    CAIRN_CHECK_GE(writes_.front().last, durable_);
    durable_ = writes_.front().last;
    writes_.pop_front();
  }
}

Index Log::apply_limit() const { return std::min(commit_, durable_) + 1; }

void Log::StartApplying(Index limit) {
  CAIRN_CHECK_LE(limit, apply_limit());
  applying_ = std::max(applying_, limit - 1);
}

void Log::Applied(Index index) {
  CAIRN_CHECK_GE(index, applied_);
  CAIRN_CHECK_LE(index, applying_);
  applied_ = index;
}

std::vector<Entry> Log::Slice(Index first, Index limit, size_t max_bytes) const {
  std::vector<Entry> entries;
  CAIRN_CHECK_LE(limit, last_.index + 1);
  if (first <= before_tail_ || first >= limit) return entries;
  size_t bytes = 0;
  Index end = first;
  while (end < limit) {
    bytes += At(end).data_bytes();
    if (bytes > max_bytes && end > first) break;
    ++end;
  }
  const auto begin = tail_.begin() + static_cast<std::ptrdiff_t>(first - before_tail_ - 1);
  entries.assign(begin, begin + static_cast<std::ptrdiff_t>(end - first));
  return entries;
}

size_t Log::BytesOf(Index first, Index limit) const {
  size_t bytes = 0;
  for (Index index = first; index < limit; ++index) bytes += EntryBytes(At(index));
  return bytes;
}

void Log::Trim(Index unneeded, size_t bytes_max) {
  const Index safe = std::min(commit_, durable_);
  while (!tail_.empty()) {
    const Entry& oldest = tail_.front();
    if (oldest.index > safe) return;
    if (oldest.index > unneeded && tail_bytes_ <= bytes_max) return;
    before_tail_ = oldest.index;
    before_tail_term_ = oldest.term;
    tail_bytes_ -= EntryBytes(oldest);
    tail_.pop_front();
  }
}

void Log::Reset(EntryId snapshot) {
  tail_.clear();
  tail_bytes_ = 0;
  before_tail_ = snapshot.index;
  before_tail_term_ = snapshot.term;
  last_ = snapshot;
  commit_ = applying_ = applied_ = handed_out_ = durable_ = snapshot.index;
  // The record of the snapshot followed every write under way into the log.
  for (Write& write : writes_) write.last = snapshot.index;
}

}  // namespace cairn::raft
