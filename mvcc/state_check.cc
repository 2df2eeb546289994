#include "mvcc/state_check.h"

#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "mvcc/history.h"
#include "mvcc/key_value.h"
#include "mvcc/row_codec.h"
#include "mvcc/row_reader.h"
#include "mvcc/schema.h"

namespace cairn::mvcc {
namespace {

class Checker {
 public:
  Checker(const Backend& backend, absl::FunctionRef<bool()> is_stopping)
      : backend_(backend), is_stopping_(is_stopping) {}

  absl::StatusOr<StateCounts> Run() {
    CAIRN_ASSIGN_OR_RETURN(state_, ReadStateRow(backend_));
    CAIRN_RETURN_IF_ERROR(WalkHistory());
    CAIRN_RETURN_IF_ERROR(WalkKeys());
    CAIRN_RETURN_IF_ERROR(WalkMeta());
    if (counts_.logical_size_bytes != state_.logical_size_bytes) {
      return base::Error(absl::StatusCode::kDataLoss,
                         "state: its rows have {} bytes, but the row {} says {}",
                         counts_.logical_size_bytes, kStateKey, state_.logical_size_bytes);
    }
    return counts_;
  }

 private:
  absl::Status WalkHistory();
  absl::Status WalkKeys();
  absl::Status WalkMeta();
  absl::Status CheckHistoryRow(std::string_view key, std::string_view value) const;
  absl::Status CheckLatestRow(std::string_view key, std::string_view value);
  // Whether the row of history that `latest` names says the same of `key`.
  absl::Status CheckCounterpart(std::string_view key, const LatestRow& latest) const;

  template <typename Check>
  absl::Status Walk(Family family, const Check& check) {
    const std::unique_ptr<RowIterator> rows = backend_.NewIterator(family, {}, CacheUse::kBypass);
    int64_t walked = 0;
    for (rows->Seek({}); rows->Valid(); rows->Next()) {
      if (++walked % kRowsBetweenLooks == 0 && is_stopping_()) {
        return StoppedError();
      }
      CAIRN_RETURN_IF_ERROR(check(rows->key(), rows->value()));
    }
    return rows->status();
  }
  void Weigh(std::string_view key, std::string_view value) {
    counts_.logical_size_bytes += static_cast<int64_t>(key.size() + value.size());
  }

  const Backend& backend_;
  const absl::FunctionRef<bool()> is_stopping_;
  StateRow state_;
  StateCounts counts_;
};

absl::Status Checker::WalkHistory() {
  return Walk(Family::kRevisions, [&](std::string_view key, std::string_view value) {
    ++counts_.history_rows;
    Weigh(key, value);
    return CheckHistoryRow(key, value);
  });
}

absl::Status Checker::CheckHistoryRow(std::string_view key, std::string_view value) const {
  RowRevision at;
  if (!ParseRevisionKey(key, at)) {
    return base::MakeStatus(absl::StatusCode::kDataLoss,
                            "state: a row of revisions whose key is none");
  }
  RevisionRow row;
  KeyValueView kv;
  const bool is_readable = DecodeRevisionRow(value, row) && ParseKeyValue(row.key_value, kv);
  const bool is_ordered = row.previous < at && !(row.previous < row.skip);
  const bool fits = row.kind == ChangeKind::kDeletion || kv.mod_revision == at.main;
  if (!is_readable || !is_ordered || !fits) return UnreadableRevisionRow(at);
  if (at.main > state_.published.revision) {
    return base::Error(absl::StatusCode::kDataLoss,
                       "state: history has revision {}, but the state is at {}", at.main,
                       state_.published.revision);
  }
  return absl::OkStatus();
}

absl::Status Checker::WalkKeys() {
  return Walk(Family::kKeys, [&](std::string_view key, std::string_view value) {
    Weigh(key, value);
    return CheckLatestRow(key, value);
  });
}

absl::Status Checker::CheckLatestRow(std::string_view key, std::string_view value) {
  LatestRow latest;
  ChainPlace place;
  if (!DecodeLatestRow(value, latest) || !DecodeChainPlace(latest, place)) {
    return UnreadableLatestRow(key);
  }
  ++(latest.live ? counts_.live_keys : counts_.tombstones);
  return CheckCounterpart(key, latest);
}

absl::Status Checker::CheckCounterpart(std::string_view key, const LatestRow& latest) const {
  bool is_same = false;
  const auto compare = [&](std::string_view value) {
    RevisionRow row;
    KeyValueView kv;
    if (!DecodeRevisionRow(value, row) || !ParseKeyValue(row.key_value, kv)) return;
    is_same = kv.key == key && latest.live == (row.kind != ChangeKind::kDeletion) &&
              latest.revision_row_bytes == kRevisionKeyBytes + value.size();
    if (is_same && latest.live) {
      is_same = kv.create_revision == latest.create_revision && kv.version == latest.version &&
                kv.lease == latest.lease && (!latest.has_value || kv.value == latest.value);
    }
  };
  CAIRN_ASSIGN_OR_RETURN(
      const bool is_there,
      backend_.Get(Family::kRevisions, RevisionKey(latest.revision).view(), compare));
  if (is_there && is_same) return absl::OkStatus();
  return base::Error(absl::StatusCode::kDataLoss,
                     "state: the row of history {}/{}, which a key of {} bytes names, {}",
                     latest.revision.main, latest.revision.sub, key.size(),
                     is_there ? "says something else of it" : "is missing");
}

absl::Status Checker::WalkMeta() {
  return Walk(Family::kMeta, [&](std::string_view key, std::string_view) -> absl::Status {
    ++counts_.meta_rows;
    if (key.starts_with(kStorePrefix) || IsServerMetaKey(key)) return absl::OkStatus();
    return base::MakeStatus(absl::StatusCode::kDataLoss,
                            "state: a row of meta that no version knows");
  });
}

}  // namespace

absl::StatusOr<StateCounts> CheckState(const Backend& backend,
                                       absl::FunctionRef<bool()> is_stopping) {
  return Checker(backend, is_stopping).Run();
}

}  // namespace cairn::mvcc
