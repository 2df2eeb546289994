#include "server/rpc/grpc_log.h"

#include <glog/logging.h>
#include <gmock/gmock.h>
#include <grpc/support/log.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace cairn::rpc {
namespace {

class Recorder final : public google::LogSink {
 public:
  Recorder() { google::AddLogSink(this); }
  ~Recorder() override { google::RemoveLogSink(this); }

  using google::LogSink::send;
  void send(google::LogSeverity severity, const char* /*full_filename*/, const char* base_filename,
            int /*line*/, const google::LogMessageTime& /*time*/, const char* message,
            size_t message_len) override {
    lines.push_back(std::string(google::GetLogSeverityName(severity)) + " " + base_filename + " " +
                    std::string(message, message_len));
  }

  std::vector<std::string> lines;
};

TEST(GrpcLog, GoesWhereOursGoes) {
  TakeGrpcLog();
  gpr_set_log_verbosity(GPR_LOG_SEVERITY_INFO);
  Recorder recorder;
  gpr_log_message("some/file.cc", 17, GPR_LOG_SEVERITY_ERROR, "a socket broke");
  gpr_log_message("some/file.cc", 18, GPR_LOG_SEVERITY_INFO, "a socket works");
  EXPECT_THAT(recorder.lines, testing::ElementsAre("ERROR file.cc gRPC: a socket broke",
                                                   "INFO file.cc gRPC: a socket works"));
}

}  // namespace
}  // namespace cairn::rpc
