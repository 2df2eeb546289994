#include "server/snapshot_install.h"

#include <utility>

#include "base/fail_point.h"
#include "base/status.h"
#include "server/installed_at.h"
#include "server/membership_rows.h"

namespace cairn::server {

namespace {

// A snapshot that is this member's, durable, but not in force.
struct Fresh {
  std::unique_ptr<mvcc::Store> store;
  Applier::Loaded loaded;
  raft::EntryId id;
};

absl::StatusOr<Fresh> Adopt(const InstallRequest& request, StateHome& states) {
  Fresh fresh;
  CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<mvcc::Backend> backend, states.Open(states.fresh_path()));
  CAIRN_ASSIGN_OR_RETURN(fresh.store,
                         mvcc::Store::Adopt(std::move(backend), {.identity = request.identity}));
  const mvcc::EntryApplied applied = fresh.store->applied();
  fresh.id = {applied.term, applied.index};
  CAIRN_ASSIGN_OR_RETURN(fresh.loaded, Applier::Load(*fresh.store));
  if (applied.index == Index(0) || applied.index.value() > raft::kTermOrIndexMax ||
      applied.term > request.term || fresh.loaded.membership.configuration.voters.empty()) {
    return base::Error(absl::StatusCode::kDataLoss,
                       "a snapshot through index {} of term {} with {} voters, from a leader of "
                       "term {}",
                       applied.index, applied.term,
                       fresh.loaded.membership.configuration.voters.size(), request.term);
  }
  {
    mvcc::Batch batch = fresh.store->BeginBatch();
    PutInstalledAt(batch, fresh.id);
    CAIRN_RETURN_IF_ERROR(batch.Commit(applied));
  }
  base::FailPoint("server.install.adopted");
  CAIRN_RETURN_IF_ERROR(fresh.store->Flush().status());
  base::FailPoint("server.install.flushed");
  return fresh;
}

// With the core holding still. An error before the switch leaves everything as it was.
absl::Status SwitchState(StateHome& states, InstallHost& host, bool& is_switching) {
  CAIRN_RETURN_IF_ERROR(host.DrainApply());
  base::FailPoint("server.install.drained");
  CAIRN_RETURN_IF_ERROR(states.PrepareSwitch());
  is_switching = true;
  return states.Switch();
}

absl::StatusOr<InstallOutcome> Install(const InstallRequest& request, StateHome& states,
                                       absl::FunctionRef<absl::Status()> verify,
                                       InstallHost& host) {
  CAIRN_RETURN_IF_ERROR(host.SyncTerm(request.term));
  base::FailPoint("server.install.term_synced");
  CAIRN_RETURN_IF_ERROR(verify());
  base::FailPoint("server.install.verified");
  CAIRN_ASSIGN_OR_RETURN(Fresh fresh, Adopt(request, states));
  CAIRN_ASSIGN_OR_RETURN(const bool is_wanted, host.BeginInstall(fresh.id));
  if (!is_wanted) return InstallOutcome{fresh.id, false};
  base::FailPoint("server.install.begun");
  bool is_switching = false;
  absl::Status status = SwitchState(states, host, is_switching);
  if (!status.ok() && !is_switching) {
    host.AbandonInstall();
    return status;
  }
  if (status.ok()) {
    status = host.RecordInstalled(
        {fresh.id, EncodeConfiguration(fresh.loaded.membership.configuration)});
    base::FailPoint("server.install.recorded");
  }
  if (status.ok()) {
    status = host.FinishInstall(std::move(fresh.store), std::move(fresh.loaded));
    base::FailPoint("server.install.finished");
  }
  if (!status.ok()) {
    host.FailInstall(status);
    return status;
  }
  return InstallOutcome{fresh.id, true};
}

}  // namespace

absl::StatusOr<InstallOutcome> InstallSnapshot(const InstallRequest& request, StateHome& states,
                                               absl::FunctionRef<absl::Status()> verify,
                                               InstallHost& host) {
  const std::string path = states.fresh_path();
  absl::StatusOr<InstallOutcome> outcome = Install(request, states, verify, host);
  const bool is_in_force = states.current_path() == path;
  if (is_in_force || (outcome.ok() && outcome->is_installed)) return outcome;
  // After a switch that failed half way the pointer may name it: what is not known stays.
  absl::StatusOr<std::string> pointed = states.PointedPath();
  if (pointed.ok() && *pointed != path) states.Remove(path).IgnoreError();
  return outcome;
}

}  // namespace cairn::server
