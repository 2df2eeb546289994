#include "mvcc/store.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/mutex.h"
#include "base/status.h"
#include "mvcc/batch_state.h"
#include "mvcc/generation.h"
#include "mvcc/history.h"
#include "mvcc/published.h"
#include "mvcc/removal_turns.h"
#include "mvcc/revision_limits.h"
#include "mvcc/row_reader.h"
#include "mvcc/schema.h"

namespace cairn::mvcc {
namespace {

bool Ignore(const KeyValueView&) { return true; }

// A row that was not there though the watermark allows the read.
absl::Status LostRow(Revision at) {
  return base::Error(absl::StatusCode::kDataLoss,
                     "state: a row that a read at revision {} needs is missing", at);
}

// The first key that does not begin with `prefix` any more; empty when there is none.
std::string PrefixLimit(std::string_view prefix) {
  std::string limit(prefix);
  while (!limit.empty() && limit.back() == '\xff') limit.pop_back();
  if (!limit.empty()) ++limit.back();
  return limit;
}

}  // namespace

class Store::Impl {
 public:
  explicit Impl(std::unique_ptr<Backend> backend)
      : generations(std::make_unique<Generation>(std::move(backend))) {}

  absl::Status Load(const StoreIdentity& identity);
  absl::Status Adopt(const StoreIdentity& identity);
  absl::Status Restore(const RestoreOptions& options);
  // Of a copy, which holds a state.
  absl::StatusOr<FormatRow> ReadFormatOfCopy() const;
  absl::Status WriteRows(const StoreIdentity& identity, const StateRow* state);
  // False when there is none.
  absl::StatusOr<bool> ReadFormat(FormatRow& format) const;
  absl::Status LoadState();

  Published published() const { return generations.current().state.LoadPublished(); }

  // Runs `read(generation, at)`, which returns StatusOr of an outcome, until no compaction has
  // disturbed it.
  template <typename Read>
  absl::StatusOr<ReadPoint> ReadAt(Revision at, absl::FunctionRef<void()> restart,
                                   const Read& read) const;

  absl::StatusOr<HashKvResult> HashKv(Revision at, LiveKeys live_keys,
                                      IsStopping is_stopping) const;

  // The ways out of every read: what its caller gets, after damage was reported.
  absl::Status Judge(absl::Status error) const;
  template <typename T>
  absl::StatusOr<T> Judge(absl::StatusOr<T> result) const {
    if (result.ok()) [[likely]] {
      return result;
    }
    return Judge(std::move(result).status());
  }

  // The state is durable through `applied`. Returns through which entry it is now.
  EntryApplied NoteDurable(EntryApplied applied) {
    base::MutexLock lock(mutex);
    if (applied.index > durable.index) durable = applied;
    return durable;
  }

  Generations generations;
  // Set before other threads read.
  std::function<void(const absl::Status&)> report_damage;
  mutable base::Mutex mutex;
  EntryApplied durable ABSL_GUARDED_BY(mutex);
};

// The format row, and the state row if one is given.
absl::Status Store::Impl::WriteRows(const StoreIdentity& identity, const StateRow* state) {
  Backend& backend = *generations.current().backend;
  const auto rows = backend.NewBatch();
  rows->Put(
      Family::kMeta, kFormatKey,
      EncodeFormatRow(
          {.version = kFormatVersion, .cluster = identity.cluster, .member = identity.member}));
  if (state != nullptr) rows->Put(Family::kMeta, kStateKey, EncodeStateRow(*state));
  return backend.Write(*rows);
}

absl::StatusOr<bool> Store::Impl::ReadFormat(FormatRow& format) const {
  const Backend& backend = *generations.current().backend;
  bool is_readable = false;
  CAIRN_ASSIGN_OR_RETURN(const bool is_there,
                         backend.Get(Family::kMeta, kFormatKey, [&](std::string_view row) {
                           is_readable = DecodeFormatRow(row, format);
                         }));
  if (!is_there) {
    const auto any = backend.NewIterator(Family::kMeta, {}, CacheUse::kFill);
    any->Seek({});
    CAIRN_RETURN_IF_ERROR(any->status());
    if (!any->Valid()) return false;
    return base::Error(absl::StatusCode::kDataLoss, "state: the row {} is missing", kFormatKey);
  }
  if (!is_readable) {
    return base::Error(absl::StatusCode::kDataLoss, "state: the row {} is unreadable", kFormatKey);
  }
  if (format.version != kFormatVersion) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "state: written in format {}, this program knows format {}", format.version,
                       kFormatVersion);
  }
  return true;
}

