// A look at a log that may be written meanwhile.
//
// Beside a running member a segment may be finished and the next one begun between two reads, which
// seems like damage: then it is worth another look. Without one, a look is wal::InspectLog.
#ifndef CAIRN_CMD_CAIRNUTL_LOG_LOOK_H_
#define CAIRN_CMD_CAIRNUTL_LOG_LOOK_H_

#include <absl/functional/function_ref.h>
#include <absl/status/statusor.h>

#include <functional>
#include <string>

#include "wal/inspector.h"

namespace cairn::cairnutl {

using MakeVisitor = absl::FunctionRef<std::function<bool(const wal::SeenBatch&)>()>;

// `visitor` makes what gets the batches, afresh for each look. Errors as wal::InspectLog.
absl::StatusOr<wal::LogReport> InspectPatiently(const std::string& path, bool is_running,
                                                MakeVisitor visitor);
// Only for the report.
absl::StatusOr<wal::LogReport> InspectPatiently(const std::string& path, bool is_running);

}  // namespace cairn::cairnutl

#endif  // CAIRN_CMD_CAIRNUTL_LOG_LOOK_H_
