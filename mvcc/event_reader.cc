#include "mvcc/event_reader.h"

#include "base/check.h"
#include "base/status.h"
#include "mvcc/key_value.h"
#include "mvcc/row_codec.h"
#include "mvcc/row_reader.h"
#include "mvcc/schema.h"

namespace cairn::mvcc {

absl::StatusOr<Revision> ReadEvents(const Backend& backend, const EventsOptions& options,
                                    absl::FunctionRef<void(const Event&)> visit) {
  CAIRN_CHECK_GE(options.rows_max, size_t{1});
  CAIRN_CHECK_GE(options.bytes_max, size_t{1});
  if (options.first > options.last) return options.last;
  const RowRevision limit = {options.last + 1, 0};
  // Recent history is in the cache or in the write buffer; a long walk must not empty the cache.
  const auto rows =
      backend.NewIterator(Family::kRevisions, RevisionKey(limit).view(), CacheUse::kBypass);
  Revision current = options.first - 1;
  size_t row_count = 0;
  size_t byte_count = 0;
  for (rows->Seek(RevisionKey({options.first, 0}).view()); rows->Valid(); rows->Next()) {
    Event event;
    RevisionRow row;
    if (!ParseRevisionKey(rows->key(), event.revision) || !DecodeRevisionRow(rows->value(), row)) {
      return UnreadableRevisionRow(event.revision);
    }
    if (event.revision.main != current &&
        (row_count >= options.rows_max || byte_count >= options.bytes_max)) {
      return event.revision.main - 1;
    }
    KeyValueView kv;
    if (!ParseKeyValue(row.key_value, kv)) return UnreadableRevisionRow(event.revision);
    current = event.revision.main;
    ++row_count;
    byte_count += rows->value().size();
    event.kind = row.kind;
    event.previous = row.previous;
    event.key = kv.key;
    event.key_value = row.key_value;
    visit(event);
  }
  CAIRN_RETURN_IF_ERROR(rows->status());
  return options.last;
}

absl::StatusOr<PreviousOutcome> ReadPrevious(const Backend& backend, ChangeKind kind,
                                             RowRevision revision, RowRevision previous,
                                             std::string& key_value) {
  if (kind == ChangeKind::kCreation) return PreviousOutcome::kNone;
  const RowReader reader(backend);
  RowRevision here = previous;
  for (RowRevision after = revision;;) {
    // Rows lead back in time, always: a damaged one must not send us in a circle.
    if (here == kNoRow || !(here < after)) return UnreadableRevisionRow(after);
    bool is_readable = false;
    RevisionRow row;
    const auto take = [&](std::string_view bytes) {
      is_readable = DecodeRevisionRow(bytes, row);
      if (is_readable && here.main < revision.main && row.kind != ChangeKind::kDeletion) {
        key_value = row.key_value;
      }
      row.key_value = {};
    };
    CAIRN_ASSIGN_OR_RETURN(const bool is_there, reader.GetRevision(here, take));
    if (!is_there) return PreviousOutcome::kMissing;
    if (!is_readable) return UnreadableRevisionRow(here);
    if (here.main < revision.main) {
      return row.kind == ChangeKind::kDeletion ? PreviousOutcome::kNone : PreviousOutcome::kFound;
    }
    // Still within the revision. A creation whose previous row lies outside it began a life there;
    // that row is a deletion, which removal may have taken.
    if (row.kind == ChangeKind::kCreation && row.previous.main != revision.main) {
      return PreviousOutcome::kNone;
    }
    after = here;
    here = row.previous;
  }
}

}  // namespace cairn::mvcc
