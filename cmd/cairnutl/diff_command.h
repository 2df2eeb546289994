// `cairnutl snapshot diff A B`: what two states hold differently.
//
// Works over opened states, wherever they come from (opened_state.h). Compares what members must
// agree on: live keys, history above both watermarks, leases and their keys, members, users, roles,
// alarms, versions. What is a member's own (its identity, how far removal came, how its state
// arrived) is not compared. Walks both in order and holds a row of each.
#ifndef CAIRN_CMD_CAIRNUTL_DIFF_COMMAND_H_
#define CAIRN_CMD_CAIRNUTL_DIFF_COMMAND_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "cmd/cairnutl/opened_state.h"
#include "cmd/cairnutl/text.h"
#include "cmd/cairnutl/tool.h"

namespace CLI {
class App;
}

namespace cairn::cairnutl {

// Differences shown; all are counted.
inline constexpr uint64_t kShownDifferencesMax = 20;

struct DiffOptions {
  std::string a;
  std::string b;
  bool replay = false;
  // Of each kind.
  uint64_t limit = kShownDifferencesMax;
};

// What was found of one kind of thing.
struct DiffCount {
  std::string kind;       // "keys", "revisions", "leases", ...
  uint64_t compared = 0;  // In either.
  uint64_t only_in_a = 0;
  uint64_t only_in_b = 0;
  uint64_t different = 0;

  uint64_t total() const { return only_in_a + only_in_b + different; }
};

struct DiffResult {
  std::vector<DiffCount> counts;
  // One line each, at most `limit` of each kind.
  std::vector<std::string> lines;
  // The same as {"kind", "key", "a", "b"}; null where there is none.
  std::vector<Json> json;

  bool is_same() const;
};

absl::StatusOr<DiffResult> Diff(const OpenedState& a, const OpenedState& b, uint64_t limit);

// Returns the exit code: kExitOk, kExitDifferent, or kExitUsage in trouble, as diff(1) has it.
int SnapshotDiff(const DiffOptions& options, const Tool& tool);

// Adds `diff` to the group `snapshot` of `app`, which is made if nobody has made it yet. `tool`
// outlives `app`.
void AddSnapshotDiffCommand(CLI::App& app, Tool& tool);

}  // namespace cairn::cairnutl

#endif  // CAIRN_CMD_CAIRNUTL_DIFF_COMMAND_H_
