#include "cmd/cairnutl/log_look.h"

#include "base/status.h"
#include "wal/posix_fs.h"

namespace cairn::cairnutl {

namespace {

// Each takes far less time than a member takes to fill a segment.
constexpr int kLooksMax = 5;

bool ShowNothing(const wal::SeenBatch&) { return true; }

}  // namespace

absl::StatusOr<wal::LogReport> InspectPatiently(const std::string& path, bool is_running,
                                                MakeVisitor visitor) {
  for (int look = 1;; ++look) {
    CAIRN_ASSIGN_OR_RETURN(wal::LogReport log, wal::InspectLog(wal::PosixFs(), path, visitor()));
    if (log.is_readable() || !is_running || look == kLooksMax) return log;
  }
}

absl::StatusOr<wal::LogReport> InspectPatiently(const std::string& path, bool is_running) {
  return InspectPatiently(path, is_running, [] { return ShowNothing; });
}

}  // namespace cairn::cairnutl
