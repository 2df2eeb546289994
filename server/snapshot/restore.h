// From a saved snapshot to the data directory of a member of a new cluster.
//
// For the offline tool; main thread only, nothing else may use the directories (they are locked).
// Everything is built below a folder (kRestoringFolder) inside of them and put in its place when it
// is complete and durable, and the folder goes last (restore_site.h says how with two directories):
// a server refuses a directory that holds it, and the next restore clears it away. So a restore
// that fails leaves nothing, and one that is killed leaves nothing that could be taken for a
// member. (A sibling of the directory would not do: it is often a mount point.)
//
// The new cluster is a new one for everybody: its ids are derived as etcd derives them, but from a
// token that the snapshot's SHA-256 and the raised revision are part of. So members of the old
// cluster, or restored from another snapshot or with another revision, are refused by its members,
// also when all flags are the same. Members of an earlier restore of the same snapshot with the
// same options are not: what runs once for each member, each time on another machine, has nothing
// fresh to agree on. Who restores once more therefore gives another --initial-cluster-token.
//
// Its log begins with an entry for each member, as that of every new cluster, and then says that
// what came before the snapshot's state is gone. Whoever joins later with an empty log, or with one
// that holds the first entries alone, therefore gets the state and not just what follows it.
#ifndef CAIRN_SERVER_SNAPSHOT_RESTORE_H_
#define CAIRN_SERVER_SNAPSHOT_RESTORE_H_

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <string>

#include "base/ids.h"
#include "server/config.h"
#include "server/snapshot/archive_reader.h"
#include "wal/fs.h"
#include "wal/types.h"

namespace cairn::server {

struct RestoreRequest {
  std::string snapshot_path;
  Digest digest = Digest::kCheck;
  // Added to the revision; not negative. With mark_compacted, and only with it: clients must not
  // take revisions that are given out twice for the ones they have seen.
  int64_t bump_revision = 0;
  bool mark_compacted = false;
  // Of the first segment of the log: small ones are for tests.
  wal::Options log;
};

struct RestoredMember {
  ClusterId cluster;
  MemberId member;
  Revision revision;
  Revision compacted;
  uint64_t size_bytes = 0;
};

// Makes the directories of the member that `config` describes: name, data_dir, wal_dir,
// initial_cluster, initial_cluster_token and initial_advertise_peer_urls count. All of it is
// durable when this returns OK.
//   INVALID_ARGUMENT, FAILED_PRECONDITION  options that contradict each other, directories that are
//                                          not empty, the snapshot of another program
//   DATA_LOSS                              the snapshot is cut or altered
//   CANCELLED                              soon after `is_stopping` says so
absl::StatusOr<RestoredMember> RestoreSnapshot(wal::Fs& fs, const Config& config,
                                               const RestoreRequest& request,
                                               absl::FunctionRef<bool()> is_stopping);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SNAPSHOT_RESTORE_H_
