// Which server a test drives. Tests take it as flags, so that one test proves its expectations
// against a real etcd and then holds Cairn to them:
//
//   --server=PATH       the server under test
//   --server=reference  the etcd that test/reference/fetch_etcd gives
//
// The library brings main(): it parses the flags, and where no reference can be had it prints
// SKIPPED with the reason and ends with 0, so that a machine without the network is not red.
#ifndef CAIRN_TEST_HARNESS_TARGET_H_
#define CAIRN_TEST_HARNESS_TARGET_H_

#include <absl/status/statusor.h>

#include <compare>
#include <string>
#include <string_view>

#include "test/harness/server.h"

namespace cairn::test {

// A version of etcd's, or the one that a server claims to be compatible with.
struct EtcdVersion {
  int major = 0;
  int minor = 0;
  int patch = 0;

  friend auto operator<=>(const EtcdVersion&, const EtcdVersion&) = default;
};

// Reads `3.5.16` and the like; what follows the third number is ignored. Zeros if it is none.
EtcdVersion ParseVersion(std::string_view text);

struct Target {
  std::string binary;
  bool is_reference = false;
};

// The absolute path of the reference etcd, or why there is none. Fetches it on first use.
absl::StatusOr<std::string> FindReference();

// Resolves the value of a --server flag.
absl::StatusOr<Target> ResolveTarget(const std::string& server);

// Prints SKIPPED and the reason, also where Bazel shows it for a test that passed.
void ReportSkipped(std::string_view reason);

// Options for a server of this kind: a reference need not sync its log, Cairn is run as it ships.
ServerOptions OptionsFor(const Target& target, std::string label);

// The flag that sets the pause between two progress notifications of a watcher: versions of etcd
// before 3.6 know it by another name.
std::string NotifyIntervalFlag(const Target& target, std::string_view interval);

}  // namespace cairn::test

#endif  // CAIRN_TEST_HARNESS_TARGET_H_
