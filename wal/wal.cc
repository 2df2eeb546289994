#include "wal/wal.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <random>
#include <utility>

#include "base/check.h"
#include "base/fail_point.h"
#include "base/histogram.h"
#include "base/mutex.h"
#include "base/status.h"
#include "wal/entry_reader.h"
#include "wal/format.h"
#include "wal/log_state.h"
#include "wal/opening.h"
#include "wal/pins.h"
#include "wal/recovery.h"
#include "wal/segment_file.h"
#include "wal/segment_gc.h"

namespace cairn::wal {

namespace {

// The proof of an idle log is one sector; each batch leaves room for it.
constexpr uint64_t kProofBytes = kSectorBytes;

// Below what a disk takes; the last bound is two seconds.
constexpr uint64_t kFirstSyncBucketUs = 64;

uint64_t MicrosecondsSince(std::chrono::steady_clock::time_point began) {
  const auto time = std::chrono::steady_clock::now() - began;
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(time).count());
}

uint64_t RandomNumber() {
  std::random_device device;
  uint64_t number = 0;
  while (number == 0) number = (uint64_t{device()} << 32) | device();
  return number;
}

std::string ParentOf(const std::string& directory) {
  const size_t slash = directory.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : directory.substr(0, slash);
}

absl::Status CheckOptions(const Options& options) {
  if (options.segment_bytes % kSectorBytes == 0 && options.segment_bytes >= kSegmentBytesMin) {
    return absl::OkStatus();
  }
  return base::Error(absl::StatusCode::kInvalidArgument,
                     "a segment of {} bytes: must be a multiple of {} and at least {}",
                     options.segment_bytes, kSectorBytes, kSegmentBytesMin);
}

// The term of the entry before `index`, as the records of the unfinished batch leave it; nothing
// when they do not say.
std::optional<Term> TermInBatch(const std::vector<Record>& records, Index index) {
  for (auto record = records.rbegin(); record != records.rend(); ++record) {
    const bool is_entry = record->type == RecordType::kEntry;
    if (!is_entry && record->type != RecordType::kSnapshotInstalled) continue;
    if (record->id.index == index) return record->id.term;
    CAIRN_CHECK_GT(record->id.index, index);
  }
  return std::nullopt;
}

}  // namespace

class WalImpl {
 public:
  WalImpl(Fs& fs, std::string directory, Options options)
      : fs_(fs), directory_(std::move(directory)), options_(options), encoder_(RandomNumber()) {}

  absl::Status Create(Identity identity) {
    identity_ = identity;
    CAIRN_RETURN_IF_ERROR(fs_.CreateDirectory(directory_));
    CAIRN_RETURN_IF_ERROR(fs_.SyncDirectory(ParentOf(directory_)));
    CAIRN_RETURN_IF_ERROR(RemoveUnfinishedLog(fs_, directory_));
    CAIRN_RETURN_IF_ERROR(BeginNextSegment(0, false));
    return Sync();
  }

  absl::StatusOr<Recovered> Open(const std::optional<Identity>& expected) {
    const auto began = std::chrono::steady_clock::now();
    CAIRN_ASSIGN_OR_RETURN(OpenedLog opened,
                           OpenLog(fs_, directory_, options_.segment_bytes, expected));
    identity_ = opened.recovered.identity;
    chain_ = opened.chain;
    needs_proof_ = !opened.is_proven;
    base::MutexLock lock(mutex_);
    state_ = std::move(opened.state);
    segments_ = std::move(opened.segments);
    next_sequence_ = segments_.back().sequence + 1;
    spare_ = std::move(opened.spare);
    commit_ = state_.commit();
    offset_ = synced_offset_ = segments_.back().used_bytes;
    opening_is_synced_ = true;
    synced_marker_ = state_.marker() ? state_.marker()->id.index : Index();
    for (const SegmentFile& segment : segments_) opened.recovered.read_bytes += segment.used_bytes;
    opened.recovered.open_us = MicrosecondsSince(began);
    return opened.recovered;
  }

