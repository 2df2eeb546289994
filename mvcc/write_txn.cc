#include "mvcc/write_txn.h"

#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "mvcc/batch_state.h"
#include "mvcc/schema.h"
#include "mvcc/store.h"

namespace cairn::mvcc {
namespace {

// In a batch nothing can have moved between the look at the watermark and the read.
absl::Status MissingRow() {
  return base::Error(absl::StatusCode::kDataLoss,
                     "state: a row that the history of a key points to is missing");
}

bool Ignore(const KeyValueView&) { return true; }

}  // namespace

WriteTxn::WriteTxn(BatchState* state) : state_(state) { state_->BeginTxn(); }
WriteTxn::WriteTxn(WriteTxn&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
WriteTxn::~WriteTxn() {
  if (state_ != nullptr) Abort();
}

Revision WriteTxn::revision_before() const { return state_->state().published.revision; }
Revision WriteTxn::revision() const { return state_->txn_revision(); }

absl::StatusOr<ReadPoint> WriteTxn::Get(std::string_view key, Revision at, KeyValueVisitor found,
                                        Values values) const {
  CAIRN_ASSIGN_OR_RETURN(const Revision revision, state_->ReadRevision(at));
  CAIRN_ASSIGN_OR_RETURN(const RowReader::Outcome outcome,
                         state_->reader().Get(key, revision, values, found));
  if (outcome == RowReader::Outcome::kMissing) return MissingRow();
  return ReadPoint{revision, state_->txn_revision()};
}

absl::StatusOr<ScanResult> WriteTxn::Scan(const ScanOptions& options, KeyValueVisitor visit) const {
  CAIRN_ASSIGN_OR_RETURN(const Revision revision, state_->ReadRevision(options.at));
  CAIRN_ASSIGN_OR_RETURN(
      const RowReader::Scanned scanned,
      state_->reader().Scan(options.range, revision, options.values, options.count_rest, visit));
  if (scanned.outcome == RowReader::Outcome::kMissing) return MissingRow();
  return ScanResult{{revision, state_->txn_revision()}, scanned.count};
}

absl::StatusOr<ScanResult> WriteTxn::Count(const KeyRange& range, Revision at) const {
  return Scan({.range = range, .at = at, .values = Values::kSkip}, Ignore);
}

absl::StatusOr<PutResult> WriteTxn::Put(std::string_view key, std::string_view value, LeaseId lease,
                                        Values previous) {
  return state_->Put(key, value, lease, previous);
}

absl::StatusOr<bool> WriteTxn::Delete(std::string_view key, KeyValueVisitor deleted,
                                      Values previous) {
  return state_->Delete(key, deleted, previous);
}
absl::StatusOr<bool> WriteTxn::Delete(std::string_view key) {
  return state_->Delete(key, Ignore, Values::kSkip);
}

absl::StatusOr<int64_t> WriteTxn::DeleteRange(const KeyRange& range, KeyValueVisitor deleted,
                                              Values previous) {
  return state_->DeleteRange(range, deleted, previous);
}
absl::StatusOr<int64_t> WriteTxn::DeleteRange(const KeyRange& range) {
  return state_->DeleteRange(range, Ignore, Values::kSkip);
}

std::span<const Change> WriteTxn::changes() const {
  return state_->changes().subspan(state_->changes_before_txn());
}

void WriteTxn::Commit() { std::exchange(state_, nullptr)->CommitTxn(); }
void WriteTxn::Abort() { std::exchange(state_, nullptr)->AbortTxn(); }

Batch::Batch(BatchState* state) : state_(state) { state_->Begin(); }
Batch::Batch(Batch&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
Batch::~Batch() {
  if (state_ != nullptr) state_->End();
}

void Batch::KeepPrevious() { state_->KeepPrevious(); }
size_t Batch::held_bytes() const { return state_->held_bytes(); }
WriteTxn Batch::BeginTxn() { return WriteTxn(state_); }
Published Batch::current() const { return state_->state().published; }

void Batch::PutMeta(std::string_view key, std::string_view value) {
  CAIRN_CHECK(IsServerMetaKey(key), std::string(key));
  state_->overlay().meta().insert_or_assign(std::string(key), std::string(value));
}
void Batch::DeleteMeta(std::string_view key) {
  CAIRN_CHECK(IsServerMetaKey(key), std::string(key));
  state_->overlay().meta().insert_or_assign(std::string(key), std::nullopt);
}
absl::StatusOr<bool> Batch::GetMeta(std::string_view key, std::string& value) const {
  return state_->GetMeta(key, value);
}
absl::Status Batch::ScanMeta(
    std::string_view prefix,
    absl::FunctionRef<bool(std::string_view key, std::string_view value)> visit) const {
  return state_->ScanMeta(prefix, visit);
}

absl::Status Batch::SetCompactWatermark(Revision watermark) {
  return state_->SetCompactWatermark(watermark);
}
void Batch::RaiseRevision(int64_t by) { state_->RaiseRevision(by); }
absl::StatusOr<bool> Batch::ApplyRemoval(const RemovalStep& step) {
  return state_->ApplyRemoval(step);
}

std::span<const Change> Batch::changes() const { return state_->changes(); }
absl::Status Batch::Commit(EntryApplied applied) { return state_->Commit(applied); }

}  // namespace cairn::mvcc
