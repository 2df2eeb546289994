#include "server/snapshot/files.h"

#include <algorithm>
#include <memory>
#include <set>

#include "base/crc32c.h"
#include "base/status.h"

namespace cairn::server {

namespace {

constexpr size_t kReadBytes = size_t{1} << 20;
// As file systems have it.
constexpr size_t kNameBytesMax = 255;

absl::StatusOr<SnapshotFile> Describe(const wal::File& file, std::string name) {
  SnapshotFile described{.name = std::move(name)};
  std::string buffer(kReadBytes, '\0');
  while (true) {
    CAIRN_ASSIGN_OR_RETURN(const size_t size,
                           file.Read(described.size_bytes, buffer.data(), buffer.size()));
    described.checksum =
        base::ExtendCrc32c(described.checksum, std::string_view(buffer).substr(0, size));
    described.size_bytes += size;
    if (size < buffer.size()) return described;
  }
}

// RocksDB's names for what a checkpoint consists of.
constexpr std::string_view kPointer = "CURRENT";
constexpr std::string_view kManifestPrefix = "MANIFEST-";
constexpr std::string_view kOptionsPrefix = "OPTIONS-";
constexpr std::string_view kTableSuffix = ".sst";
// A number for each file that a state ever had: with a thousand a second enough for thirty years.
constexpr size_t kNumberDigitsMax = 12;

bool IsNumbered(std::string_view name, std::string_view prefix, std::string_view suffix) {
  if (!name.starts_with(prefix) || !name.ends_with(suffix)) return false;
  if (name.size() <= prefix.size() + suffix.size()) return false;
  name.remove_prefix(prefix.size());
  name.remove_suffix(suffix.size());
  return name.size() <= kNumberDigitsMax &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool IsPlainName(std::string_view name) {
  const auto is_plain = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' ||
           c == '-' || c == '_';
  };
  return !name.empty() && name.size() <= kNameBytesMax && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), is_plain);
}

}  // namespace

absl::StatusOr<std::vector<SnapshotFile>> DescribeFiles(wal::Fs& fs, const std::string& directory) {
  std::vector<SnapshotFile> files;
  CAIRN_ASSIGN_OR_RETURN(std::vector<std::string> names, fs.ListDirectory(directory));
  for (std::string& name : names) {
    CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<wal::File> file,
                           fs.OpenForReading(fmt::format("{}/{}", directory, name)));
    CAIRN_ASSIGN_OR_RETURN(SnapshotFile described, Describe(*file, std::move(name)));
    files.push_back(std::move(described));
  }
  return files;
}

absl::StatusOr<std::vector<SnapshotFile>> ListFiles(wal::Fs& fs, const std::string& directory) {
  std::vector<SnapshotFile> files;
  CAIRN_ASSIGN_OR_RETURN(std::vector<std::string> names, fs.ListDirectory(directory));
  for (std::string& name : names) {
    CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<wal::File> file,
                           fs.OpenForReading(fmt::format("{}/{}", directory, name)));
    SnapshotFile listed{.name = std::move(name)};
    CAIRN_ASSIGN_OR_RETURN(listed.size_bytes, file->SizeBytes());
    files.push_back(std::move(listed));
  }
  return files;
}

absl::Status CheckFiles(std::span<const SnapshotFile> files) {
  if (files.empty() || files.size() > kSnapshotFilesMax) {
    return base::Error(absl::StatusCode::kInvalidArgument, "a snapshot of {} files", files.size());
  }
  std::set<std::string_view> names;
  for (const SnapshotFile& file : files) {
    if (!IsPlainName(file.name) || !names.insert(file.name).second) {
      return base::Error(absl::StatusCode::kInvalidArgument,
                         "a snapshot with a file of {} bytes whose name is no plain one, or twice "
                         "there",
                         file.size_bytes);
    }
  }
  return absl::OkStatus();
}

absl::Status CheckStateNames(std::span<const std::string_view> names) {
  size_t pointers = 0;
  size_t manifests = 0;
  for (const std::string_view name : names) {
    if (name == kPointer) {
      ++pointers;
    } else if (IsNumbered(name, kManifestPrefix, "")) {
      ++manifests;
    } else if (!IsNumbered(name, kOptionsPrefix, "") && !IsNumbered(name, "", kTableSuffix)) {
      return base::Error(absl::StatusCode::kDataLoss, "the file {} is none of a state's",
                         name.substr(0, kNameBytesMax));
    }
  }
  if (pointers == 1 && manifests == 1) return absl::OkStatus();
  return base::Error(absl::StatusCode::kDataLoss,
                     "there is no state in it: it has {} files {} and {} files {}*", pointers,
                     kPointer, manifests, kManifestPrefix);
}

absl::Status VerifyFiles(wal::Fs& fs, const std::string& directory,
                         std::span<const SnapshotFile> files) {
  CAIRN_ASSIGN_OR_RETURN(const std::vector<std::string> names, fs.ListDirectory(directory));
  if (names.size() != files.size()) {
    return base::Error(absl::StatusCode::kDataLoss, "the snapshot in {} has {} files instead of {}",
                       directory, names.size(), files.size());
  }
  for (const SnapshotFile& expected : files) {
    const std::string path = fmt::format("{}/{}", directory, expected.name);
    absl::StatusOr<std::unique_ptr<wal::File>> file = fs.OpenForWriting(path);
    if (absl::IsNotFound(file.status())) {
      return base::Error(absl::StatusCode::kDataLoss, "the snapshot's file {} is missing", path);
    }
    CAIRN_RETURN_IF_ERROR(file.status());
    CAIRN_RETURN_IF_ERROR((*file)->Sync());
    CAIRN_ASSIGN_OR_RETURN(const SnapshotFile found, Describe(**file, expected.name));
    if (found != expected) {
      return base::Error(absl::StatusCode::kDataLoss,
                         "the snapshot's file {} has {} bytes with checksum {:08x} instead of {} "
                         "with {:08x}",
                         path, found.size_bytes, found.checksum, expected.size_bytes,
                         expected.checksum);
    }
  }
  return fs.SyncDirectory(directory);
}

}  // namespace cairn::server
