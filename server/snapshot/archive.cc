#include "server/snapshot/archive.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/status.h"

namespace cairn::server {

namespace {

// The fields of a tar header that are not zero here, as POSIX 1003.1-1988 has them.
constexpr size_t kNameBytes = 100;
constexpr size_t kSizeOffset = 124;
constexpr size_t kSizeBytes = 12;
constexpr size_t kChecksumOffset = 148;
constexpr size_t kChecksumBytes = 8;
// What eleven octal digits hold; beyond it the size is written in binary, as GNU tar does.
constexpr uint64_t kOctalSizeMax = (uint64_t{1} << 33) - 1;
// Two empty blocks.
constexpr uint64_t kEndBytes = 2 * kArchiveBlockBytes;

uint64_t Padded(uint64_t size_bytes) {
  return (size_bytes + kArchiveBlockBytes - 1) / kArchiveBlockBytes * kArchiveBlockBytes;
}

void Put(std::string& header, size_t offset, std::string_view text) {
  header.replace(offset, text.size(), text);
}

}  // namespace

uint64_t ArchiveEntry::padded_end() const { return offset + Padded(size_bytes); }

std::string EncodeHeader(std::string_view name, uint64_t size_bytes) {
  CAIRN_CHECK_LE(name.size(), kNameBytes);
  std::string header(kArchiveBlockBytes, '\0');
  Put(header, 0, name);
  Put(header, 100, "0000600");  // Mode.
  Put(header, 108, "0000000");  // User, and group: whoever unpacks it.
  Put(header, 116, "0000000");
  if (size_bytes <= kOctalSizeMax) {
    Put(header, kSizeOffset, fmt::format("{:011o}", size_bytes));
  } else {
    header[kSizeOffset] = '\x80';
    for (size_t i = 0; i < 8; ++i) {
      header[kSizeOffset + kSizeBytes - 1 - i] = static_cast<char>(size_bytes >> (8 * i));
    }
  }
  Put(header, 136, "00000000000");  // Time: the same state gives the same bytes.
  Put(header, kChecksumOffset, std::string(kChecksumBytes, ' '));
  Put(header, 156, "0");  // A plain file.
  Put(header, 257, std::string_view("ustar\00000", 8));
  const unsigned sum = std::accumulate(
      header.begin(), header.end(), 0U,
      [](unsigned so_far, char c) { return so_far + static_cast<unsigned char>(c); });
  Put(header, kChecksumOffset, fmt::format("{:06o}", sum));
  header[kChecksumOffset + 6] = '\0';
  return header;
}

bool DecodeHeaderSize(std::string_view header, uint64_t& size_bytes) {
  if (header.size() != kArchiveBlockBytes) return false;
  size_bytes = 0;
  if (header[kSizeOffset] == '\x80') {
    for (size_t i = 0; i < 8; ++i) {
      size_bytes =
          size_bytes << 8 | static_cast<unsigned char>(header[kSizeOffset + kSizeBytes - 8 + i]);
    }
    return true;
  }
  for (size_t i = 0; i < kSizeBytes - 1; ++i) {
    const char digit = header[kSizeOffset + i];
    if (digit < '0' || digit > '7') return false;
    size_bytes = size_bytes << 3 | static_cast<uint64_t>(digit - '0');
  }
  return true;
}

absl::StatusOr<ArchiveLayout> LayOut(size_t manifest_bytes, std::span<const SnapshotFile> files) {
  ArchiveLayout layout;
  const auto add = [&](std::string name, uint64_t size_bytes) {
    ArchiveEntry entry;
    entry.name = std::move(name);
    entry.header_offset = layout.size_bytes;
    entry.offset = entry.header_offset + kArchiveBlockBytes;
    entry.size_bytes = size_bytes;
    layout.size_bytes = entry.padded_end();
    layout.entries.push_back(std::move(entry));
  };
  add(std::string(kManifestName), manifest_bytes);
  for (const SnapshotFile& file : files) {
    std::string name = fmt::format("{}{}", kStateFolder, file.name);
    if (name.size() > kNameBytes) {
      return base::Error(absl::StatusCode::kInvalidArgument,
                         "a snapshot with a file whose name has {} bytes", file.name.size());
    }
    add(std::move(name), file.size_bytes);
  }
  add(std::string(kChecksumsName), EncodeChecksums(files).size());
  layout.size_bytes += kEndBytes;
  return layout;
}

std::string EncodeManifest(const snapshot::Manifest& manifest) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(manifest, &json, options);
  CAIRN_CHECK(status.ok(), status.ToString());
  return json;
}

absl::StatusOr<snapshot::Manifest> DecodeManifest(std::string_view json) {
  snapshot::Manifest manifest;
  // What a newer version has added is looked over until its number is known.
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto status = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(json.data(), json.size()), &manifest, options);
  if (!status.ok() || manifest.format_version() == 0) {
    return base::MakeStatus(absl::StatusCode::kDataLoss, "the manifest does not parse");
  }
  if (manifest.format_version() > kArchiveFormatVersion) {
    return base::Error(absl::StatusCode::kUnimplemented,
                       "a snapshot in format {}, written by Cairn {}; this program knows format "
                       "{}: take a newer one",
                       manifest.format_version(), manifest.cairn_version(), kArchiveFormatVersion);
  }
  uint64_t total = 0;
  for (const SnapshotFile& file : FilesOf(manifest)) {
    if (file.size_bytes > (uint64_t{1} << 60) - total) {
      return base::MakeStatus(absl::StatusCode::kDataLoss,
                              "the manifest names files of more than any disk holds");
    }
    total += file.size_bytes;
  }
  if (absl::Status checked = CheckFiles(FilesOf(manifest)); !checked.ok()) {
    return base::MakeStatus(absl::StatusCode::kDataLoss, base::Message(checked));
  }
  return manifest;
}

std::vector<SnapshotFile> FilesOf(const snapshot::Manifest& manifest) {
  std::vector<SnapshotFile> files;
  files.reserve(static_cast<size_t>(manifest.files_size()));
  for (const snapshot::Manifest::File& file : manifest.files()) {
    files.push_back({.name = file.name(), .size_bytes = file.size_bytes()});
  }
  return files;
}

std::string EncodeChecksums(std::span<const SnapshotFile> files) {
  std::string lines;
  for (const SnapshotFile& file : files) {
    lines += fmt::format("{:08x}  {}{}\n", file.checksum, kStateFolder, file.name);
  }
  return lines;
}

}  // namespace cairn::server