absl::Status Store::Impl::Load(const StoreIdentity& identity) {
  FormatRow format;
  CAIRN_ASSIGN_OR_RETURN(const bool is_there, ReadFormat(format));
  if (!is_there) {
    const StateRow empty;
    CAIRN_RETURN_IF_ERROR(WriteRows(identity, &empty));
  } else if (format.cluster != identity.cluster || format.member != identity.member) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "state: belongs to member {:x} of cluster {:x}, not to member {:x} of "
                       "cluster {:x}",
                       format.member, format.cluster, identity.member, identity.cluster);
  }
  return LoadState();
}

absl::StatusOr<FormatRow> Store::Impl::ReadFormatOfCopy() const {
  FormatRow format;
  CAIRN_ASSIGN_OR_RETURN(const bool is_there, ReadFormat(format));
  if (is_there) return format;
  return base::MakeStatus(absl::StatusCode::kDataLoss, "state: a snapshot without a state");
}

absl::Status Store::Impl::Restore(const RestoreOptions& options) {
  CAIRN_CHECK_GE(options.raise_revision_by, 0);
  CAIRN_RETURN_IF_ERROR(ReadFormatOfCopy().status());
  CAIRN_ASSIGN_OR_RETURN(StateRow state, ReadStateRow(*generations.current().backend));
  Published& published = state.published;
  if (options.raise_revision_by > 0 &&
      options.raise_revision_by > kRestoredRevisionMax.value() - published.revision.value()) {
    return base::Error(absl::StatusCode::kInvalidArgument,
                       "state: revision {} cannot be raised by {}: {} is the highest that leaves "
                       "enough for what is written afterwards",
                       published.revision, options.raise_revision_by, kRestoredRevisionMax);
  }
  published.revision = published.revision + options.raise_revision_by;
  if (options.is_compacted) published.watermark = published.revision;
  state.applied = {std::max(state.applied.index, options.beyond) + 1, options.term};
  CAIRN_RETURN_IF_ERROR(WriteRows(options.identity, &state));
  return LoadState();
}

absl::Status Store::Impl::Adopt(const StoreIdentity& identity) {
  CAIRN_ASSIGN_OR_RETURN(const FormatRow format, ReadFormatOfCopy());
  if (format.cluster != identity.cluster) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "state: a snapshot of cluster {:x}, not of cluster {:x}", format.cluster,
                       identity.cluster);
  }
  CAIRN_RETURN_IF_ERROR(WriteRows(identity, nullptr));
  return LoadState();
}

absl::Status Store::Impl::LoadState() {
  Generation& generation = generations.current();
  CAIRN_ASSIGN_OR_RETURN(const StateRow row, ReadStateRow(*generation.backend));
  generation.state.Store(row);
  // What was found on the disk is on the disk; a state just made is empty, whether kept or not.
  base::MutexLock lock(mutex);
  durable = row.applied;
  return absl::OkStatus();
}

absl::Status Store::Impl::Judge(absl::Status error) const {
  const bool is_damaged = absl::IsDataLoss(error);
  if (report_damage == nullptr || !(is_damaged || absl::IsInternal(error))) return error;
  report_damage(error);
  return base::Error(error.code(), "state: {}; this member stops, and its log says more",
                     is_damaged ? "damaged" : "unreadable");
}

template <typename Read>
absl::StatusOr<ReadPoint> Store::Impl::ReadAt(Revision at, absl::FunctionRef<void()> restart,
                                              const Read& read) const {
  for (;;) {
    const Generations::Pin generation(generations);
    // The revision is taken before the first row is read.
    const Published before = generation->state.LoadPublished();
    const ReadPoint point = {at <= kCurrent ? before.revision : at, before.revision};
    if (point.revision > before.revision) return FutureRevisionError();
    if (point.revision < before.watermark) return CompactedError();
    CAIRN_ASSIGN_OR_RETURN(const RowReader::Outcome outcome,
                           Judge(read(*generation->backend, point.revision)));
    // And the watermark looked at again after the last: a row may be missing, or a key seem never
    // to have been, because a compaction has passed.
    if (point.revision >= published().watermark) {
      if (outcome == RowReader::Outcome::kMissing) return Judge(LostRow(point.revision));
      return point;
    }
    if (at > kCurrent) return CompactedError();
    restart();
  }
}

