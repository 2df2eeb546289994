// Putting a snapshot that has arrived in the place of the state, step by step (design: "Follower
// too far behind").
//
// The order is what makes a crash at any point sound, so it stands here alone, apart from threads
// and files: sync the term, verify what has arrived, make it this member's, flush it; then, with
// the core holding still, let the applier come to rest, switch the pointer, record it in the log,
// and only then let readers and applier see it. Each arrow is a fail point. Up to the switch it can
// be abandoned and leaves nothing; from there on a failure is final, and the next start takes up
// where this one ended (bootstrap.h).
//
// One at a time, on a thread that may wait; never the node or the apply thread.
#ifndef CAIRN_SERVER_SNAPSHOT_INSTALL_H_
#define CAIRN_SERVER_SNAPSHOT_INSTALL_H_

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <memory>

#include "base/ids.h"
#include "mvcc/store.h"
#include "raft/types.h"
#include "server/applier.h"
#include "server/state_home.h"
#include "wal/types.h"

namespace cairn::server {

// What the member's threads do for an installation. Each call waits until it is done.
class InstallHost {
 public:
  virtual ~InstallHost() = default;

  // Makes the core know `term`, and the log hold it durably.
  virtual absl::Status SyncTerm(Term term) = 0;
  // raft::Core's. False: not wanted.
  virtual absl::StatusOr<bool> BeginInstall(raft::EntryId id) = 0;
  virtual void AbandonInstall() = 0;
  // Waits until everything that was handed out to apply is applied. Nothing more is while the core
  // holds still.
  virtual absl::Status DrainApply() = 0;
  // Appends the record behind everything submitted so far and waits until it is durable.
  virtual absl::Status RecordInstalled(wal::SnapshotInstalled record) = 0;
  // Applier::Replace on the apply thread, then raft::Core::FinishInstall on the node thread.
  virtual absl::Status FinishInstall(std::unique_ptr<mvcc::Store> fresh,
                                     Applier::Loaded loaded) = 0;
  // The installation failed half way: the member must stop.
  virtual void FailInstall(const absl::Status& error) = 0;
};

struct InstallRequest {
  mvcc::StoreIdentity identity;
  // The sender's; the snapshot holds nothing of a later one.
  Term term;
};

struct InstallOutcome {
  raft::EntryId id;
  // False: this member had it already. The sender hears of success either way.
  bool is_installed = false;
};

// Installs what lies at states.fresh_path(), which is removed unless it was installed. `verify`
// checks it byte by byte and makes it durable.
//   DATA_LOSS            what arrived is not what was sent, or no state
//   FAILED_PRECONDITION  another cluster's, or of another format
//   CANCELLED            the member is stopping
// The state that it replaced stays where it is, for those who read it: the caller closes
// (Store::CloseReplaced) and removes (StateHome::RemovePrevious) it.
absl::StatusOr<InstallOutcome> InstallSnapshot(const InstallRequest& request, StateHome& states,
                                               absl::FunctionRef<absl::Status()> verify,
                                               InstallHost& host);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SNAPSHOT_INSTALL_H_
