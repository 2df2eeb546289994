// A member takes a snapshot: snapshot_install.h's steps, one after the other, on its one thread.
#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "test/sim/member.h"

namespace cairn::sim {

absl::StatusOr<server::InstallOutcome> Member::Install(Term term) {
  const server::InstallRequest request{{foundation_.identity.cluster, foundation_.identity.member},
                                       term};
  absl::StatusOr<server::InstallOutcome> outcome = server::InstallSnapshot(
      request, *states_, [] { return absl::OkStatus(); }, *this);
  if (outcome.ok() && outcome->is_installed) {
    foundation_.store->CloseReplaced();
    CAIRN_RETURN_IF_ERROR(states_->RemovePrevious());
  }
  return outcome;
}

absl::Status Member::SyncTerm(Term term) {
  node_->RaiseTerm(term);
  Turn(/*has_ticked=*/false);
  return SyncLog();
}

absl::StatusOr<bool> Member::BeginInstall(raft::EntryId id) { return node_->BeginInstall(id); }

void Member::AbandonInstall() {
  node_->AbandonInstall();
  Turn(/*has_ticked=*/false);
}

absl::Status Member::DrainApply() {
  Turn(/*has_ticked=*/false);
  while (can_apply()) CAIRN_RETURN_IF_ERROR(Apply(100));
  return absl::OkStatus();
}

absl::Status Member::RecordInstalled(wal::SnapshotInstalled record) {
  const Index index = record.id.index;
  writes_.push_back({{.snapshot_installed = std::move(record), .commit = index}, 0});
  CAIRN_RETURN_IF_ERROR(SyncLog());
  // The record says that the state is durable, as a marker does.
  marked_ = index;
  flushed_ = index;
  return absl::OkStatus();
}

absl::Status Member::FinishInstall(std::unique_ptr<mvcc::Store> fresh,
                                   server::Applier::Loaded loaded) {
  const mvcc::EntryApplied applied = fresh->applied();
  const raft::Configuration configuration = loaded.membership.configuration;
  const server::Applier::Result result =
      foundation_.applier->Replace(std::move(fresh), std::move(loaded));
  is_removed_ = is_removed_ || result.self_removed;
  leases_->Applied(applied.index, result.leases);
  node_->FinishInstall({applied.term, applied.index}, configuration);
  Turn(/*has_ticked=*/false);
  return absl::OkStatus();
}

// The cluster sees the error, and ends the process.
void Member::FailInstall(const absl::Status& /*error*/) {}

}  // namespace cairn::sim