absl::StatusOr<HashKvResult> Store::Impl::HashKv(Revision at, LiveKeys live_keys,
                                                 IsStopping is_stopping) const {
  const Generations::Pin generation(generations);
  const RemovalTurns::Hold hold(generation->removal_turns);
  const Backend& backend = *generation->backend;
  const RowReader reader(backend);
  for (;;) {
    const Published before = generation->state.LoadPublished();
    HashKvRange range;
    range.at = at <= kCurrent ? before.revision : at;
    range.watermark = before.watermark;
    if (range.at > before.revision) return FutureRevisionError();
    if (range.at < before.watermark) return CompactedError();
    // The cursor as the backend has it: it moves in the very batch that removes.
    CAIRN_ASSIGN_OR_RETURN(const StateRow first, ReadStateRow(backend));
    range.removal_cursor = first.removal_cursor;
    CAIRN_ASSIGN_OR_RETURN(const RowReader::Scanned live,
                           reader.Scan(
                               KeyRange::All(), range.at, Values::kSkip,
                               /*count_rest=*/false, [](const KeyValueView&) { return false; },
                               kAnyEffort, CacheUse::kFill, is_stopping));
    range.any_live = live.count > 0;
    CAIRN_ASSIGN_OR_RETURN(const uint32_t hash, HashHistory(backend, range, is_stopping));
    uint32_t live_hash = 0;
    RowReader::Outcome outcome = live.outcome;
    if (live_keys == LiveKeys::kHash) {
      CAIRN_ASSIGN_OR_RETURN(outcome, HashLiveKeys(reader, range.at, is_stopping, live_hash));
    }
    CAIRN_ASSIGN_OR_RETURN(const StateRow last, ReadStateRow(backend));
    // At most the one step that was under way when the hold began can have come between: again.
    if (last.removal_cursor != first.removal_cursor) continue;
    if (outcome == RowReader::Outcome::kMissing) return LostRow(range.at);
    // The watermark may have moved on, but nothing has been removed: the answer is that of
    // `before`.
    return HashKvResult{hash, range.watermark, range.at, before.revision, live_hash};
  }
}

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Store::~Store() {
  CAIRN_CHECK(impl_->generations.is_released() || !impl_->generations.current().batch->is_open());
}

absl::StatusOr<std::unique_ptr<Store>> Store::Open(std::unique_ptr<Backend> backend,
                                                   const StoreOptions& options) {
  auto impl = std::make_unique<Impl>(std::move(backend));
  CAIRN_RETURN_IF_ERROR(impl->Load(options.identity));
  return std::unique_ptr<Store>(new Store(std::move(impl)));
}

absl::StatusOr<std::unique_ptr<Store>> Store::Adopt(std::unique_ptr<Backend> backend,
                                                    const StoreOptions& options) {
  auto impl = std::make_unique<Impl>(std::move(backend));
  CAIRN_RETURN_IF_ERROR(impl->Adopt(options.identity));
  return std::unique_ptr<Store>(new Store(std::move(impl)));
}

absl::StatusOr<std::unique_ptr<Store>> Store::Restore(std::unique_ptr<Backend> backend,
                                                      const RestoreOptions& options) {
  auto impl = std::make_unique<Impl>(std::move(backend));
  CAIRN_RETURN_IF_ERROR(impl->Restore(options));
  return std::unique_ptr<Store>(new Store(std::move(impl)));
}

absl::StatusOr<std::unique_ptr<Store>> Store::Inspect(std::unique_ptr<Backend> backend,
                                                      StoreIdentity& identity) {
  auto impl = std::make_unique<Impl>(std::move(backend));
  CAIRN_ASSIGN_OR_RETURN(const FormatRow format, impl->ReadFormatOfCopy());
  CAIRN_RETURN_IF_ERROR(impl->LoadState());
  identity = {.cluster = format.cluster, .member = format.member};
  return std::unique_ptr<Store>(new Store(std::move(impl)));
}

