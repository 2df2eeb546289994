// The distribution's python3-etcd3 against a fresh server: the steps are in scenario.py.
#include <gtest/gtest.h>

#include <filesystem>

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

}  // namespace
}  // namespace cairn::test
