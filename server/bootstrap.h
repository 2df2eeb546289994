// From a data directory to a member that can run: log and state opened, checked against each other,
// or made for a new cluster.
//
// Main thread only, before the node's threads start. The rules that make a restart sound (design:
// Restart) are checked here; what does not check out is refused with the numbers.
#ifndef CAIRN_SERVER_BOOTSTRAP_H_
#define CAIRN_SERVER_BOOTSTRAP_H_

#include <absl/status/statusor.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "mvcc/backend.h"
#include "mvcc/store.h"
#include "raft/core.h"
#include "server/applier.h"
#include "server/config.h"
#include "server/data_dir.h"
#include "server/join.h"
#include "server/state_home.h"
#include "wal/fs.h"
#include "wal/types.h"
#include "wal/wal.h"

namespace cairn::server {

struct Bootstrapped {
  wal::Identity identity;
  std::unique_ptr<wal::Wal> wal;
  wal::Recovered recovered;
  std::unique_ptr<mvcc::Store> store;
  std::unique_ptr<Applier> applier;
  uint64_t start_nonce = 0;
  raft::RestoredState raft;
  bool is_new = false;
};

// Drawn anew at each start, so that no entry of an earlier process is taken for this one's.
uint64_t DrawStartNonce();

// What a member stands on: a file system for its log, a backend for its state.
struct Foundation {
  wal::Fs& fs;
  std::string wal_path;
  wal::Options wal_options;
  std::function<absl::StatusOr<std::unique_ptr<mvcc::Backend>>()> open_state;
  // The state is there already. The log is always made first, so a log must be there too.
  bool has_state = false;
  // How the other members of the configuration are asked, by a member without a log. The default
  // finds nobody.
  AskMembers ask_members = [](const std::string&) -> absl::StatusOr<ExistingCluster> {
    return absl::UnavailableError("nobody is asked");
  };
  uint64_t start_nonce = DrawStartNonce();
};

// Opens what `foundation` holds; one without a log becomes a member of the new cluster that
// `config` describes, or joins an existing one (as with etcd, the --initial-* flags matter only
// then). FAILED_PRECONDITION,
// DATA_LOSS and UNIMPLEMENTED name file, offset and remedy.
absl::StatusOr<Bootstrapped> Bootstrap(const Foundation& foundation, const Config& config);
// The same on a data directory, whose states are `states`.
absl::StatusOr<Bootstrapped> Bootstrap(wal::Fs& fs, const DataDir& directory, StateHome& states,
                                       const Config& config, AskMembers ask_members);

// Whether a log from after `before_first` to `last` and a state applied through `applied` fit
// together: first <= applied + 1 <= last + 1. FAILED_PRECONDITION with all numbers otherwise.
absl::Status CheckLogMeetsState(raft::EntryId before_first, raft::EntryId last,
                                mvcc::EntryApplied applied);

// A state that arrived as a snapshot through `installed` and has applied nothing since: whether the
// log has yet to record that, which drops all its entries. Only while a member takes a snapshot can
// its log not know of it, and it takes none through an entry that it has committed; a log that has
// gone on further is of another state: FAILED_PRECONDITION with the numbers. The rest is what the
// log says: the entry before its first, its commit index, its latest marker and installation.
absl::StatusOr<bool> IsInstallationToRecord(raft::EntryId installed, raft::EntryId before_first,
                                            Index commit, const std::optional<wal::Marker>& marker,
                                            const std::optional<wal::SnapshotInstalled>& recorded);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_BOOTSTRAP_H_
