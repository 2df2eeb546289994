#include "server/snapshot/restore.h"

#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "base/fail_point.h"
#include "base/status.h"
#include "mvcc/rocks_backend.h"
#include "mvcc/schema.h"
#include "mvcc/store.h"
#include "server/applier.h"
#include "server/cluster_state.h"
#include "server/data_dir.h"
#include "server/installed_at.h"
#include "server/membership.h"
#include "server/membership_rows.h"
#include "server/snapshot/inspect.h"
#include "server/snapshot/restore_site.h"
#include "server/state_home.h"
#include "wal/wal.h"

namespace cairn::server {

namespace {

constexpr Term kFirstTerm{1};
constexpr uint64_t kFirstState = 1;

// Writes the files of the state into a directory, each durable before the next.
class DirectorySink final : public ArchiveSink {
 public:
  DirectorySink(wal::Fs& fs, std::string directory) : fs_(fs), directory_(std::move(directory)) {}

  absl::Status BeginFile(const SnapshotFile& file) override {
    CAIRN_ASSIGN_OR_RETURN(file_, fs_.Create(fmt::format("{}/{}", directory_, file.name)));
    offset_bytes_ = 0;
    return absl::OkStatus();
  }
  absl::Status Take(std::string_view bytes) override {
    CAIRN_RETURN_IF_ERROR(file_->Write(offset_bytes_, bytes));
    offset_bytes_ += bytes.size();
    return absl::OkStatus();
  }
  absl::Status EndFile() override {
    CAIRN_RETURN_IF_ERROR(file_->Sync());
    file_.reset();
    base::FailPoint("server.restore.file_written");
    return absl::OkStatus();
  }

 private:
  wal::Fs& fs_;
  const std::string directory_;
  std::unique_ptr<wal::File> file_;
  uint64_t offset_bytes_ = 0;
};

// What the ids of the new cluster are derived with.
std::string TokenOf(const Config& config, const RestoreRequest& request, std::string_view digest) {
  std::string token = config.initial_cluster_token;
  token += " restored from ";
  for (const char byte : digest) token += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  token += fmt::format(" +{}{}", request.bump_revision, request.mark_compacted ? " compacted" : "");
  return token;
}

struct NewCluster {
  wal::Identity self;
  Members members;
};

absl::StatusOr<NewCluster> FoundCluster(const Config& config, const RestoreRequest& request,
                                        std::string_view digest) {
  CAIRN_ASSIGN_OR_RETURN(const InitialMember own, FindSelf(config));
  const std::string token = TokenOf(config, request, digest);
  NewCluster cluster;
  cluster.members = InitialMembers(config.initial_cluster, token);
  std::vector<MemberId> ids;
  for (const Member& member : cluster.members) ids.push_back(member.id);
  cluster.self = {DeriveClusterId(ids), DeriveMemberId(own.peer_urls, token)};
  return cluster;
}

raft::Configuration ConfigurationOf(const Members& members) {
  raft::Configuration configuration;
  for (const Member& member : members) configuration.voters.push_back(member.id);
  return configuration;
}

absl::Status DeleteRows(const mvcc::Store& store, std::string_view prefix, mvcc::Batch& batch) {
  return store.ScanMeta(prefix, [&](std::string_view key, std::string_view) {
    batch.DeleteMeta(key);
    return true;
  });
}

// The alarms that members had raised by themselves and would take back: they are gone, and the new
// ones judge their own disks.
absl::Status DeleteAutomaticAlarms(const mvcc::Store& store, mvcc::Batch& batch) {
  absl::Status decoded;
  CAIRN_RETURN_IF_ERROR(
      store.ScanMeta(mvcc::kAlarmPrefix, [&](std::string_view key, std::string_view value) {
        const absl::StatusOr<Alarm> alarm = DecodeAlarmRow(key, value);
        decoded = alarm.status();
        if (alarm.ok() && alarm->is_automatic) batch.DeleteMeta(key);
        return alarm.ok();
      }));
  return decoded;
}

// Who was in the old cluster, or ever was, means nothing in the new one.
absl::Status WriteMembers(mvcc::Store& store, const NewCluster& cluster) {
  const mvcc::EntryApplied applied = store.applied();
  mvcc::Batch batch = store.BeginBatch();
  CAIRN_RETURN_IF_ERROR(DeleteRows(store, mvcc::kMemberPrefix, batch));
  CAIRN_RETURN_IF_ERROR(DeleteRows(store, kRemovedMemberPrefix, batch));
  CAIRN_RETURN_IF_ERROR(DeleteAutomaticAlarms(store, batch));
  // The plan was for members that are gone.
  batch.DeleteMeta(kDowngradeKey);
  for (const Member& member : cluster.members) {
    batch.PutMeta(MemberRowKey(member.id), EncodeMember(member));
  }
  batch.PutMeta(kConfigurationKey, EncodeConfiguration(ConfigurationOf(cluster.members)));
  PutInstalledAt(batch, {applied.term, applied.index});
  return batch.Commit(applied);
}

// Every row of the copy in `directory`, before any is changed: a member that starts on it must not
// find the damage that the saved one had.
absl::Status VerifyCopy(const std::string& directory, const RestoreRequest& request,
                        const ArchiveReader& archive, absl::FunctionRef<bool()> is_stopping) {
  absl::StatusOr<std::unique_ptr<mvcc::Backend>> backend =
      mvcc::OpenRocksBackendForReading({.directory = directory});
  absl::Status status =
      backend.ok()
          ? VerifyRows(request.snapshot_path, archive, *std::move(backend), is_stopping).status()
          : base::Annotate(backend.status(), fmt::format("snapshot {}", request.snapshot_path));
  if (!absl::IsDataLoss(status)) return status;
  return base::Error(absl::StatusCode::kDataLoss, "{}; restore another snapshot",
                     base::Message(status));
}

// Makes the copy in `directory` the new cluster's; durable when it returns. Fills in what the state
// says then, and the entry that it stands at.
absl::Status RewriteState(const std::string& directory, const RestoreRequest& request,
                          const NewCluster& cluster, RestoredMember& restored, raft::EntryId& at) {
  CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<mvcc::Backend> backend,
                         mvcc::OpenRocksBackend({.directory = directory}));
  mvcc::RestoreOptions options;
  options.identity = {cluster.self.cluster, cluster.self.member};
  options.term = kFirstTerm;
  options.beyond = Index(cluster.members.size());
  options.raise_revision_by = request.bump_revision;
  options.is_compacted = request.mark_compacted;
  CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<mvcc::Store> store,
                         mvcc::Store::Restore(std::move(backend), options));
  CAIRN_RETURN_IF_ERROR(WriteMembers(*store, cluster));
  // Every row that a server would read at its start.
  CAIRN_RETURN_IF_ERROR(Applier::Load(*store).status());
  CAIRN_RETURN_IF_ERROR(store->Flush().status());
  restored.revision = store->published().revision;
  restored.compacted = store->published().watermark;
  at = {store->applied().term, store->applied().index};
  base::FailPoint("server.restore.state_written");
  return absl::OkStatus();
}