  absl::Status Write(std::span<const Append> appends) {
    CAIRN_RETURN_IF_ERROR(failure_);
    return failure_ = DoWrite(appends);
  }

  absl::Status Sync() {
    CAIRN_RETURN_IF_ERROR(failure_);
    return failure_ = DoSync();
  }

  absl::Status WriteDurableThrough() {
    CAIRN_RETURN_IF_ERROR(failure_);
    if (!needs_proof_) return absl::OkStatus();
    return failure_ = DoWriteDurableThrough();
  }

  absl::StatusOr<std::vector<raft::Entry>> ReadEntries(Index first, Index limit,
                                                       size_t max_bytes) const;
  absl::StatusOr<Term> TermAt(Index index) const;
  absl::StatusOr<size_t> CollectCovered(Index durable_applied, const Pins& pins);
  Retention Retained(const Pins& pins) const;
  absl::Status MakeSpare(const std::function<bool()>& pace);

  raft::EntryId before_first() const {
    base::MutexLock lock(mutex_);
    return state_.before_first();
  }
  raft::EntryId last() const {
    base::MutexLock lock(mutex_);
    return state_.last();
  }
  bool has_spare() const {
    base::MutexLock lock(mutex_);
    return spare_.has_value();
  }
  bool spare_is_urgent() const { return spare_is_urgent_.load(std::memory_order_relaxed); }
  LogFigures figures() const;
  uint64_t bytes_since(Index index) const;

 private:
  absl::Status DoWrite(std::span<const Append> appends);
  absl::Status DoSync();
  absl::Status DoWriteDurableThrough();
  void CollectRecords(const Append& append);
  Term PreviousTerm(Index index) const;
  // Encodes records_ as the next batch of `place` and returns its bytes; they live until the next.
  std::string_view Encode(const BatchPlace& place, uint64_t durable_through, Index commit);
  // Lets state_ and readers know of the batch at `offset` that is written now.
  void Publish(uint64_t offset, size_t size_bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Moves to the next segment, with room for a batch of `batch_bytes`, or for nothing else.
  absl::Status BeginNextSegment(uint64_t batch_bytes, bool goes_alone);
  absl::StatusOr<SegmentFile> TakeSpare(uint64_t size_bytes);
  absl::Status GoOnWithSpare(const std::function<bool()>& pace)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(spare_mutex_);
  void CollectOpeningRecords();
  Index PublishedCommit() const {
    base::MutexLock lock(mutex_);
    return state_.commit();
  }

  // The log's extent at one moment, to be looked at without the lock.
  struct ExtentCopy {
    std::vector<SegmentSummary> segments;
    std::vector<uint64_t> used_bytes;
    Index last;

    LogExtent view() const { return {segments, used_bytes, last}; }
  };
  ExtentCopy CopyExtent() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    ExtentCopy copy{{state_.segments().begin(), state_.segments().end()}, {}, state_.last().index};
    for (const SegmentFile& segment : segments_) copy.used_bytes.push_back(segment.used_bytes);
    return copy;
  }

