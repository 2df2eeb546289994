// The distribution's python3-etcd3 against a fresh server: the steps are in scenario.py, and a
// watcher that outlives its server in resume.py.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <string>

#include "test/harness/client.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

TEST(PythonEtcd3, WorksThroughItsScenario) {
  Server server(OptionsFor(ServerUnderTest(), "python"));
  ASSERT_TRUE(server.Start().ok());
  ProcessOptions options;
  // The distribution's Python: another one on the machine lacks its modules.
  options.argv = {"/usr/bin/python3", std::filesystem::absolute("test/python/scenario.py"),
                  "127.0.0.1", std::to_string(server.client_port())};
  options.environment = {{"PYTHONDONTWRITEBYTECODE", "1"}};
  const absl::StatusOr<CommandResult> result = RunCommand(options, {}, std::chrono::minutes(4));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->exit, ExitState{}) << result->out << result->err << server.Log();
}

// Every put, once and in order, across three kills; some puts are seen before one and some after.
TEST(PythonEtcd3, AWatcherResumesAcrossSigkillWithoutAGapOrARepeat) {
  Server server(OptionsFor(ServerUnderTest(), "python_resume"));
  ASSERT_TRUE(server.Start().ok());
  const std::string directory = MakeTempDir("python_resume_out");
  const std::string output = directory + "/events";
  absl::StatusOr<Process> watcher = Process::Start(
      {.argv = {"/usr/bin/python3", std::filesystem::absolute("test/python/resume.py"), "127.0.0.1",
                std::to_string(server.client_port()), "resumed", output},
       .environment = {{"PYTHONDONTWRITEBYTECODE", "1"}},
       .output_path = directory + "/log"});
  ASSERT_TRUE(watcher.ok()) << watcher.status();
  std::string expected;
  const auto put = [&](const std::string& value) {
    Client client(server.address());
    etcdserverpb::PutRequest request;
    request.set_key("resumed");
    request.set_value(value);
    etcdserverpb::PutResponse response;
    const grpc::Status status = client.Put(request, &response, {.wait_for_ready = true});
    EXPECT_TRUE(status.ok()) << status.error_message();
    expected += std::to_string(response.header().revision()) + " " + value + "\n";
  };
  const auto await = [&] {
    const auto deadline = std::chrono::steady_clock::now() + kServerDeadline;
    while (ReadFile(output) != expected && std::chrono::steady_clock::now() < deadline) {
      watcher->Wait(std::chrono::milliseconds(20));
    }
    EXPECT_EQ(ReadFile(output), expected) << ReadFile(directory + "/log");
  };
  int value = 0;
  for (int round = 0; round < 3 && !testing::Test::HasFailure(); ++round) {
    for (int i = 0; i < 20; ++i) put(std::to_string(++value));
    await();
    // These may or may not be told before the kill.
    for (int i = 0; i < 20; ++i) put(std::to_string(++value));
    server.Kill();
    ASSERT_TRUE(server.Start().ok());
  }
  put("end");
  await();
  EXPECT_EQ(watcher->Wait(kServerDeadline), ExitState{});
}

}  // namespace
}  // namespace cairn::test
