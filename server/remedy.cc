#include "server/remedy.h"

#include "base/status.h"

namespace cairn::server {

absl::Status WithRemedy(absl::Status error) {
  if (absl::IsDataLoss(error)) {
    return base::Error(
        absl::StatusCode::kDataLoss,
        "{}; what this member has stored is damaged, and nothing of it is served any more: replace "
        "the member from the others or, if there are none, restore a snapshot (docs/operations.md, "
        "\"A damaged member\")",
        base::Message(error));
  }
  if (absl::IsInternal(error)) {
    return base::Error(
        absl::StatusCode::kInternal,
        "{}; the disk did not do as it was asked: put right what this and the kernel's log tell, "
        "and start the member again; where that cannot be, replace the member (docs/operations.md, "
        "\"A damaged member\")",
        base::Message(error));
  }
  return error;
}

}  // namespace cairn::server
