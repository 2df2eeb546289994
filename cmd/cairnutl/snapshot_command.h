// `cairnutl snapshot`: status, verify, restore.
//
// Options and outputs of the first and the last are etcdutl's. The functions are the commands
// without their command line. Main thread only: a restore takes SIGINT and SIGTERM meanwhile, and
// leaves nothing when one comes.
#ifndef CAIRN_CMD_CAIRNUTL_SNAPSHOT_COMMAND_H_
#define CAIRN_CMD_CAIRNUTL_SNAPSHOT_COMMAND_H_

#include <cstdint>
#include <string>

#include "cmd/cairnutl/tool.h"

namespace CLI {
class App;
}

namespace cairn::cairnutl {

struct SnapshotRestoreOptions {
  std::string file;
  // Empty: <name>.cairn.
  std::string data_dir;
  // Empty: inside of data_dir.
  std::string wal_dir;
  std::string name = "default";
  // Empty: this member alone.
  std::string initial_cluster;
  std::string initial_cluster_token = "etcd-cluster";
  std::string initial_advertise_peer_urls = "http://localhost:2380";
  bool skip_hash_check = false;
  int64_t bump_revision = 0;
  bool mark_compacted = false;
  // Without effect.
  uint64_t initial_memory_map_size = 0;
};

// Each returns the exit code.
int SnapshotStatus(const std::string& file, const Tool& tool);
int SnapshotVerify(const std::string& file, bool skip_hash_check, const Tool& tool);
int SnapshotRestore(const SnapshotRestoreOptions& options, const Tool& tool);

// `tool` outlives `app`.
void AddSnapshotCommand(CLI::App& app, Tool& tool);

// A number of bytes for people, as etcdutl writes it: "20 kB", "1.5 MB".
std::string SizeText(uint64_t bytes);

}  // namespace cairn::cairnutl

#endif  // CAIRN_CMD_CAIRNUTL_SNAPSHOT_COMMAND_H_
