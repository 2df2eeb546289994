// `cairnutl raft-state`: where a member stands, by its log and by its state, and whether the two
// fit.
//
// Reads the log's segments and a few rows of the state; the log alone does, too.
#ifndef CAIRN_CMD_CAIRNUTL_RAFT_STATE_COMMAND_H_
#define CAIRN_CMD_CAIRNUTL_RAFT_STATE_COMMAND_H_

#include "cmd/cairnutl/directory.h"
#include "cmd/cairnutl/tool.h"

namespace CLI {
class App;
}

namespace cairn::cairnutl {

// Returns the exit code; kExitDamaged when log and state do not fit together.
int RaftState(const WhereToLook& where, const Tool& tool);

// `tool` outlives `app`.
void AddRaftStateCommand(CLI::App& app, Tool& tool);

}  // namespace cairn::cairnutl

#endif  // CAIRN_CMD_CAIRNUTL_RAFT_STATE_COMMAND_H_