  const SegmentFile* Find(uint64_t sequence) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto at = static_cast<size_t>(sequence - segments_.front().sequence);
    CAIRN_CHECK_LT(at, segments_.size());
    return &segments_[at];
  }

  Fs& fs_;
  const std::string directory_;
  const Options options_;
  Identity identity_;

  // The writer's own.
  absl::Status failure_;  // The first one; final.
  BatchEncoder encoder_;
  BatchHeader header_;           // Of the batch just encoded.
  std::vector<Record> records_;  // Of the batch being written.
  Chain chain_;
  uint64_t offset_ = 0;         // Where the next batch goes.
  uint64_t synced_offset_ = 0;  // What is before it in the current segment is synced.
  Index commit_;
  bool needs_proof_ = false;  // The last batch says something that no later one proves durable.

  // Written by the writer, read by anybody.
  std::atomic<uint64_t> appended_entries_ = 0;
  std::atomic<uint64_t> appended_bytes_ = 0;
  std::atomic<uint64_t> synced_bytes_ = 0;
  base::Histogram batch_bytes_{kSectorBytes};
  base::Histogram sync_us_{kFirstSyncBucketUs};

  mutable base::Mutex mutex_;
  LogState state_ ABSL_GUARDED_BY(mutex_);
  std::deque<SegmentFile> segments_ ABSL_GUARDED_BY(mutex_);
  std::optional<SegmentFile> spare_ ABSL_GUARDED_BY(mutex_);
  // What the next spare is called. Moves on when a spare is taken, not when its segment begins:
  // another one may be made in between, and must not take the place of the first.
  uint64_t next_sequence_ ABSL_GUARDED_BY(mutex_) = 1;
  Index synced_marker_ ABSL_GUARDED_BY(mutex_);
  bool opening_is_synced_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t removed_segments_ ABSL_GUARDED_BY(mutex_) = 0;

  // Held while a spare is made; before mutex_.
  base::Mutex spare_mutex_;
  std::optional<SegmentMaker> spare_in_the_making_ ABSL_GUARDED_BY(spare_mutex_);
  std::atomic<bool> spare_is_urgent_ = false;
  // Held while segments are removed; before mutex_.
  base::Mutex removal_mutex_;
};

void WalImpl::CollectRecords(const Append& append) {
  if (append.snapshot_installed) {
    records_.push_back({.type = RecordType::kSnapshotInstalled,
                        .id = append.snapshot_installed->id,
                        .data = append.snapshot_installed->configuration});
  }
  for (const raft::Entry& entry : append.entries) {
    records_.push_back({.type = RecordType::kEntry,
                        .id = {.term = entry.term, .index = entry.index},
                        .previous_term = PreviousTerm(entry.index),
                        .kind = entry.kind,
                        .data = entry.data ? std::string_view(*entry.data) : std::string_view()});
  }
  if (append.hard_state) {
    records_.push_back({.type = RecordType::kHardState,
                        .term = append.hard_state->term,
                        .vote = append.hard_state->vote});
    commit_ = std::max(commit_, append.hard_state->commit);
  }
  if (append.configuration) {
    records_.push_back({.type = RecordType::kConfiguration, .data = *append.configuration});
  }
  if (append.marker) {
    records_.push_back({.type = RecordType::kMarker, .id = append.marker->id});
  }
  if (append.sync_mode) {
    records_.push_back({.type = RecordType::kSyncMode, .sync_mode = *append.sync_mode});
  }
  commit_ = std::max(commit_, append.commit);
}

Term WalImpl::PreviousTerm(Index index) const {
  if (const std::optional<Term> term = TermInBatch(records_, index - 1)) return *term;
  base::MutexLock lock(mutex_);
  CAIRN_CHECK(state_.Knows(index - 1),
              fmt::format("entry {} leaves a gap after {}", index, state_.last().index));
  return state_.TermAt(index - 1);
}

std::string_view WalImpl::Encode(const BatchPlace& place, uint64_t durable_through, Index commit) {
  header_ = {.number = chain_.number + 1,
             .durable_through = durable_through,
             .commit = commit,
             .previous_checksum = chain_.checksum};
  return encoder_.Finish(header_, place);
}

void WalImpl::Publish(uint64_t offset, size_t size_bytes) {
  state_.BeginBatch(offset, header_.commit);
  for (const Record& record : records_) {
    const std::string problem = state_.Apply(record);
    CAIRN_CHECK(problem.empty(), problem);
  }
  segments_.back().used_bytes = offset + size_bytes;
  appended_bytes_.store(appended_bytes_.load(std::memory_order_relaxed) + size_bytes,
                        std::memory_order_relaxed);
  chain_ = {.number = header_.number, .checksum = header_.checksum};
  offset_ = offset + size_bytes;
}

