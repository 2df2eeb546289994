#include "server/rpc/grpc_log.h"

#include <glog/logging.h>
#include <grpc/support/log.h>

namespace cairn::rpc {

void TakeGrpcLog() {
  gpr_set_log_function([](gpr_log_func_args* line) {
    // Others than errors come only to whoever has asked for them (GRPC_VERBOSITY).
    const bool is_error = line->severity == GPR_LOG_SEVERITY_ERROR;
    const google::LogSeverity severity = is_error ? google::GLOG_ERROR : google::GLOG_INFO;
    google::LogMessage(line->file, line->line, severity).stream() << "gRPC: " << line->message;
  });
}

}  // namespace cairn::rpc
