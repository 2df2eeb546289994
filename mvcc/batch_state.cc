#include "mvcc/batch_state.h"

#include <algorithm>

#include "base/check.h"
#include "base/status.h"
#include "mvcc/schema.h"

namespace cairn::mvcc {
namespace {

// A range deletion finds this many keys, then deletes them, then finds more: an iterator stands
// still while the overlay does, and its setup (8 us) disappears among 256 keys.
constexpr size_t kDeleteSliceKeys = 256;
// Fewer, if they are large.
constexpr size_t kDeleteSliceBytes = size_t{1} << 20;

// A batch that holds more is worth a look at its memory: more than usual ones take.
constexpr size_t kLargeBatchBytes = size_t{4} << 20;
// More than the row of the state takes.
constexpr size_t kStateRowRoomBytes = 256;
// Changes whose memory stays for the next batch.
constexpr size_t kChangesKept = 16'384;

// What history keeps of a deletion.
KeyValueView KeyOnly(std::string_view key) {
  KeyValueView kv;
  kv.key = key;
  return kv;
}

}  // namespace

BatchState::BatchState(Backend* backend, PublishedState* published,
                       const RemovalTurns* removal_turns)
    : backend_(backend),
      published_(published),
      removal_turns_(removal_turns),
      rows_(backend->NewBatch()) {}

void BatchState::Begin() {
  CAIRN_CHECK(!is_open_, "one batch at a time");
  is_open_ = true;
  is_committed_ = false;
  keeps_previous_ = false;
  state_ = published_->Load();
}

void BatchState::End() {
  is_open_ = false;
  in_txn_ = false;
  overlay_.Reset();
  changes_.clear();
  if (changes_.capacity() > kChangesKept) changes_.shrink_to_fit();
  kept_previous_bytes_ = 0;
  removed_.clear();
  meta_rows_.reset();
  rows_->Clear();
}

size_t BatchState::held_bytes() const {
  return overlay_.held_bytes() + changes_.size() * sizeof(Change);
}

absl::StatusOr<bool> BatchState::GetMeta(std::string_view key, std::string& value) const {
  if (const auto found = overlay_.meta().find(key); found != overlay_.meta().end()) {
    if (!found->second.has_value()) return false;
    value = *found->second;
    return true;
  }
  return backend_->Get(Family::kMeta, key, [&value](std::string_view row) { value = row; });
}

absl::Status BatchState::ScanMeta(
    std::string_view prefix, absl::FunctionRef<bool(std::string_view, std::string_view)> visit) {
  CAIRN_CHECK(is_open_ && !is_committed_);
  if (meta_rows_ == nullptr) {
    meta_rows_ = backend_->NewIterator(Family::kMeta, {}, CacheUse::kFill);
  }
  RowIterator& below = *meta_rows_;
  below.Seek(prefix);
  auto above = overlay_.meta().lower_bound(prefix);
  const auto above_end = overlay_.meta().end();
  while (true) {
    const bool has_below = below.Valid() && below.key().starts_with(prefix);
    const bool has_above = above != above_end && std::string_view(above->first).starts_with(prefix);
    if (!has_below && !has_above) return below.status();
    const int order = !has_below ? 1 : !has_above ? -1 : below.key().compare(above->first);
    if (order < 0) {
      if (!visit(below.key(), below.value())) return absl::OkStatus();
      below.Next();
      continue;
    }
    // This batch's row hides the one below, and may say that there is none.
    if (above->second.has_value() && !visit(above->first, *above->second)) return absl::OkStatus();
    ++above;
    if (order == 0) below.Next();
  }
}

absl::Status BatchState::SetCompactWatermark(Revision watermark) {
  CAIRN_CHECK(!in_txn_ && !is_committed_);
  if (watermark <= state_.published.watermark) return CompactedError();
  if (watermark > state_.published.revision) return FutureRevisionError();
  state_.published.watermark = watermark;
  return absl::OkStatus();
}

void BatchState::RaiseRevision(int64_t by) {
  CAIRN_CHECK(!in_txn_ && !is_committed_);
  CAIRN_CHECK_GT(by, 0);
  state_.published.revision += by;
}

absl::StatusOr<bool> BatchState::ApplyRemoval(const RemovalStep& step) {
  CAIRN_CHECK(!in_txn_ && !is_committed_);
  if (step.empty()) return true;
  if (step.from != state_.removal_cursor || removal_turns_->is_held()) return false;
  CAIRN_CHECK_LE(step.to.main, state_.published.watermark);
  overlay_.BeginTxn();
  int64_t size_bytes = step.size_bytes;
  for (const RemovalStep::Tombstone& tombstone : step.tombstones) {
    const size_t index = overlay_.Touch(tombstone.key);
    Previous latest;
    CAIRN_RETURN_IF_ERROR(ReadPrevious(index, Values::kSkip, latest));
    // The key was put again since: its row speaks of that.
    if (!latest.exists || latest.row.revision != tombstone.row) continue;
    overlay_.SetDirty(index, {});
    size_bytes += static_cast<int64_t>(tombstone.key.size()) + latest.row_bytes;
  }
  overlay_.CommitTxn();
  removed_.insert(removed_.end(), step.rows.begin(), step.rows.end());
  state_.removal_cursor = step.to;
  state_.logical_size_bytes -= size_bytes;
  return true;
}

absl::Status BatchState::Commit(EntryApplied applied) {
  CAIRN_CHECK(!in_txn_ && !is_committed_);
  // Equal when nothing but removal moves: no entry asked for it.
  CAIRN_CHECK_GE(applied.index, state_.applied.index);
  CAIRN_CHECK_GE(applied.term, state_.applied.term);
  is_committed_ = true;
  state_.applied = applied;
  const bool is_large = held_bytes() > kLargeBatchBytes;
  if (is_large) ReserveRows();
  for (const Overlay::KeyEntry& entry : overlay_.entries()) {
    if (entry.knowledge != Overlay::Knowledge::kDirty) continue;
    if (entry.row.empty()) {
      rows_->Delete(Family::kKeys, entry.key);
    } else {
      rows_->Put(Family::kKeys, entry.key, entry.row);
    }
  }
  for (const Overlay::RevisionEntry& entry : overlay_.revisions()) {
    rows_->Put(Family::kRevisions, RevisionKey(entry.revision).view(), entry.row);
  }
  for (const RowRevision row : removed_) {
    rows_->SingleDelete(Family::kRevisions, RevisionKey(row).view());
  }
  for (const auto& [key, value] : overlay_.meta()) {
    if (value.has_value()) {
      rows_->Put(Family::kMeta, key, *value);
    } else {
      rows_->Delete(Family::kMeta, key);
    }
  }
  rows_->Put(Family::kMeta, kStateKey, EncodeStateRow(state_));
  // The rows stand in the batch now, and are about to stand in the backend too.
  if (is_large) overlay_.DropRows();
  CAIRN_RETURN_IF_ERROR(backend_->Write(*rows_));
  if (is_large) rows_->Clear();
  published_->Store(state_);
  return absl::OkStatus();
}

void BatchState::ReserveRows() {
  size_t bytes = 0;
  for (const Overlay::KeyEntry& entry : overlay_.entries()) {
    bytes += entry.key.size() + entry.row.size();
  }
  for (const Overlay::RevisionEntry& entry : overlay_.revisions()) {
    bytes += kRevisionKeyBytes + entry.row.size();
  }
  bytes += removed_.size() * kRevisionKeyBytes;
  for (const auto& [key, value] : overlay_.meta()) {
    bytes += key.size() + (value.has_value() ? value->size() : 0);
  }
  const size_t rows = overlay_.entries().size() + overlay_.revisions().size() + removed_.size() +
                      overlay_.meta().size();
  rows_->Reserve(rows + 1, bytes + kStateRowRoomBytes);
}

void BatchState::BeginTxn() {
  CAIRN_CHECK(is_open_ && !is_committed_);
  CAIRN_CHECK(!in_txn_, "one transaction at a time");
  in_txn_ = true;
  overlay_.BeginTxn();
  changes_before_txn_ = changes_.size();
  txn_bytes_ = 0;
  logical_size_bytes_before_txn_ = state_.logical_size_bytes;
}

void BatchState::CommitTxn() {
  CAIRN_CHECK(in_txn_);
  in_txn_ = false;
  overlay_.CommitTxn();
  if (changes_.size() > changes_before_txn_) ++state_.published.revision;
}

void BatchState::AbortTxn() {
  CAIRN_CHECK(in_txn_);
  in_txn_ = false;
  overlay_.RollBackTxn();
  changes_.resize(changes_before_txn_);
  state_.logical_size_bytes = logical_size_bytes_before_txn_;
}

Revision BatchState::txn_revision() const {
  return state_.published.revision + (changes_.size() > changes_before_txn_ ? 1 : 0);
}

absl::StatusOr<Revision> BatchState::ReadRevision(Revision at) const {
  const Revision current = txn_revision();
  if (at <= kCurrent) return current;
  if (at > current) return FutureRevisionError();
  if (at < state_.published.watermark) return CompactedError();
  return at;
}

absl::StatusOr<PutResult> BatchState::Put(std::string_view key, std::string_view value,
                                          LeaseId lease, Values previous_values) {
  const size_t index = overlay_.Touch(key);
  Previous previous;
  CAIRN_RETURN_IF_ERROR(ReadPrevious(index, previous_values, previous));
  const bool existed = previous.exists && previous.row.live;
  const std::string_view own_key = overlay_.entry(index).key;
  const Revision revision = state_.published.revision + 1;
  const KeyValueView kv = {.key = own_key,
                           .create_revision = existed ? previous.row.create_revision : revision,
                           .mod_revision = revision,
                           .version = existed ? previous.row.version + 1 : 1,
                           .value = value,
                           .lease = lease};
  CAIRN_RETURN_IF_ERROR(
      AddChange(index, existed ? ChangeKind::kUpdate : ChangeKind::kCreation, kv, previous));
  PutResult result{.existed = existed, .previous = {}};
  if (existed) result.previous = PreviousView(own_key, previous);
  return result;
}

absl::StatusOr<bool> BatchState::Delete(std::string_view key, KeyValueVisitor deleted,
                                        Values previous_values) {
  const size_t index = overlay_.Touch(key);
  Previous previous;
  CAIRN_RETURN_IF_ERROR(ReadPrevious(index, previous_values, previous));
  if (!previous.exists || !previous.row.live) return false;
  const std::string_view own_key = overlay_.entry(index).key;
  CAIRN_RETURN_IF_ERROR(AddChange(index, ChangeKind::kDeletion, KeyOnly(own_key), previous));
  deleted(PreviousView(own_key, previous));
  return true;
}

absl::StatusOr<int64_t> BatchState::DeleteRange(const KeyRange& range, KeyValueVisitor deleted,
                                                Values previous_values) {
  int64_t count = 0;
  std::string next(range.first);
  for (bool is_done = false; !is_done;) {
    // What a long deletion reads nobody will read again.
    const CacheUse cache_use = count == 0 ? CacheUse::kFill : CacheUse::kBypass;
    CAIRN_ASSIGN_OR_RETURN(is_done, FindDoomed({next, range.limit}, previous_values, cache_use));
    for (Doomed& doomed : doomed_) {
      if (previous_values == Values::kFetch) {
        large_value_arena_.Reset();
        CAIRN_RETURN_IF_ERROR(FetchPreviousValue(large_value_arena_, doomed.previous));
      }
      CAIRN_RETURN_IF_ERROR(
          AddChange(kNotTouched, ChangeKind::kDeletion, KeyOnly(doomed.key), doomed.previous));
      if (!deleted(PreviousView(doomed.key, doomed.previous))) previous_values = Values::kSkip;
    }
    count += static_cast<int64_t>(doomed_.size());
    if (!is_done) next.assign(doomed_.back().key).push_back('\0');
  }
  return count;
}

// Takes the first live keys of the range into the slice. Whether it has no more.
absl::StatusOr<bool> BatchState::FindDoomed(const KeyRange& range, Values values,
                                            CacheUse cache_use) {
  doomed_.clear();
  doomed_arena_.Reset();
  KeysWalk walk(*backend_, &overlay_, range, cache_use);
  for (; walk.Valid(); walk.Next()) {
    if (doomed_.size() == kDeleteSliceKeys || doomed_arena_.used_bytes() >= kDeleteSliceBytes) {
      return false;
    }
    Previous previous;
    CAIRN_RETURN_IF_ERROR(TakePrevious(walk.key(), walk.row(), values, doomed_arena_, previous));
    if (previous.row.live) doomed_.push_back({doomed_arena_.Copy(walk.key()), previous});
  }
  CAIRN_RETURN_IF_ERROR(walk.status());
  return true;
}

absl::Status BatchState::ReadPrevious(size_t index, Values values, Previous& previous) {
  const Overlay::KeyEntry& entry = overlay_.entry(index);
  if (entry.knowledge != Overlay::Knowledge::kNone) {
    if (entry.row.empty()) return absl::OkStatus();
    CAIRN_RETURN_IF_ERROR(TakePrevious(entry.key, entry.row, values, overlay_.arena(), previous));
  } else {
    absl::Status status;
    const auto take = [&](std::string_view row) {
      status = TakePrevious(entry.key, row, values, overlay_.arena(), previous);
    };
    CAIRN_ASSIGN_OR_RETURN(const bool is_there, backend_->Get(Family::kKeys, entry.key, take));
    CAIRN_RETURN_IF_ERROR(status);
    if (!is_there) return absl::OkStatus();
  }
  return values == Values::kFetch ? FetchPreviousValue(overlay_.arena(), previous)
                                  : absl::OkStatus();
}

// Copies of `row` what must outlive it into `arena`.
absl::Status BatchState::TakePrevious(std::string_view key, std::string_view row, Values values,
                                      Arena& arena, Previous& previous) {
  if (!DecodeLatestRow(row, previous.row) || !DecodeChainPlace(previous.row, previous.place)) {
    return UnreadableLatestRow(key);
  }
  previous.exists = true;
  previous.row_bytes = static_cast<int64_t>(row.size());
  previous.row.landmarks = {};
  previous.is_kept = keeps_previous_ && kept_previous_bytes_ < kKeptPreviousBytesMax &&
                     previous.row.live && previous.row.has_value &&
                     previous.row.revision.main <= state_.published.revision;
  const bool has_use = values == Values::kFetch || previous.is_kept;
  previous.row.value = has_use ? arena.Copy(previous.row.value) : std::string_view();
  return absl::OkStatus();
}

// A large value stands in `revisions` alone.
absl::Status BatchState::FetchPreviousValue(Arena& arena, Previous& previous) {
  if (!previous.row.live || previous.row.has_value) return absl::OkStatus();
  bool is_readable = false;
  const auto take = [&](std::string_view bytes) {
    RevisionRow row;
    KeyValueView kv;
    is_readable = DecodeRevisionRow(bytes, row) && ParseKeyValue(row.key_value, kv);
    if (is_readable) previous.row.value = arena.Copy(kv.value);
  };
  CAIRN_ASSIGN_OR_RETURN(const bool is_there, reader().GetRevision(previous.row.revision, take));
  if (!is_there || !is_readable) return UnreadableRevisionRow(previous.row.revision);
  return absl::OkStatus();
}

KeyValueView BatchState::PreviousView(std::string_view key, const Previous& previous) const {
  return {.key = key,
          .create_revision = previous.row.create_revision,
          .mod_revision = previous.row.revision.main,
          .version = previous.row.version,
          .value = previous.row.value,
          .lease = previous.row.lease};
}

// `index` is that of the key in the overlay, where `kv.key` lives; or kNotTouched, and the key
// lives anywhere.
absl::Status BatchState::AddChange(size_t index, ChangeKind kind, const KeyValueView& kv,
                                   const Previous& previous) {
  CAIRN_CHECK(in_txn_);
  const int64_t bytes =
      WriteTxn::ChangeBytes(kv.key.size(), kv.value.size(), previous.row.lease != kv.lease);
  if (txn_bytes_ > 0 && txn_bytes_ + bytes > WriteTxn::kBytesMax) return TxnTooLargeError();
  txn_bytes_ += bytes;
  const RowRevision revision = {state_.published.revision + 1,
                                static_cast<int64_t>(changes_.size() - changes_before_txn_)};
  RevisionRow row;
  row.kind = kind;
  ChainPlace place;
  if (previous.exists) {
    place = previous.place;
    row.previous = previous.row.revision;
    row.previous_bytes = previous.row.revision_row_bytes;
    row.skip = AdvanceChain(place, previous.row.revision, revision);
  }
  Arena& arena = overlay_.arena();
  const size_t kv_bytes = EncodedKeyValueBytes(kv);
  const size_t allocated_bytes = kRevisionRowHeadBytesMax + kv_bytes;
  char* const begin = arena.Allocate(allocated_bytes);
  char* const middle = StoreRevisionRowHead(begin, row);
  char* const end = StoreKeyValue(middle, kv);
  const std::string_view revision_row(begin, static_cast<size_t>(end - begin));
  arena.GiveBack(allocated_bytes, allocated_bytes - revision_row.size());

  std::string_view own_key = kv.key;
  if (index == kNotTouched) {
    // The row has the key already.
    own_key = {middle + EncodedKeyOffset(kv.key.size()), kv.key.size()};
    index = overlay_.TouchOwned(own_key);
  }
  const auto revision_row_bytes = static_cast<int64_t>(kRevisionKeyBytes + revision_row.size());
  const std::string_view latest = StoreLatest(kv, kind, revision, revision_row_bytes, place);
  overlay_.AddRevision(revision, revision_row);
  overlay_.SetDirty(index, latest);
  state_.logical_size_bytes += revision_row_bytes + static_cast<int64_t>(latest.size());
  state_.logical_size_bytes -=
      previous.exists ? previous.row_bytes : -static_cast<int64_t>(kv.key.size());
  changes_.push_back({.kind = kind,
                      .revision = revision,
                      .previous = row.previous,
                      .previous_lease = previous.row.lease,
                      .lease = kv.lease,
                      .key = own_key,
                      .key_value = {middle, kv_bytes},
                      .previous_key_value = KeptPrevious(own_key, previous)});
  return absl::OkStatus();
}

// Encoded, in the arena; empty where it is not to be kept or not at hand.
std::string_view BatchState::KeptPrevious(std::string_view key, const Previous& previous) {
  if (!previous.is_kept) return {};
  const KeyValueView kv = PreviousView(key, previous);
  const size_t kv_bytes = EncodedKeyValueBytes(kv);
  char* const begin = overlay_.arena().Allocate(kv_bytes);
  StoreKeyValue(begin, kv);
  kept_previous_bytes_ += kv_bytes;
  return {begin, kv_bytes};
}

std::string_view BatchState::StoreLatest(const KeyValueView& kv, ChangeKind kind,
                                         RowRevision revision, int64_t revision_row_bytes,
                                         const ChainPlace& place) {
  const bool live = kind != ChangeKind::kDeletion;
  const bool has_value = live && kv.value.size() < kInlineValueBytesLimit;
  const LatestRow row = {.live = live,
                         .has_value = has_value,
                         .revision = revision,
                         .create_revision = kv.create_revision,
                         .version = kv.version,
                         .lease = kv.lease,
                         .revision_row_bytes = static_cast<uint64_t>(revision_row_bytes),
                         .position = place.position,
                         .value = has_value ? kv.value : std::string_view(),
                         .landmarks = {}};
  Arena& arena = overlay_.arena();
  const size_t allocated_bytes = LatestRowBytesMax(row.value.size());
  char* const begin = arena.Allocate(allocated_bytes);
  const auto size_bytes = static_cast<size_t>(StoreLatestRow(begin, row, place) - begin);
  arena.GiveBack(allocated_bytes, allocated_bytes - size_bytes);
  return {begin, size_bytes};
}

}  // namespace cairn::mvcc
