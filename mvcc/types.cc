#include "mvcc/types.h"

#include "base/status.h"

namespace cairn::mvcc {
namespace {

// The code of the first two is OUT_OF_RANGE, so the text is what tells them apart.
constexpr std::string_view kCompacted = "required revision has been compacted";
constexpr std::string_view kFuture = "required revision is a future revision";
constexpr std::string_view kTxnTooLarge = "the transaction changes too much";

bool Is(const absl::Status& status, absl::StatusCode code, std::string_view text) {
  return status.code() == code && base::Message(status) == text;
}

}  // namespace

absl::Status CompactedError() {
  return base::MakeStatus(absl::StatusCode::kOutOfRange, kCompacted);
}
absl::Status FutureRevisionError() {
  return base::MakeStatus(absl::StatusCode::kOutOfRange, kFuture);
}

absl::Status TxnTooLargeError() {
  return base::MakeStatus(absl::StatusCode::kResourceExhausted, kTxnTooLarge);
}

bool IsCompacted(const absl::Status& status) {
  return Is(status, absl::StatusCode::kOutOfRange, kCompacted);
}
bool IsFutureRevision(const absl::Status& status) {
  return Is(status, absl::StatusCode::kOutOfRange, kFuture);
}
bool IsTxnTooLarge(const absl::Status& status) {
  return Is(status, absl::StatusCode::kResourceExhausted, kTxnTooLarge);
}

}  // namespace cairn::mvcc