absl::Status WalImpl::DoWrite(std::span<const Append> appends) {
  records_.clear();
  const Index commit_before = commit_;
  for (const Append& append : appends) CollectRecords(append);
  // A commit index is only a hint; beyond the last entry it would look like a loss.
  Index last = this->last().index;
  for (const Record& record : records_) {
    if (record.type == RecordType::kEntry || record.type == RecordType::kSnapshotInstalled) {
      last = record.id.index;
    }
  }
  commit_ = std::max(commit_before, std::min(commit_, last));
  const auto encode_records = [this] {
    encoder_.Begin();
    for (const Record& record : records_) encoder_.Add(record);
  };
  encode_records();
  const uint64_t size_bytes = encoder_.size_bytes();
  SegmentFile current;
  {
    base::MutexLock lock(mutex_);
    current = segments_.back();
  }
  // A batch that exceeds what may be unsynced must not leave zeros behind it that nobody checks.
  const bool goes_alone = size_bytes > kUnsyncedBytesMax;
  // What was left free for the proof is the proof's.
  const uint64_t reserve_bytes = appends.empty() ? 0 : kProofBytes;
  if (goes_alone || offset_ + size_bytes + reserve_bytes > current.size_bytes) {
    std::vector<Record> records = std::exchange(records_, {});
    CAIRN_RETURN_IF_ERROR(BeginNextSegment(size_bytes, goes_alone));
    records_ = std::move(records);
    encode_records();
    base::MutexLock lock(mutex_);
    current = segments_.back();
  } else if (offset_ - synced_offset_ + size_bytes > kUnsyncedBytesMax) {
    CAIRN_RETURN_IF_ERROR(DoSync());
  }
  const BatchPlace place{.sequence = current.sequence, .offset = offset_, .salt = current.salt};
  const std::string_view bytes = Encode(place, synced_offset_, commit_);
  CAIRN_RETURN_IF_ERROR(current.file->Write(offset_, bytes));
  base::FailPoint("wal.write.done");
  batch_bytes_.Observe(bytes.size());
  base::MutexLock lock(mutex_);
  Publish(place.offset, bytes.size());
  needs_proof_ = true;
  const auto entries = static_cast<uint64_t>(
      std::count_if(records_.begin(), records_.end(),
                    [](const Record& record) { return record.type == RecordType::kEntry; }));
  appended_entries_.store(appended_entries_.load(std::memory_order_relaxed) + entries,
                          std::memory_order_relaxed);
  return absl::OkStatus();
}

absl::Status WalImpl::DoSync() {
  if (offset_ == synced_offset_) return absl::OkStatus();
  std::shared_ptr<File> file;
  {
    base::MutexLock lock(mutex_);
    file = segments_.back().file;
  }
  const auto began = std::chrono::steady_clock::now();
  CAIRN_RETURN_IF_ERROR(file->Sync());
  sync_us_.Observe(MicrosecondsSince(began));
  base::FailPoint("wal.sync.done");
  synced_offset_ = offset_;
  synced_bytes_.store(appended_bytes_.load(std::memory_order_relaxed), std::memory_order_relaxed);
  base::MutexLock lock(mutex_);
  opening_is_synced_ = true;
  if (state_.marker()) synced_marker_ = state_.marker()->id.index;
  return absl::OkStatus();
}

absl::Status WalImpl::DoWriteDurableThrough() {
  CAIRN_RETURN_IF_ERROR(DoSync());
  CAIRN_RETURN_IF_ERROR(DoWrite({}));
  needs_proof_ = false;
  return absl::OkStatus();
}

void WalImpl::CollectOpeningRecords() {
  base::MutexLock lock(mutex_);
  records_ = {{.type = RecordType::kHardState, .term = state_.term(), .vote = state_.vote()}};
  if (state_.configuration()) {
    records_.push_back({.type = RecordType::kConfiguration, .data = *state_.configuration()});
  }
  if (state_.marker()) {
    records_.push_back({.type = RecordType::kMarker, .id = state_.marker()->id});
  }
  if (state_.sync_mode() != SyncMode::kAlways) {
    records_.push_back({.type = RecordType::kSyncMode, .sync_mode = state_.sync_mode()});
  }
}

