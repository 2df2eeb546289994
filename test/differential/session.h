// A differential run: one stream of operations played into a reference and into the server under
// test, answers compared one by one; with watches, also what their watchers are told of it.
//
// One thread drives it; each operation goes to both servers at once and both answers are awaited
// before the next one, so the order is the same in both. It stops a seed after a few differences,
// because after the first one the stores may no longer be alike.
#ifndef CAIRN_TEST_DIFFERENTIAL_SESSION_H_
#define CAIRN_TEST_DIFFERENTIAL_SESSION_H_

#include <absl/status/status.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "test/differential/generator.h"
#include "test/differential/operation.h"
#include "test/differential/rules.h"
#include "test/differential/watch_session.h"
#include "test/harness/client.h"
#include "test/harness/server.h"
#include "test/harness/target.h"

namespace cairn::test {

struct SessionOptions {
  uint64_t seed = 0;
  int64_t operations = 0;
  // After so many operations: all keys compared, HashKV compared, perhaps a restart.
  int64_t round_operations = 1000;
  // Restart both servers at the end of every round: SIGTERM and SIGKILL by turns.
  bool restart = true;
  // Watchers beside the operations, which then come in small bursts.
  bool watches = false;
  // Print every operation and its answer.
  bool trace = false;
};

struct SessionReport {
  int64_t operations = 0;
  int64_t differences = 0;
  int64_t errors = 0;   // answers on whose error both agreed
  int64_t hashes = 0;   // HashKV values compared
  int64_t allowed = 0;  // operations for which the allow-list was used
  int64_t restarts = 0;
  int64_t last_revision = 0;
  double seconds = 0;
  WatchCounts watches;
  // How often each rpc was answered with success and with an error.
  std::map<std::string, std::array<int64_t, 2>> counts;
};

// What one side of the run answers.
class Side {
 public:
  Side(const Target& target, std::string label);

  absl::Status Start();
  absl::Status Restart(bool gracefully);
  Outcome Play(const Operation& operation);
  EtcdVersion version() const { return version_; }
  // Whether it answers LeaseGrant.
  bool has_leases() const { return has_leases_; }
  const std::string& label() const { return server_.label(); }
  std::string address() const { return server_.address(); }

 private:
  Server server_;
  std::unique_ptr<Client> client_;
  EtcdVersion version_;
  bool has_leases_ = false;
};

// Plays one seed on fresh servers. An error if a server could not be started or ended by itself;
// differences are printed and counted in the report.
absl::StatusOr<SessionReport> PlaySeed(const Target& reference, const Target& under_test,
                                       const SessionOptions& options);

}  // namespace cairn::test

#endif  // CAIRN_TEST_DIFFERENTIAL_SESSION_H_
