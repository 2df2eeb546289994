// `cairnutl wal`: ls, dump, verify, stats.
//
// Opens files for reading only, through wal/inspector.h. The functions are the commands without
// their command line.
#ifndef CAIRN_CMD_CAIRNUTL_WAL_COMMAND_H_
#define CAIRN_CMD_CAIRNUTL_WAL_COMMAND_H_

#include "cmd/cairnutl/directory.h"
#include "cmd/cairnutl/tool.h"
#include "cmd/cairnutl/wal_dump.h"

namespace CLI {
class App;
}

namespace cairn::cairnutl {

struct DumpOptions {
  WhereToLook where;
  DumpFilter filter;
  // Only applied requests, in order, as lines of JSON: no entry that was superseded, none of the
  // empty ones with which leaders begin, and none that is not committed: by the log's own commit
  // index or, in a data directory, by what a start would apply (StateOptions::replay).
  bool requests = false;
};

// Each returns the exit code.
int WalList(const WhereToLook& where, const Tool& tool);
int WalDumpRecords(const DumpOptions& options, const Tool& tool);
int WalVerify(const WhereToLook& where, const Tool& tool);
int WalShowStats(const WhereToLook& where, const Tool& tool);

// `tool` outlives `app`.
void AddWalCommand(CLI::App& app, Tool& tool);

}  // namespace cairn::cairnutl

#endif  // CAIRN_CMD_CAIRNUTL_WAL_COMMAND_H_