absl::Status WriteLog(wal::Fs& fs, const std::string& directory, const wal::Options& options,
                      const NewCluster& cluster, raft::EntryId at) {
  CAIRN_ASSIGN_OR_RETURN(const wal::Wal::Opened log,
                         wal::Wal::Create(fs, directory, options, cluster.self));
  std::array<wal::Append, 2> appends;
  appends[0].entries = BootstrapEntries(cluster.members);
  appends[0].commit = appends[0].entries.back().index;
  appends[0].hard_state = raft::HardState{.term = kFirstTerm, .commit = appends[0].commit};
  // Nobody can follow from the entries above: what they would have led to is in the state alone.
  const std::string configuration = EncodeConfiguration(ConfigurationOf(cluster.members));
  appends[1].snapshot_installed = wal::SnapshotInstalled{at, configuration};
  appends[1].configuration = configuration;
  appends[1].marker = wal::Marker{at};
  appends[1].commit = at.index;
  CAIRN_RETURN_IF_ERROR(log.wal->Write(appends));
  CAIRN_RETURN_IF_ERROR(log.wal->Sync());
  CAIRN_RETURN_IF_ERROR(log.wal->WriteDurableThrough());
  CAIRN_RETURN_IF_ERROR(log.wal->Sync());
  base::FailPoint("server.restore.log_written");
  return absl::OkStatus();
}

absl::Status CheckRequest(const Config& config, const RestoreRequest& request) {
  if ((request.bump_revision > 0) != request.mark_compacted) {
    return base::MakeStatus(absl::StatusCode::kInvalidArgument,
                            "--bump-revision and --mark-compacted go together: a raised revision "
                            "says that some were given out after the snapshot, and clients that "
                            "saw them must be told");
  }
  if (config.wal_dir == config.data_dir) {
    return base::Error(absl::StatusCode::kInvalidArgument,
                       "--wal-dir: {} is the data directory itself; name another one, or leave it "
                       "out",
                       config.wal_dir);
  }
  return FindSelf(config).status();
}

