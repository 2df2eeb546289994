#include "test/harness/test_main.h"

#include <gflags/gflags.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "base/status.h"

DEFINE_string(server, "", "the server under test: a path, or `reference` for a real etcd");

namespace cairn::test {
namespace {

Target& MutableTarget() {
  static Target target;
  return target;
}

int Main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  gflags::ParseCommandLineFlags(&argc, &argv, /*remove_flags=*/true);
  absl::StatusOr<Target> target = ResolveTarget(FLAGS_server);
  if (!target.ok()) {
    if (target.status().code() == absl::StatusCode::kNotFound) {
      ReportSkipped(base::Message(target.status()));
      return 0;
    }
    std::fprintf(stderr, "%s\n", std::string(base::Message(target.status())).c_str());
    return 2;
  }
  MutableTarget() = *std::move(target);
  return RUN_ALL_TESTS();
}

}  // namespace

const Target& ServerUnderTest() { return MutableTarget(); }

}  // namespace cairn::test

int main(int argc, char** argv) { return cairn::test::Main(argc, argv); }
