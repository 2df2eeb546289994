#include "mvcc/row_reader.h"

#include "base/status.h"
#include "mvcc/schema.h"

namespace cairn::mvcc {
namespace {

// What finding an older version costs, in rows of a walk: a few point reads.
constexpr int64_t kFollowEffort = 16;

// Rows read from below are remembered in the overlay up to this much, so that a batch of many reads
// stays small.
constexpr size_t kCleanRowsBytesMax = size_t{4} << 20;

KeyValueView ViewOf(std::string_view key, const LatestRow& row, Values values) {
  return {.key = key,
          .create_revision = row.create_revision,
          .mod_revision = row.revision.main,
          .version = row.version,
          .value = values == Values::kFetch ? row.value : std::string_view(),
          .lease = row.lease};
}

// Whether the latest row alone answers a read at `at`.
bool Answers(const LatestRow& row, Revision at, Values values) {
  return row.revision.main <= at && (!row.live || row.has_value || values == Values::kSkip);
}

}  // namespace

absl::Status StoppedError() {
  return base::MakeStatus(absl::StatusCode::kCancelled, "state: nobody waits for the read");
}

absl::Status UnreadableLatestRow(std::string_view key) {
  return base::Error(absl::StatusCode::kDataLoss, "state: the row of key {:?} is unreadable", key);
}

absl::Status UnreadableRevisionRow(RowRevision row) {
  return base::Error(absl::StatusCode::kDataLoss, "state: the row of revision {}/{} is unreadable",
                     row.main, row.sub);
}

KeysWalk::KeysWalk(const Backend& backend, Overlay* overlay, const KeyRange& range,
                   CacheUse cache_use)
    : overlay_(overlay), range_(range) {
  if (range.limit.has_value() && *range.limit <= range.first) return;
  below_ = backend.NewIterator(Family::kKeys, range.limit.value_or(std::string_view()), cache_use);
  below_->Seek(range.first);
  if (overlay_ != nullptr) {
    overlay_->Order();
    overlay_position_ = overlay_->LowerBound(range.first);
  }
  SettleOnPresentRow();
}

bool KeysWalk::OverlayValid() const {
  return overlay_ != nullptr && overlay_position_ < overlay_->ordered_size() &&
         (!range_.limit.has_value() || overlay_->ordered(overlay_position_).key < *range_.limit);
}

void KeysWalk::SettleOnPresentRow() {
  for (;;) {
    const bool below = below_->Valid();
    // Only what the batch changed hides the row below.
    while (OverlayValid() &&
           overlay_->ordered(overlay_position_).knowledge != Overlay::Knowledge::kDirty) {
      ++overlay_position_;
    }
    const bool above = OverlayValid();
    is_valid_ = below || above;
    if (!is_valid_) return;
    from_overlay_ = above && (!below || overlay_->ordered(overlay_position_).key <= below_->key());
    if (!from_overlay_) {
      key_ = below_->key();
      row_ = below_->value();
      return;
    }
    const Overlay::KeyEntry& entry = overlay_->ordered(overlay_position_);
    if (below && below_->key() == entry.key) below_->Next();
    key_ = entry.key;
    row_ = entry.row;
    if (!row_.empty()) return;
    ++overlay_position_;
  }
}

void KeysWalk::Next() {
  if (from_overlay_) {
    ++overlay_position_;
  } else {
    below_->Next();
  }
  SettleOnPresentRow();
}

absl::StatusOr<RowReader::Outcome> RowReader::Get(std::string_view key, Revision at, Values values,
                                                  KeyValueVisitor found) const {
  LatestRow latest;
  bool is_present = false;
  bool is_readable = true;
  bool is_answered = false;
  // The usual read ends in here, while the row is still pinned in the block cache.
  const auto take = [&](std::string_view row) {
    is_present = true;
    is_readable = DecodeLatestRow(row, latest);
    if (!is_readable || !Answers(latest, at, values)) return;
    is_answered = true;
    if (latest.live) found(ViewOf(key, latest, values));
  };
  const Overlay::KeyEntry* entry = overlay_ == nullptr ? nullptr : overlay_->Find(key);
  if (entry != nullptr) {
    if (!entry->row.empty()) take(entry->row);
  } else {
    const bool remember =
        overlay_ != nullptr && overlay_->arena().used_bytes() < kCleanRowsBytesMax;
    const auto take_and_remember = [&](std::string_view row) {
      if (remember) {
        row = overlay_->arena().Copy(row);
        overlay_->SetClean(overlay_->Touch(key), row);
      }
      take(row);
    };
    CAIRN_ASSIGN_OR_RETURN(const bool is_there,
                           backend_.Get(Family::kKeys, key, take_and_remember));
    if (!is_there && remember) overlay_->SetClean(overlay_->Touch(key), {});
  }
  if (!is_present) return Outcome::kAbsent;
  if (!is_readable) return UnreadableLatestRow(key);
  if (is_answered) return latest.live ? Outcome::kFound : Outcome::kAbsent;
  return Resolve(key, latest, at, values, found);
}

absl::StatusOr<RowReader::Scanned> RowReader::Scan(const KeyRange& range, Revision at,
                                                   Values values, bool count_rest,
                                                   KeyValueVisitor visit, int64_t effort_max,
                                                   CacheUse cache_use,
                                                   IsStopping is_stopping) const {
  Scanned scanned;
  bool is_visiting = true;
  const auto visit_while_wanted = [&](const KeyValueView& kv) {
    if (is_visiting) is_visiting = visit(kv);
    return true;
  };
  int64_t effort = 0;
  int rows_since_look = 0;
  KeysWalk walk(backend_, overlay_, range, cache_use);
  for (; walk.Valid(); walk.Next()) {
    if (++rows_since_look >= kRowsBetweenLooks) {
      rows_since_look = 0;
      if (is_stopping()) return StoppedError();
    }
    LatestRow latest;
    if (!DecodeLatestRow(walk.row(), latest)) return UnreadableLatestRow(walk.key());
    effort += latest.revision.main > at ? kFollowEffort : 1;
    if (effort > effort_max) {
      scanned.is_cut = true;
      break;
    }
    // What is only counted needs no value.
    CAIRN_ASSIGN_OR_RETURN(
        const Outcome outcome,
        Resolve(walk.key(), latest, at, is_visiting ? values : Values::kSkip, visit_while_wanted));
    if (outcome == Outcome::kMissing) {
      scanned.outcome = outcome;
      return scanned;
    }
    if (outcome == Outcome::kFound) ++scanned.count;
    if (!is_visiting && !count_rest) break;
  }
  CAIRN_RETURN_IF_ERROR(walk.status());
  return scanned;
}

absl::StatusOr<bool> RowReader::GetRevision(RowRevision row,
                                            absl::FunctionRef<void(std::string_view)> found) const {
  if (overlay_ != nullptr) {
    if (const Overlay::RevisionEntry* entry = overlay_->FindRevision(row); entry != nullptr) {
      found(entry->row);
      return true;
    }
  }
  return backend_.Get(Family::kRevisions, RevisionKey(row).view(), found);
}

absl::StatusOr<RowReader::Outcome> RowReader::Resolve(std::string_view key, const LatestRow& latest,
                                                      Revision at, Values values,
                                                      KeyValueVisitor found) const {
  if (Answers(latest, at, values)) {
    if (!latest.live) return Outcome::kAbsent;
    found(ViewOf(key, latest, values));
    return Outcome::kFound;
  }
  if (latest.revision.main <= at) return Visit(latest.revision, values, found);
  if (values == Values::kFetch) return Follow(latest.revision, at, found);
  const auto found_without_value = [&found](KeyValueView kv) {
    kv.value = {};
    return found(kv);
  };
  return Follow(latest.revision, at, found_without_value);
}

// `from` is above `at`.
absl::StatusOr<RowReader::Outcome> RowReader::Follow(RowRevision from, Revision at,
                                                     KeyValueVisitor found) const {
  RowRevision here = from;
  for (;;) {
    bool is_readable = false;
    RevisionRow row;
    const auto take = [&](std::string_view bytes) {
      is_readable = DecodeRevisionRow(bytes, row);
      row.key_value = {};
    };
    CAIRN_ASSIGN_OR_RETURN(const bool is_there, GetRevision(here, take));
    if (!is_there) return Outcome::kMissing;
    if (!is_readable) return UnreadableRevisionRow(here);
    const ChainStep step = NextChainStep(row.kind, row.previous, row.skip, at);
    switch (step.verdict) {
      case ChainStep::Verdict::kAbsent:
        return Outcome::kAbsent;
      case ChainStep::Verdict::kAnswer:
        return Visit(step.row, Values::kFetch, found);
      case ChainStep::Verdict::kBroken:
        return UnreadableRevisionRow(here);
      case ChainStep::Verdict::kFollow:
        // Rows lead back in time, always: a damaged one must not send us in a circle.
        if (!(step.row < here)) return UnreadableRevisionRow(here);
        here = step.row;
        break;
    }
  }
}

absl::StatusOr<RowReader::Outcome> RowReader::Visit(RowRevision row, Values values,
                                                    KeyValueVisitor found) const {
  bool is_readable = false;
  bool is_live = false;
  const auto take = [&](std::string_view bytes) {
    RevisionRow revision_row;
    KeyValueView kv;
    is_readable =
        DecodeRevisionRow(bytes, revision_row) && ParseKeyValue(revision_row.key_value, kv);
    if (!is_readable) return;
    is_live = revision_row.kind != ChangeKind::kDeletion;
    if (values == Values::kSkip) kv.value = {};
    if (is_live) found(kv);
  };
  CAIRN_ASSIGN_OR_RETURN(const bool is_there, GetRevision(row, take));
  if (!is_there) return Outcome::kMissing;
  if (!is_readable) return UnreadableRevisionRow(row);
  return is_live ? Outcome::kFound : Outcome::kAbsent;
}

}  // namespace cairn::mvcc
