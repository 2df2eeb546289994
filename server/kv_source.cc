#include "server/kv_source.h"

#include "api/errors.h"
#include "base/status.h"

namespace cairn::server {

namespace {

template <typename Result>
absl::StatusOr<Result> Translate(absl::StatusOr<Result> result) {
  if (result.ok()) [[likely]] {
    return result;
  }
  return TranslateReadError(result.status());
}

}  // namespace

absl::Status TranslateReadError(const absl::Status& status) {
  if (mvcc::IsCompacted(status)) return api::ToStatus(api::Error::kCompacted);
  if (mvcc::IsFutureRevision(status)) return api::ToStatus(api::Error::kFutureRevision);
  return status;
}

RequestRange RangeOf(std::string_view key, std::string_view range_end) {
  if (range_end.empty()) return {.is_single_key = true, .keys = {key, std::nullopt}};
  if (range_end == std::string_view("\0", 1)) return {.keys = mvcc::KeyRange::From(key)};
  return {.keys = {key, range_end}};
}

absl::StatusOr<mvcc::ReadPoint> StoreSource::Get(std::string_view key, Revision at,
                                                 mvcc::KeyValueVisitor found,
                                                 mvcc::Values values) const {
  return Translate(store_.Get(key, at, found, values));
}

absl::StatusOr<mvcc::ScanResult> StoreSource::Scan(const mvcc::ScanOptions& options,
                                                   mvcc::KeyValueVisitor visit,
                                                   absl::FunctionRef<void()> restart) const {
  return Translate(store_.Scan(options, visit, restart, is_stopping_));
}

absl::StatusOr<mvcc::ScanResult> StoreSource::Count(const mvcc::KeyRange& range,
                                                    Revision at) const {
  return Translate(store_.Count(range, at, is_stopping_));
}

absl::StatusOr<mvcc::ReadPoint> TxnSource::Get(std::string_view key, Revision at,
                                               mvcc::KeyValueVisitor found,
                                               mvcc::Values values) const {
  return Translate(txn_.Get(key, at, found, values));
}

absl::StatusOr<mvcc::ScanResult> TxnSource::Scan(const mvcc::ScanOptions& options,
                                                 mvcc::KeyValueVisitor visit,
                                                 absl::FunctionRef<void()> /*restart*/) const {
  return Translate(txn_.Scan(options, visit));
}

absl::StatusOr<mvcc::ScanResult> TxnSource::Count(const mvcc::KeyRange& range, Revision at) const {
  return Translate(txn_.Count(range, at));
}

absl::StatusOr<Revision> PinnedSource::Resolve(Revision at) const {
  if (at.value() <= 0) return at_;
  if (at > at_) return api::ToStatus(api::Error::kFutureRevision);
  return at;
}

absl::StatusOr<mvcc::ReadPoint> PinnedSource::Get(std::string_view key, Revision at,
                                                  mvcc::KeyValueVisitor found,
                                                  mvcc::Values values) const {
  CAIRN_ASSIGN_OR_RETURN(at, Resolve(at));
  CAIRN_ASSIGN_OR_RETURN(mvcc::ReadPoint point, source_.Get(key, at, found, values));
  return mvcc::ReadPoint{.revision = point.revision, .current = at_};
}

absl::StatusOr<mvcc::ScanResult> PinnedSource::Scan(const mvcc::ScanOptions& options,
                                                    mvcc::KeyValueVisitor visit,
                                                    absl::FunctionRef<void()> restart) const {
  mvcc::ScanOptions pinned = options;
  CAIRN_ASSIGN_OR_RETURN(pinned.at, Resolve(options.at));
  CAIRN_ASSIGN_OR_RETURN(mvcc::ScanResult result, source_.Scan(pinned, visit, restart));
  result.point.current = at_;
  return result;
}

absl::StatusOr<mvcc::ScanResult> PinnedSource::Count(const mvcc::KeyRange& range,
                                                     Revision at) const {
  CAIRN_ASSIGN_OR_RETURN(at, Resolve(at));
  CAIRN_ASSIGN_OR_RETURN(mvcc::ScanResult result, source_.Count(range, at));
  result.point.current = at_;
  return result;
}

}  // namespace cairn::server
