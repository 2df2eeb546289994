// `cairnutl hashkv`: the hash of history that etcd's HashKV gives, of a state that is not running.
//
// Equal to the server's for the same history and compaction (mvcc/store.h, HashKv); printed as
// etcdutl prints it.
#ifndef CAIRN_CMD_CAIRNUTL_HASHKV_COMMAND_H_
#define CAIRN_CMD_CAIRNUTL_HASHKV_COMMAND_H_

#include <cstdint>

#include "cmd/cairnutl/opened_state.h"
#include "cmd/cairnutl/tool.h"

namespace CLI {
class App;
}

namespace cairn::cairnutl {

struct HashKvOptions {
  StateOptions state;
  // 0: the current one.
  int64_t revision = 0;
};

// Returns the exit code.
int HashKv(const HashKvOptions& options, const Tool& tool);

// `tool` outlives `app`.
void AddHashKvCommand(CLI::App& app, Tool& tool);

}  // namespace cairn::cairnutl

#endif  // CAIRN_CMD_CAIRNUTL_HASHKV_COMMAND_H_