// Builds below `data` and, if there is one, `wal`.
absl::StatusOr<RestoredMember> Build(wal::Fs& fs, ArchiveReader& archive, const Config& config,
                                     const RestoreRequest& request, const RestoreSite& data,
                                     const RestoreSite* wal,
                                     absl::FunctionRef<bool()> is_stopping) {
  const std::string states = data.folder() + "/state";
  const std::string state = fmt::format("{}/{}", states, kFirstState);
  CAIRN_RETURN_IF_ERROR(fs.CreateDirectory(state));
  DirectorySink sink(fs, state);
  CAIRN_RETURN_IF_ERROR(archive.ReadAll(&sink, is_stopping));
  RestoredMember restored;
  restored.size_bytes = archive.size_bytes();
  CAIRN_ASSIGN_OR_RETURN(const NewCluster cluster, FoundCluster(config, request, archive.digest()));
  restored.cluster = cluster.self.cluster;
  restored.member = cluster.self.member;
  raft::EntryId at;
  CAIRN_RETURN_IF_ERROR(VerifyCopy(state, request, archive, is_stopping));
  CAIRN_RETURN_IF_ERROR(RewriteState(state, request, cluster, restored, at));
  CAIRN_RETURN_IF_ERROR(fs.SyncDirectory(state));
  CAIRN_RETURN_IF_ERROR(PrepareStatePointer(fs, states, kFirstState));
  CAIRN_RETURN_IF_ERROR(SwitchStatePointer(fs, states));
  const std::string log = wal != nullptr ? wal->folder() : data.folder() + "/wal";
  CAIRN_RETURN_IF_ERROR(WriteLog(fs, log, request.log, cluster, at));
  if (is_stopping()) return base::MakeStatus(absl::StatusCode::kCancelled, "interrupted");
  return restored;
}

}  // namespace

absl::StatusOr<RestoredMember> RestoreSnapshot(wal::Fs& fs, const Config& config,
                                               const RestoreRequest& request,
                                               absl::FunctionRef<bool()> is_stopping) {
  CAIRN_RETURN_IF_ERROR(CheckRequest(config, request));
  CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<ArchiveReader> archive,
                         ArchiveReader::Open(fs, request.snapshot_path, request.digest));
  if (absl::Status status = CheckStateFiles(*archive); !status.ok()) {
    return base::Annotate(status, fmt::format("snapshot {}", request.snapshot_path));
  }
  const bool has_wal_dir = !config.wal_dir.empty();
  const std::string_view own = ComponentBelow(config.data_dir, config.wal_dir);
  CAIRN_RETURN_IF_ERROR(RestoreSite::Check(fs, "--data-dir", config.data_dir, own));
  if (has_wal_dir) {
    CAIRN_RETURN_IF_ERROR(
        RestoreSite::CheckSecond(fs, "--wal-dir", config.wal_dir, config.data_dir));
  }
  CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<RestoreSite> data,
                         RestoreSite::Begin(fs, "--data-dir", config.data_dir, own));
  if (has_wal_dir) CAIRN_RETURN_IF_ERROR(data->ReclaimSecond("--wal-dir", config.wal_dir));
  CAIRN_RETURN_IF_ERROR(data->Clear());
  std::unique_ptr<RestoreSite> wal;
  if (has_wal_dir) {
    CAIRN_ASSIGN_OR_RETURN(wal, RestoreSite::Begin(fs, "--wal-dir", config.wal_dir, {}));
    CAIRN_RETURN_IF_ERROR(wal->Clear());
  }
  CAIRN_ASSIGN_OR_RETURN(const RestoredMember restored,
                         Build(fs, *archive, config, request, *data, wal.get(), is_stopping));
  base::FailPoint("server.restore.built");
  CAIRN_RETURN_IF_ERROR(data->Place());
  if (wal != nullptr) CAIRN_RETURN_IF_ERROR(wal->Place());
  // The data directory's marks go last: as long as one is there no server starts on either.
  if (wal != nullptr) {
    CAIRN_RETURN_IF_ERROR(data->RememberSecond(*wal));
    CAIRN_RETURN_IF_ERROR(wal->Finish());
  }
  CAIRN_RETURN_IF_ERROR(data->Finish());
  data->Keep();
  if (wal != nullptr) wal->Keep();
  return restored;
}

}  // namespace cairn::server
