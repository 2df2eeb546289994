// One face of what can be read: the published store, or a transaction in an open batch.
//
// Ranges and compares are evaluated by the same code over either. The adapters hold a reference and
// add nothing but etcd's texts for the two errors of a revision.
#ifndef CAIRN_SERVER_KV_SOURCE_H_
#define CAIRN_SERVER_KV_SOURCE_H_

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <string_view>

#include "base/ids.h"
#include "mvcc/store.h"
#include "mvcc/types.h"
#include "mvcc/write_txn.h"

namespace cairn::server {

// Same contracts as mvcc::Store's functions of these names. Errors: OUT_OF_RANGE with etcd's texts;
// anything else is the backend's and not the caller's fault.
class KvSource {
 public:
  virtual ~KvSource() = default;

  virtual absl::StatusOr<mvcc::ReadPoint> Get(std::string_view key, Revision at,
                                              mvcc::KeyValueVisitor found,
                                              mvcc::Values values) const = 0;
  virtual absl::StatusOr<mvcc::ScanResult> Scan(const mvcc::ScanOptions& options,
                                                mvcc::KeyValueVisitor visit,
                                                absl::FunctionRef<void()> restart) const = 0;
  virtual absl::StatusOr<mvcc::ScanResult> Count(const mvcc::KeyRange& range,
                                                 Revision at) const = 0;
};

// Any thread. Scan and Count end with CANCELLED when `is_stopping`, which outlives this, says so.
class StoreSource final : public KvSource {
 public:
  explicit StoreSource(const mvcc::Store& store, mvcc::IsStopping is_stopping = mvcc::kNeverStops)
      : store_(store), is_stopping_(is_stopping) {}

  absl::StatusOr<mvcc::ReadPoint> Get(std::string_view key, Revision at,
                                      mvcc::KeyValueVisitor found,
                                      mvcc::Values values) const override;
  absl::StatusOr<mvcc::ScanResult> Scan(const mvcc::ScanOptions& options,
                                        mvcc::KeyValueVisitor visit,
                                        absl::FunctionRef<void()> restart) const override;
  absl::StatusOr<mvcc::ScanResult> Count(const mvcc::KeyRange& range, Revision at) const override;

 private:
  const mvcc::Store& store_;
  const mvcc::IsStopping is_stopping_;
};

// Apply thread only; sees the transaction's own changes.
class TxnSource final : public KvSource {
 public:
  explicit TxnSource(const mvcc::WriteTxn& txn) : txn_(txn) {}

  absl::StatusOr<mvcc::ReadPoint> Get(std::string_view key, Revision at,
                                      mvcc::KeyValueVisitor found,
                                      mvcc::Values values) const override;
  absl::StatusOr<mvcc::ScanResult> Scan(const mvcc::ScanOptions& options,
                                        mvcc::KeyValueVisitor visit,
                                        absl::FunctionRef<void()> restart) const override;
  absl::StatusOr<mvcc::ScanResult> Count(const mvcc::KeyRange& range, Revision at) const override;

 private:
  const mvcc::WriteTxn& txn_;
};

// The same at one revision: reads at "current" go there, so that several see one state. The
// revision of the response header is `current`.
class PinnedSource final : public KvSource {
 public:
  PinnedSource(const KvSource& source, Revision at) : source_(source), at_(at) {}

  absl::StatusOr<mvcc::ReadPoint> Get(std::string_view key, Revision at,
                                      mvcc::KeyValueVisitor found,
                                      mvcc::Values values) const override;
  absl::StatusOr<mvcc::ScanResult> Scan(const mvcc::ScanOptions& options,
                                        mvcc::KeyValueVisitor visit,
                                        absl::FunctionRef<void()> restart) const override;
  absl::StatusOr<mvcc::ScanResult> Count(const mvcc::KeyRange& range, Revision at) const override;

 private:
  absl::StatusOr<Revision> Resolve(Revision at) const;

  const KvSource& source_;
  const Revision at_;
};

// `status` with etcd's text and code where it says that a revision is compacted or in the future;
// otherwise unchanged.
absl::Status TranslateReadError(const absl::Status& status);

// The keys that a request names. A single key is not a KeyRange: read it with Get.
struct RequestRange {
  bool is_single_key = false;
  mvcc::KeyRange keys;  // keys.first is the key in either case.
};

// `range_end` empty: one key; "\0": every key from `key` on; otherwise [key, range_end), which is
// empty if range_end <= key. The views are borrowed.
RequestRange RangeOf(std::string_view key, std::string_view range_end);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_KV_SOURCE_H_
