#include "server/node_install.h"

#include <utility>

#include "base/status.h"

namespace cairn::server {

absl::Status NodeInstall::SyncTerm(Term term) {
  CAIRN_RETURN_IF_ERROR(runner_.RunOnNode([term](NodeCore& core) { core.RaiseTerm(term); }));
  CAIRN_RETURN_IF_ERROR(Settle());
  // Behind the write of the term.
  return runner_.WriteLog({});
}

absl::StatusOr<bool> NodeInstall::BeginInstall(raft::EntryId id) {
  bool is_wanted = false;
  CAIRN_RETURN_IF_ERROR(
      runner_.RunOnNode([&](NodeCore& core) { is_wanted = core.BeginInstall(id); }));
  return is_wanted;
}

void NodeInstall::AbandonInstall() {
  // A member that has stopped has nothing to go on with.
  runner_.RunOnNode([](NodeCore& core) { core.AbandonInstall(); }).IgnoreError();
}

absl::Status NodeInstall::DrainApply() {
  CAIRN_RETURN_IF_ERROR(Settle());
  return runner_.apply().Drain();
}

absl::Status NodeInstall::RecordInstalled(wal::SnapshotInstalled record) {
  wal::Append append;
  append.commit = record.id.index;
  append.snapshot_installed = std::move(record);
  return runner_.WriteLog(std::move(append));
}

absl::Status NodeInstall::FinishInstall(std::unique_ptr<mvcc::Store> fresh,
                                        Applier::Loaded loaded) {
  const mvcc::EntryApplied applied = fresh->applied();
  const raft::Configuration configuration = loaded.membership.configuration;
  CAIRN_RETURN_IF_ERROR(runner_.apply().Replace(std::move(fresh), std::move(loaded)));
  return runner_.RunOnNode([&](NodeCore& core) {
    core.FinishInstall({applied.term, applied.index}, configuration);
  });
}

void NodeInstall::FailInstall(const absl::Status& error) {
  // What a stop has cut short is taken up by the next start.
  if (!absl::IsCancelled(error)) runner_.Fail(error);
}

}  // namespace cairn::server
