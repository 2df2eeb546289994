#include "server/snapshot/inspect.h"

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "mvcc/rocks_archive.h"
#include "mvcc/store.h"
#include "server/applier.h"
#include "server/snapshot/files.h"

namespace cairn::server {

namespace {

absl::Status Annotate(const std::string& path, const absl::Status& status) {
  return base::Annotate(status, fmt::format("snapshot {}", path));
}

absl::StatusOr<std::unique_ptr<mvcc::Backend>> OpenState(const ArchiveReader& archive,
                                                         const std::string& path) {
  if (absl::Status status = CheckStateFiles(archive); !status.ok()) return Annotate(path, status);
  std::vector<mvcc::ArchivedFile> files;
  for (const ArchiveEntry& entry : archive.files()) {
    files.push_back({.name = entry.name.substr(kStateFolder.size()),
                     .offset_bytes = entry.offset,
                     .size_bytes = entry.size_bytes});
  }
  return mvcc::OpenRocksArchive(path, files);
}

// What the manifest says again, in the state's own words.
absl::Status CheckManifest(const std::string& path, const snapshot::Manifest& manifest,
                           const mvcc::Store& store, const mvcc::StoreIdentity& identity) {
  const auto differs = [&](std::string_view what, const auto& said, const auto& found) {
    return base::Error(absl::StatusCode::kDataLoss,
                       "snapshot {}: the manifest says {} {}, the state {}; take another copy",
                       path, what, said, found);
  };
  const std::string cluster = fmt::format("{:x}", identity.cluster);
  const std::string member = fmt::format("{:x}", identity.member);
  const mvcc::Published published = store.published();
  if (manifest.cluster_id() != cluster) return differs("cluster", manifest.cluster_id(), cluster);
  if (manifest.member_id() != member) return differs("member", manifest.member_id(), member);
  if (manifest.revision() != published.revision.value()) {
    return differs("revision", manifest.revision(), published.revision);
  }
  if (manifest.compacted_revision() != published.watermark.value()) {
    return differs("compacted revision", manifest.compacted_revision(), published.watermark);
  }
  if (manifest.applied_index() != store.applied().index.value()) {
    return differs("applied index", manifest.applied_index(), store.applied().index);
  }
  if (manifest.applied_term() != store.applied().term.value()) {
    return differs("applied term", manifest.applied_term(), store.applied().term);
  }
  if (manifest.logical_size_bytes() != store.logical_size_bytes()) {
    return differs("size", manifest.logical_size_bytes(), store.logical_size_bytes());
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckStateFiles(const ArchiveReader& archive) {
  std::vector<std::string_view> names;
  for (const ArchiveEntry& entry : archive.files()) {
    names.push_back(std::string_view(entry.name).substr(kStateFolder.size()));
  }
  return CheckStateNames(names);
}

absl::StatusOr<std::unique_ptr<mvcc::Backend>> OpenSnapshotRows(wal::Fs& fs,
                                                                const std::string& path) {
  CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<ArchiveReader> archive,
                         ArchiveReader::Open(fs, path, Digest::kSkip));
  return OpenState(*archive, path);
}

absl::StatusOr<SnapshotFacts> InspectSnapshot(wal::Fs& fs, const std::string& path,
                                              absl::FunctionRef<bool()> is_stopping) {
  CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<ArchiveReader> archive,
                         ArchiveReader::Open(fs, path, Digest::kSkip));
  CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<mvcc::Backend> backend, OpenState(*archive, path));
  mvcc::StoreIdentity identity;
  absl::StatusOr<std::unique_ptr<mvcc::Store>> store =
      mvcc::Store::Inspect(std::move(backend), identity);
  if (!store.ok()) return Annotate(path, store.status());
  CAIRN_RETURN_IF_ERROR(CheckManifest(path, archive->manifest(), **store, identity));
  SnapshotFacts facts;
  facts.manifest = archive->manifest();
  facts.size_bytes = archive->size_bytes();
  const absl::StatusOr<mvcc::HashKvResult> hash =
      (*store)->HashKv(mvcc::kCurrent, mvcc::LiveKeys::kSkip, is_stopping);
  if (!hash.ok()) return Annotate(path, hash.status());
  const absl::StatusOr<mvcc::ScanResult> count =
      (*store)->Count(mvcc::KeyRange::All(), mvcc::kCurrent);
  if (!count.ok()) return Annotate(path, count.status());
  facts.hash = hash->hash;
  facts.revision = hash->hash_revision.value();
  facts.live_keys = count->count;
  return facts;
}

absl::StatusOr<VerifiedSnapshot> VerifyRows(const std::string& path, const ArchiveReader& archive,
                                            std::unique_ptr<mvcc::Backend> backend,
                                            absl::FunctionRef<bool()> is_stopping) {
  VerifiedSnapshot verified;
  const absl::StatusOr<mvcc::StateCounts> counts = mvcc::CheckState(*backend, is_stopping);
  if (!counts.ok()) return Annotate(path, counts.status());
  verified.counts = *counts;
  mvcc::StoreIdentity identity;
  absl::StatusOr<std::unique_ptr<mvcc::Store>> store =
      mvcc::Store::Inspect(std::move(backend), identity);
  if (!store.ok()) return Annotate(path, store.status());
  CAIRN_RETURN_IF_ERROR(CheckManifest(path, archive.manifest(), **store, identity));
  // What a member reads at its start: members, leases, alarms.
  const absl::StatusOr<Applier::Loaded> loaded = Applier::Load(**store);
  if (!loaded.ok()) return Annotate(path, loaded.status());
  verified.manifest = archive.manifest();
  verified.leases = loaded->leases.table().All().size();
  verified.alarms = loaded->cluster.state().alarms.size();
  verified.size_bytes = archive.size_bytes();
  return verified;
}

absl::StatusOr<VerifiedSnapshot> VerifySnapshot(wal::Fs& fs, const std::string& path, Digest digest,
                                                absl::FunctionRef<bool()> is_stopping) {
  CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<ArchiveReader> archive,
                         ArchiveReader::Open(fs, path, digest));
  CAIRN_RETURN_IF_ERROR(archive->ReadAll(nullptr, is_stopping));
  CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<mvcc::Backend> backend, OpenState(*archive, path));
  return VerifyRows(path, *archive, std::move(backend), is_stopping);
}

}  // namespace cairn::server
