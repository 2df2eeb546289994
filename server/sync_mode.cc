#include "server/sync_mode.h"

#include <fmt/format.h>
#include <glog/logging.h>

#include <memory>

#include "api/internal.pb.h"
#include "base/check.h"
#include "base/fail_point.h"
#include "base/status.h"
#include "raft/types.h"
#include "server/command.h"

namespace cairn::server {

std::string_view SyncModeName(wal::SyncMode mode) {
  switch (mode) {
    case wal::SyncMode::kAlways:
      return "always";
    case wal::SyncMode::kNever:
      return "never";
    case wal::SyncMode::kInterval:
      return "interval";
  }
  CAIRN_CHECK(false, "no such mode");
}

std::string SyncModeRisk(const Config& config) {
  switch (config.wal_sync_mode) {
    case wal::SyncMode::kAlways:
      return {};
    case wal::SyncMode::kNever:
      return "the log is not synced: a power loss may take anything that was acknowledged since "
             "the state was last made durable";
    case wal::SyncMode::kInterval:
      return fmt::format(
          "the log is synced every {} ms: a power loss may take what was acknowledged since the "
          "last time",
          config.wal_sync_interval.count());
  }
  CAIRN_CHECK(false, "no such mode");
}

absl::Status CheckSyncMode(const Config& config, size_t members) {
  if (config.wal_sync_mode == wal::SyncMode::kAlways) return absl::OkStatus();
  if (members <= 1 && !config.joins_existing) return absl::OkStatus();
  return base::Error(absl::StatusCode::kFailedPrecondition,
                     "--wal-sync-mode={} is for a cluster of one member, learners counted{}: what "
                     "one acknowledges and forgets, the others would miss; start with "
                     "--wal-sync-mode=always",
                     SyncModeName(config.wal_sync_mode),
                     members > 1 ? fmt::format("; this one has {}", members) : "");
}

absl::Status RaiseRevisionIfUnclean(const Membership& membership, wal::Wal& wal,
                                    wal::Recovered& recovered) {
  if (recovered.sync_mode == wal::SyncMode::kAlways) return absl::OkStatus();
  if (membership.members.size() > 1) {
    return base::Error(
        absl::StatusCode::kFailedPrecondition,
        "the log says that it was written by a cluster's only member "
        "(--wal-sync-mode={}), but the state knows {} members: log and state are not "
        "of one history; give --data-dir and --wal-dir of one member",
        SyncModeName(recovered.sync_mode), membership.members.size());
  }
  internal::RevisionRaise raise;
  raise.set_by(kRevisionRaise);
  // A term of its own: what was lost may have had this index in the present one.
  const Term term = recovered.hard_state.term + 1;
  const raft::EntryId entry{term, recovered.last.index + 1};
  wal::Append append;
  append.entries.push_back(
      {.term = entry.term,
       .index = entry.index,
       .kind = raft::EntryKind::kCommand,
       .data = std::make_shared<const std::string>(EncodeCommand(
           {.kind = CommandKind::kRaiseRevision, .proposer = recovered.identity.member},
           raise.SerializeAsString()))});
  append.hard_state = raft::HardState{.term = term, .commit = entry.index};
  append.commit = entry.index;
  append.sync_mode = wal::SyncMode::kAlways;
  CAIRN_RETURN_IF_ERROR(wal.Write({&append, 1}));
  CAIRN_RETURN_IF_ERROR(wal.Sync());
  base::FailPoint("server.bootstrap.revision_raised");
  LOG(WARNING) << fmt::format(
      "the log was written with --wal-sync-mode={} and the member was not stopped in order: what "
      "was acknowledged behind entry {} may be lost; the revision is raised by {}, so that none is "
      "issued twice",
      SyncModeName(recovered.sync_mode), recovered.last.index, kRevisionRaise);
  recovered.last = entry;
  recovered.hard_state = *append.hard_state;
  recovered.sync_mode = wal::SyncMode::kAlways;
  return absl::OkStatus();
}

}  // namespace cairn::server