absl::Status WalImpl::BeginNextSegment(uint64_t batch_bytes, bool goes_alone) {
  // The header of a segment says that all before it is synced.
  if (offset_ > 0) CAIRN_RETURN_IF_ERROR(DoSync());
  base::FailPoint("wal.rotate.synced");
  CollectOpeningRecords();
  encoder_.Begin();
  for (const Record& record : records_) encoder_.Add(record);
  const uint64_t needed = kSegmentHeaderBytes + encoder_.size_bytes() + batch_bytes + kProofBytes;
  CAIRN_ASSIGN_OR_RETURN(SegmentFile next,
                         TakeSpare(goes_alone ? needed : std::max(needed, options_.segment_bytes)));
  next.salt = RandomNumber();
  const SegmentHeader header{.identity = identity_,
                             .sequence = next.sequence,
                             .salt = next.salt,
                             .before_first = last(),
                             .first_batch_number = chain_.number + 1,
                             .size_bytes = next.size_bytes,
                             .previous_checksum = chain_.checksum};
  const BatchPlace place{
      .sequence = next.sequence, .offset = kSegmentHeaderBytes, .salt = next.salt};
  // Not commit_: the batch that this segment is begun for may raise it, and is not written yet.
  const std::string_view batch = Encode(place, 0, PublishedCommit());
  std::string bytes = EncodeSegmentHeader(header);
  bytes.append(batch);
  CAIRN_RETURN_IF_ERROR(next.file->Write(0, bytes));
  base::FailPoint("wal.rotate.begun");
  synced_offset_ = 0;
  needs_proof_ = true;
  base::MutexLock lock(mutex_);
  opening_is_synced_ = false;
  state_.BeginSegment(next.sequence);
  segments_.push_back(std::move(next));
  records_.clear();  // They repeat what state_ holds.
  Publish(place.offset, batch.size());
  return absl::OkStatus();
}

absl::StatusOr<SegmentFile> WalImpl::TakeSpare(uint64_t size_bytes) {
  spare_is_urgent_ = true;
  base::MutexLock spare_lock(spare_mutex_);
  spare_is_urgent_ = false;
  const bool fits = size_bytes == options_.segment_bytes;
  if (fits) CAIRN_RETURN_IF_ERROR(GoOnWithSpare(nullptr));
  std::optional<SegmentFile> spare;
  uint64_t sequence = 0;
  {
    base::MutexLock lock(mutex_);
    sequence = next_sequence_++;
    spare = std::exchange(spare_, std::nullopt);
  }
  if (fits) return *std::move(spare);
  // One batch larger than a segment gets a segment of its size, and the spare's name.
  spare_in_the_making_.reset();
  if (spare) CAIRN_RETURN_IF_ERROR(fs_.Remove(PathOf(directory_, SegmentName(sequence))));
  CAIRN_ASSIGN_OR_RETURN(SegmentMaker maker,
                         SegmentMaker::Begin(fs_, directory_, sequence, size_bytes));
  CAIRN_RETURN_IF_ERROR(maker.Fill(nullptr));
  return maker.Finish();
}

absl::Status WalImpl::MakeSpare(const std::function<bool()>& pace) {
  base::MutexLock spare_lock(spare_mutex_);
  return GoOnWithSpare(pace);
}

absl::Status WalImpl::GoOnWithSpare(const std::function<bool()>& pace) {
  uint64_t sequence = 0;
  {
    base::MutexLock lock(mutex_);
    if (spare_) return absl::OkStatus();
    sequence = next_sequence_;
  }
  if (!spare_in_the_making_) {
    CAIRN_ASSIGN_OR_RETURN(SegmentMaker maker,
                           SegmentMaker::Begin(fs_, directory_, sequence, options_.segment_bytes));
    spare_in_the_making_.emplace(std::move(maker));
  }
  absl::Status filled = spare_in_the_making_->Fill(pace);
  if (filled.code() == absl::StatusCode::kCancelled) return filled;
  // What fails from here on is begun anew.
  SegmentMaker maker = std::move(*spare_in_the_making_);
  spare_in_the_making_.reset();
  CAIRN_RETURN_IF_ERROR(filled);
  CAIRN_ASSIGN_OR_RETURN(SegmentFile made, maker.Finish());
  base::MutexLock lock(mutex_);
  spare_ = std::move(made);
  return absl::OkStatus();
}

