// `cairnutl state`: get, scan, stats.
//
// Reads a state row by row, in order, holding one row; opened_state.h says how it is opened. The
// functions are the commands without their command line.
#ifndef CAIRN_CMD_CAIRNUTL_STATE_COMMAND_H_
#define CAIRN_CMD_CAIRNUTL_STATE_COMMAND_H_

#include <cstdint>
#include <string>
#include <vector>

#include "cmd/cairnutl/opened_state.h"
#include "cmd/cairnutl/tool.h"

namespace CLI {
class App;
}

namespace cairn::cairnutl {

struct GetOptions {
  StateOptions state;
  std::string key;
  // The key is hexadecimal digits.
  bool is_hex = false;
  // 0: the current one.
  int64_t revision = 0;
};

struct ScanOptions {
  StateOptions state;
  // Of "keys", "revisions", "meta"; empty: all.
  std::vector<std::string> families;
  // Names of RowNames; empty: all.
  std::vector<std::string> rows;
  // Of the row's key; of the user key for rows of `keys`. Rows of `revisions` have no text to begin
  // with.
  std::string prefix;
  bool is_hex = false;
  // Rows of `revisions` of these main revisions; 0: no bound.
  int64_t first_revision = 0;
  int64_t last_revision = 0;
  // Rows shown, of all families together; 0: all.
  uint64_t limit = 0;
};

// Each returns the exit code. StateGet: kExitError when there is no such key.
int StateGet(const GetOptions& options, const Tool& tool);
int StateScan(const ScanOptions& options, const Tool& tool);
int StateShowStats(const StateOptions& options, const Tool& tool);

// Adds DIR, --wal-dir and --replay.
void AddStateOptions(CLI::App& command, StateOptions& options);

// `tool` outlives `app`.
void AddStateCommand(CLI::App& app, Tool& tool);

}  // namespace cairn::cairnutl

#endif  // CAIRN_CMD_CAIRNUTL_STATE_COMMAND_H_
