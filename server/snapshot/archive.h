// The bytes of a saved snapshot: a tar archive with a manifest, the state's files and their
// checksums.
//
// FORMAT.md draws it. Pure: names and sizes in, bytes and offsets out; no file is touched here.
// Writer (archive_stream.h) and reader (archive_reader.h) lay an archive out with the same
// function, and the reader accepts nothing else, so it never interprets a header.
#ifndef CAIRN_SERVER_SNAPSHOT_ARCHIVE_H_
#define CAIRN_SERVER_SNAPSHOT_ARCHIVE_H_

#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/snapshot.pb.h"
#include "server/snapshot/files.h"

namespace cairn::server {

inline constexpr uint32_t kArchiveFormatVersion = 1;
// What everything in a tar archive is padded to; `etcdctl snapshot save` asks for it too.
inline constexpr size_t kArchiveBlockBytes = 512;
// Behind the archive: the SHA-256 of all of it.
inline constexpr size_t kArchiveDigestBytes = 32;

inline constexpr std::string_view kManifestName = "cairn-snapshot.json";
inline constexpr std::string_view kStateFolder = "state/";
inline constexpr std::string_view kChecksumsName = "checksums.crc32c";

// One member of the archive.
struct ArchiveEntry {
  std::string name;
  uint64_t header_offset = 0;
  uint64_t offset = 0;  // Of its first byte, behind the header.
  uint64_t size_bytes = 0;

  uint64_t end() const { return offset + size_bytes; }
  uint64_t padded_end() const;
};

struct ArchiveLayout {
  // The manifest, the files of the state in their order, the checksums.
  std::vector<ArchiveEntry> entries;
  // With the two empty blocks at the end, without the digest.
  uint64_t size_bytes = 0;
};

// Where everything stands in an archive with a manifest of `manifest_bytes`. `files` have passed
// CheckFiles; INVALID_ARGUMENT when one's name is too long for a header.
absl::StatusOr<ArchiveLayout> LayOut(size_t manifest_bytes, std::span<const SnapshotFile> files);

// The block before an entry. The name has at most 100 bytes (checked).
std::string EncodeHeader(std::string_view name, uint64_t size_bytes);
// The size in a header; false when it is none. Nothing else of it is looked at.
[[nodiscard]] bool DecodeHeaderSize(std::string_view header, uint64_t& size_bytes);

// The most that a manifest has: that of kSnapshotFilesMax files.
inline constexpr size_t kManifestBytesMax = size_t{32} << 20;
std::string EncodeManifest(const snapshot::Manifest& manifest);
// DATA_LOSS for what does not parse or contradicts itself, UNIMPLEMENTED for a newer format.
absl::StatusOr<snapshot::Manifest> DecodeManifest(std::string_view json);
// The files that a manifest names, without checksums.
std::vector<SnapshotFile> FilesOf(const snapshot::Manifest& manifest);

// A line for each file: CRC-32C in eight hexadecimal digits, two spaces, the name in the archive.
std::string EncodeChecksums(std::span<const SnapshotFile> files);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SNAPSHOT_ARCHIVE_H_
