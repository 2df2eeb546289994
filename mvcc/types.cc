#include "mvcc/types.h"

#include "base/status.h"

namespace cairn::mvcc {
namespace {

// The code is OUT_OF_RANGE for both, so the text is what tells them apart.
constexpr std::string_view kCompacted = "required revision has been compacted";
constexpr std::string_view kFuture = "required revision is a future revision";

bool Is(const absl::Status& status, std::string_view text) {
  return status.code() == absl::StatusCode::kOutOfRange && base::Message(status) == text;
}

}  // namespace

absl::Status CompactedError() {
  return base::MakeStatus(absl::StatusCode::kOutOfRange, kCompacted);
}
absl::Status FutureRevisionError() {
  return base::MakeStatus(absl::StatusCode::kOutOfRange, kFuture);
}

bool IsCompacted(const absl::Status& status) { return Is(status, kCompacted); }
bool IsFutureRevision(const absl::Status& status) { return Is(status, kFuture); }

}  // namespace cairn::mvcc