absl::StatusOr<Term> WalImpl::TermAt(Index index) const {
  base::MutexLock lock(mutex_);
  if (state_.Knows(index)) return state_.TermAt(index);
  return base::Error(index < state_.before_first().index ? absl::StatusCode::kOutOfRange
                                                         : absl::StatusCode::kInvalidArgument,
                     "the log knows the terms of entries {} to {}, not of {}",
                     state_.before_first().index, state_.last().index, index);
}

absl::StatusOr<std::vector<raft::Entry>> WalImpl::ReadEntries(Index first, Index limit,
                                                              size_t max_bytes) const {
  // The stretches of one moment; their bytes never change, and the files stay open.
  std::vector<StretchRequest> requests;
  {
    base::MutexLock lock(mutex_);
    if (first <= state_.before_first().index) {
      return base::Error(absl::StatusCode::kOutOfRange, "entry {} is gone: the log begins after {}",
                         first, state_.before_first().index);
    }
    limit = std::min(limit, state_.last().index + 1);
    if (first >= limit) {
      return base::Error(absl::StatusCode::kInvalidArgument,
                         "no entries from {} before {}: the last one is {}", first, limit,
                         state_.last().index);
    }
    // A stretch holds at most kAnchorBytes before its last batch, and at least nothing of use: two
    // more than the budget needs, then as many again by another call.
    const size_t stretches_max = max_bytes / kAnchorBytes + 2;
    for (Index at = first; at < limit && requests.size() < stretches_max;) {
      const LogState::Stretch stretch = state_.Locate(at);
      const Index stretch_limit = stretch.next ? std::min(limit, stretch.next->first) : limit;
      requests.push_back({.segment = *Find(stretch.from.sequence),
                          .from = stretch.from,
                          .first = at,
                          .limit = stretch_limit,
                          .max_bytes = max_bytes});
      at = stretch_limit;
    }
  }
  std::vector<raft::Entry> entries;
  size_t bytes = 0;
  for (const StretchRequest& request : requests) {
    CAIRN_ASSIGN_OR_RETURN(const bool is_full, ReadStretch(request, entries, bytes));
    if (is_full) break;
  }
  return entries;
}

absl::StatusOr<size_t> WalImpl::CollectCovered(Index durable_applied, const Pins& pins) {
  base::MutexLock removal_lock(removal_mutex_);
  std::vector<std::string> names;
  {
    base::MutexLock lock(mutex_);
    const ExtentCopy extent = CopyExtent();
    const size_t count = PlanRemoval({.segments = extent.segments,
                                      .durable_applied = durable_applied,
                                      .durable_marker = synced_marker_,
                                      .keep_from = Resolve(pins, extent.view()).keep_from,
                                      .opening_is_synced = opening_is_synced_});
    for (size_t i = 0; i < count; ++i) names.push_back(SegmentName(extent.segments[i].sequence));
  }
  for (const std::string& name : names) {
    base::FailPoint("wal.gc.planned");
    CAIRN_RETURN_IF_ERROR(fs_.Remove(PathOf(directory_, name)));
    base::FailPoint("wal.gc.removed");
    // Before the next one goes: a younger segment must never be missing while an older one is
    // there.
    CAIRN_RETURN_IF_ERROR(fs_.SyncDirectory(directory_));
    base::FailPoint("wal.gc.synced");
    base::MutexLock lock(mutex_);
    state_.RemoveOldestSegment();
    segments_.pop_front();
    ++removed_segments_;
  }
  return names.size();
}

Retention WalImpl::Retained(const Pins& pins) const {
  ExtentCopy extent;
  {
    base::MutexLock lock(mutex_);
    extent = CopyExtent();
  }
  return Resolve(pins, extent.view());
}