Published Store::published() const { return impl_->published(); }
EntryApplied Store::applied() const { return impl_->generations.current().state.Load().applied; }
int64_t Store::logical_size_bytes() const {
  return impl_->generations.current().state.Load().logical_size_bytes;
}
Revision Store::removed_through() const {
  return impl_->generations.current().state.Load().removal_cursor.main;
}
int64_t Store::physical_size_bytes() const {
  const Generations::Pin generation(impl_->generations);
  return generation->backend->PhysicalSizeBytes();
}

int64_t Store::buffered_bytes() const {
  const Generations::Pin generation(impl_->generations);
  return generation->backend->BufferedBytes();
}

EntryApplied Store::durable_applied() const {
  base::MutexLock lock(impl_->mutex);
  return impl_->durable;
}

void Store::ReportDamage(std::function<void(const absl::Status&)> report) {
  impl_->report_damage = std::move(report);
}

absl::Status Store::Damaged(absl::Status error) const { return impl_->Judge(std::move(error)); }

absl::StatusOr<ReadPoint> Store::Get(std::string_view key, Revision at, KeyValueVisitor found,
                                     Values values) const {
  // What was found is right whatever a compaction has done since, and must be handed out once only:
  // the visit happens inside the read, so a found key never starts again.
  for (;;) {
    const Generations::Pin generation(impl_->generations);
    const RowReader reader(*generation->backend);
    const Published before = generation->state.LoadPublished();
    const ReadPoint point = {at <= kCurrent ? before.revision : at, before.revision};
    if (point.revision > before.revision) return FutureRevisionError();
    if (point.revision < before.watermark) return CompactedError();
    CAIRN_ASSIGN_OR_RETURN(const RowReader::Outcome outcome,
                           impl_->Judge(reader.Get(key, point.revision, values, found)));
    if (outcome == RowReader::Outcome::kFound) return point;
    if (point.revision >= impl_->published().watermark) {
      if (outcome == RowReader::Outcome::kMissing) return impl_->Judge(LostRow(point.revision));
      return point;
    }
    if (at > kCurrent) return CompactedError();
  }
}

absl::StatusOr<ScanResult> Store::Scan(const ScanOptions& options, KeyValueVisitor visit,
                                       absl::FunctionRef<void()> restart,
                                       IsStopping is_stopping) const {
  ScanResult result;
  const auto read = [&](const Backend& backend, Revision at) -> absl::StatusOr<RowReader::Outcome> {
    const RowReader reader(backend);
    CAIRN_ASSIGN_OR_RETURN(const RowReader::Scanned scanned,
                           reader.Scan(options.range, at, options.values, options.count_rest, visit,
                                       options.effort_max, CacheUse::kFill, is_stopping));
    result.count = scanned.count;
    result.is_cut = scanned.is_cut;
    return scanned.outcome;
  };
  CAIRN_ASSIGN_OR_RETURN(result.point, impl_->ReadAt(options.at, restart, read));
  return result;
}

absl::StatusOr<ScanResult> Store::Count(const KeyRange& range, Revision at,
                                        IsStopping is_stopping) const {
  return Scan(
      {.range = range, .at = at, .values = Values::kSkip}, Ignore, [] {}, is_stopping);
}

absl::StatusOr<Revision> Store::ReadEvents(const EventsOptions& options,
                                           absl::FunctionRef<void(const Event&)> visit) const {
  const Generations::Pin generation(impl_->generations);
  const Published before = generation->state.LoadPublished();
  if (options.last > before.revision) return FutureRevisionError();
  if (options.first < before.watermark) return CompactedError();
  CAIRN_ASSIGN_OR_RETURN(const Revision through,
                         impl_->Judge(mvcc::ReadEvents(*generation->backend, options, visit)));
  // Rows from the watermark on are never removed, so one look after the last row is enough.
  if (options.first < impl_->published().watermark) return CompactedError();
  return through;
}

