// The words of the state that readers, writers and the server share: ranges, read points, errors.
//
// Plain values. The two errors of a read at a revision are statuses that IsCompacted and
// IsFutureRevision tell apart, the one of a change has IsTxnTooLarge; what clients are told is the
// server's business.
#ifndef CAIRN_MVCC_TYPES_H_
#define CAIRN_MVCC_TYPES_H_

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

#include "base/ids.h"
#include "mvcc/key_value.h"

namespace cairn::mvcc {

// The keys from `first` on, up to but without `limit`; without a limit, to the end of the key
// space. A limit that is not above `first`, an empty one too, makes an empty range. To read one key
// use Get.
struct KeyRange {
  std::string_view first;
  std::optional<std::string_view> limit;

  static KeyRange All() { return {}; }
  static KeyRange From(std::string_view first) { return {first, std::nullopt}; }
};

// Whether a read brings values along. Without them, `value` of each view is empty, and values that
// do not stand in the key's own row are not fetched.
enum class Values : uint8_t { kSkip, kFetch };

// A scan that may look at as many rows as it takes.
inline constexpr int64_t kAnyEffort = std::numeric_limits<int64_t>::max();

// Names "the current revision" in a read.
inline constexpr Revision kCurrent{0};
// The revision of a store that has never been written to.
inline constexpr Revision kFirstRevision{1};
// The compact watermark of a store that has never been compacted (as etcd reports it).
inline constexpr Revision kNeverCompacted{-1};

// What readers may see: everything up to `revision`; a read at a revision below `watermark` is
// refused. One pair: both belong to the same committed batch.
struct Published {
  Revision revision = kFirstRevision;
  Revision watermark = kNeverCompacted;

  friend bool operator==(const Published&, const Published&) = default;
};

// The last log entry whose effect a state holds. Index 0 is the empty state.
struct EntryApplied {
  Index index;
  Term term;

  friend bool operator==(const EntryApplied&, const EntryApplied&) = default;
};

// Where a read stood: it saw the keys exactly as they were at `revision`, and `current` was the
// store's revision when it began (a response's header).
struct ReadPoint {
  Revision revision;
  Revision current;
};

// Called once per key-value in key order; the view is valid until it returns. False stops the read.
using KeyValueVisitor = absl::FunctionRef<bool(const KeyValueView&)>;

// Whether nobody waits any more for what is read: asked on the reading thread every some hundred
// rows; the read ends with CANCELLED soon after the first yes. Costs about as much as a row may.
using IsStopping = absl::FunctionRef<bool()>;
inline constexpr auto kNeverStops = [] { return false; };

// OUT_OF_RANGE: the revision lies below the compact watermark.
absl::Status CompactedError();
// OUT_OF_RANGE: the revision lies above the current one.
absl::Status FutureRevisionError();

// RESOURCE_EXHAUSTED: the transaction would change more than one may (WriteTxn::kBytesMax).
absl::Status TxnTooLargeError();

bool IsCompacted(const absl::Status& status);
bool IsFutureRevision(const absl::Status& status);
bool IsTxnTooLarge(const absl::Status& status);

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_TYPES_H_