LogFigures WalImpl::figures() const {
  LogFigures figures{
      .appended_entries = appended_entries_.load(std::memory_order_relaxed),
      .appended_bytes = appended_bytes_.load(std::memory_order_relaxed),
      .synced_bytes = synced_bytes_.load(std::memory_order_relaxed),
      .batch_bytes = batch_bytes_.Read(),
      .sync_us = sync_us_.Read(),
  };
  base::MutexLock lock(mutex_);
  figures.segments = segments_.size();
  figures.disk_bytes = spare_ ? spare_->size_bytes : 0;
  for (const SegmentFile& segment : segments_) {
    figures.used_bytes += segment.used_bytes;
    figures.disk_bytes += segment.size_bytes;
  }
  figures.before_first = state_.before_first();
  figures.last = state_.last();
  figures.marker = synced_marker_;
  figures.removed_segments = removed_segments_;
  return figures;
}

uint64_t WalImpl::bytes_since(Index index) const {
  base::MutexLock lock(mutex_);
  uint64_t bytes = 0;
  for (size_t i = segments_.size(); i > 0; --i) {
    bytes += segments_[i - 1].used_bytes;
    if (state_.segments()[i - 1].before_first.index < index) break;
  }
  return bytes;
}

Wal::Wal(std::unique_ptr<WalImpl> impl) : impl_(std::move(impl)) {}
Wal::~Wal() = default;

absl::StatusOr<Wal::Opened> Wal::Create(Fs& fs, std::string directory, Options options,
                                        Identity identity) {
  CAIRN_RETURN_IF_ERROR(CheckOptions(options));
  auto impl = std::make_unique<WalImpl>(fs, std::move(directory), options);
  CAIRN_RETURN_IF_ERROR(impl->Create(identity));
  Opened opened;
  opened.wal.reset(new Wal(std::move(impl)));
  opened.recovered.identity = identity;
  opened.recovered.segments = 1;
  opened.recovered.first_segment = opened.recovered.last_segment = SegmentName(1);
  return opened;
}

absl::StatusOr<Wal::Opened> Wal::Open(Fs& fs, std::string directory, Options options,
                                      std::optional<Identity> expected) {
  CAIRN_RETURN_IF_ERROR(CheckOptions(options));
  auto impl = std::make_unique<WalImpl>(fs, std::move(directory), options);
  Opened opened;
  CAIRN_ASSIGN_OR_RETURN(opened.recovered, impl->Open(expected));
  opened.wal.reset(new Wal(std::move(impl)));
  return opened;
}

absl::Status Wal::Write(std::span<const Append> appends) { return impl_->Write(appends); }
absl::Status Wal::Sync() { return impl_->Sync(); }
absl::Status Wal::WriteDurableThrough() { return impl_->WriteDurableThrough(); }
absl::StatusOr<std::vector<raft::Entry>> Wal::ReadEntries(Index first, Index limit,
                                                          size_t max_bytes) const {
  return impl_->ReadEntries(first, limit, max_bytes);
}
absl::StatusOr<Term> Wal::TermAt(Index index) const { return impl_->TermAt(index); }
raft::EntryId Wal::before_first() const { return impl_->before_first(); }
raft::EntryId Wal::last() const { return impl_->last(); }
absl::StatusOr<size_t> Wal::CollectCovered(Index durable_applied, const Pins& pins) {
  return impl_->CollectCovered(durable_applied, pins);
}
Retention Wal::Retained(const Pins& pins) const { return impl_->Retained(pins); }
absl::Status Wal::MakeSpare(const std::function<bool()>& pace) { return impl_->MakeSpare(pace); }
bool Wal::has_spare() const { return impl_->has_spare(); }
bool Wal::spare_is_urgent() const { return impl_->spare_is_urgent(); }
LogFigures Wal::figures() const { return impl_->figures(); }
uint64_t Wal::bytes_since(Index index) const { return impl_->bytes_since(index); }

}  // namespace cairn::wal