absl::StatusOr<bool> Store::ReadPrevious(ChangeKind kind, RowRevision revision,
                                         RowRevision previous, std::string& key_value) const {
  const Revision at = revision.main - 1;
  const Generations::Pin generation(impl_->generations);
  if (at < generation->state.LoadPublished().watermark) return false;
  CAIRN_ASSIGN_OR_RETURN(
      const PreviousOutcome outcome,
      impl_->Judge(mvcc::ReadPrevious(*generation->backend, kind, revision, previous, key_value)));
  if (outcome == PreviousOutcome::kFound) return true;
  if (outcome == PreviousOutcome::kMissing && at >= impl_->published().watermark) {
    return impl_->Judge(LostRow(at));
  }
  return false;
}

absl::StatusOr<bool> Store::GetMeta(std::string_view key, std::string& value) const {
  const Generations::Pin generation(impl_->generations);
  return impl_->Judge(generation->backend->Get(Family::kMeta, key,
                                               [&value](std::string_view row) { value = row; }));
}

absl::Status Store::ScanMeta(
    std::string_view prefix, std::string_view first,
    absl::FunctionRef<bool(std::string_view key, std::string_view value)> visit) const {
  const Generations::Pin generation(impl_->generations);
  const auto rows =
      generation->backend->NewIterator(Family::kMeta, PrefixLimit(prefix), CacheUse::kFill);
  for (rows->Seek(first); rows->Valid(); rows->Next()) {
    if (!visit(rows->key(), rows->value())) return absl::OkStatus();
  }
  return impl_->Judge(rows->status());
}

absl::StatusOr<HashKvResult> Store::HashKv(Revision at, LiveKeys live_keys,
                                           IsStopping is_stopping) const {
  return impl_->Judge(impl_->HashKv(at, live_keys, is_stopping));
}

absl::StatusOr<uint32_t> Store::Hash(IsStopping is_stopping) const {
  uint32_t hash = 0;
  const auto read = [&](const Backend& backend, Revision at) {
    return HashLiveKeys(RowReader(backend), at, is_stopping, hash);
  };
  CAIRN_ASSIGN_OR_RETURN(const ReadPoint point, impl_->ReadAt(
                                                    kCurrent, [] {}, read));
  char revision[8];
  base::StoreBig64(revision, static_cast<uint64_t>(point.revision.value()));
  return base::ExtendCrc32c(hash, {revision, sizeof revision});
}

absl::StatusOr<RemovalStep> Store::FindRemovalStep(int rows_max) const {
  const Generations::Pin generation(impl_->generations);
  const StateRow state = generation->state.Load();
  RemovalStep rest;
  rest.from = state.removal_cursor;
  rest.to = state.removal_cursor;
  if (!(state.removal_cursor < RowRevision{state.published.watermark, 0})) {
    generation->removal_turns.Finish();
    return rest;
  }
  if (!generation->removal_turns.Ask()) return rest;
  return impl_->Judge(mvcc::FindRemovalStep(*generation->backend, state, rows_max));
}

absl::StatusOr<EntryApplied> Store::Flush() {
  const Generations::Pin generation(impl_->generations);
  const EntryApplied applied = generation->state.Load().applied;
  CAIRN_RETURN_IF_ERROR(generation->backend->Flush());
  return impl_->NoteDurable(applied);
}

absl::StatusOr<EntryApplied> Store::Checkpoint(const std::string& path) {
  const Generations::Pin generation(impl_->generations);
  const EntryApplied applied = generation->state.Load().applied;
  absl::Status made = generation->backend->Checkpoint(path);
  if (absl::IsDataLoss(made)) return impl_->Judge(std::move(made));
  CAIRN_RETURN_IF_ERROR(made);
  impl_->NoteDurable(applied);
  return applied;
}

Batch Store::BeginBatch() { return Batch(impl_->generations.current().batch.get()); }

void Store::Replace(std::unique_ptr<Store> fresh) {
  const EntryApplied applied = fresh->applied();
  CAIRN_CHECK(!impl_->generations.current().batch->is_open());
  CAIRN_CHECK_GT(applied.index, this->applied().index);
  CAIRN_CHECK_GE(fresh->published().revision, published().revision);
  CAIRN_CHECK_EQ(fresh->durable_applied().index, applied.index);
  impl_->generations.Replace(fresh->impl_->generations.Release());
  base::MutexLock lock(impl_->mutex);
  impl_->durable = applied;
}

void Store::CloseReplaced() { impl_->generations.CloseReplaced(); }

}  // namespace cairn::mvcc
