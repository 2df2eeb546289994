// Every family, key and prefix of the state in one place. SCHEMA.md draws the rows.
//
// What stands here stands on disk: never change a value, raise kFormatVersion instead.
#ifndef CAIRN_MVCC_SCHEMA_H_
#define CAIRN_MVCC_SCHEMA_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/coding.h"
#include "base/ids.h"
#include "mvcc/types.h"

namespace cairn::mvcc {

inline constexpr uint32_t kFormatVersion = 1;

// RocksDB's column families, in the order of Family.
inline constexpr std::array<std::string_view, 3> kFamilyNames = {"keys", "revisions", "meta"};

// Rows of `meta` that belong to the store itself.
inline constexpr std::string_view kStorePrefix = "s/";
inline constexpr std::string_view kFormatKey = "s/format";  // FormatRow.
inline constexpr std::string_view kStateKey = "s/state";    // StateRow, written by every batch.
// Reserved: fences of about 256 live keys each, with their count, so that a count need not walk.
inline constexpr std::string_view kFencePrefix = "s/fence/";

// Rows of `meta` that belong to the server (Batch::PutMeta). The store never looks into them.
inline constexpr std::string_view kAlarmPrefix = "a/";
inline constexpr std::string_view kConfigurationPrefix = "c/";  // Raft configuration, installed_at.
inline constexpr std::string_view kLeaseKeyPrefix = "k/";
inline constexpr std::string_view kLeasePrefix = "l/";
inline constexpr std::string_view kMemberPrefix = "m/";
inline constexpr std::string_view kRolePrefix = "r/";
inline constexpr std::string_view kUserPrefix = "u/";
inline constexpr std::string_view kVersionPrefix = "v/";  // Cluster version, downgrade.

// Whether `key` begins with one of the server's prefixes.
bool IsServerMetaKey(std::string_view key);

// A value of this size or more stands in `revisions` only, so that walking `keys` stays cheap.
inline constexpr size_t kInlineValueBytesLimit = 4096;

// The key of a row of `revisions`: main and sub, big endian, so that rows lie in the order of time.
inline constexpr size_t kRevisionKeyBytes = 16;

class RevisionKey {
 public:
  explicit RevisionKey(RowRevision row) {
    base::StoreBig64(bytes_.data(), static_cast<uint64_t>(row.main.value()));
    base::StoreBig64(bytes_.data() + 8, static_cast<uint64_t>(row.sub));
  }
  std::string_view view() const { return {bytes_.data(), bytes_.size()}; }

 private:
  std::array<char, kRevisionKeyBytes> bytes_;
};

// False unless `key` has the right size.
[[nodiscard]] bool ParseRevisionKey(std::string_view key, RowRevision& row);

// Whose state this is and how it is written.
struct FormatRow {
  uint32_t version = kFormatVersion;
  ClusterId cluster;
  MemberId member;

  friend bool operator==(const FormatRow&, const FormatRow&) = default;
};

// Where the state stands. One row, so that a batch moves it with one put.
struct StateRow {
  EntryApplied applied;
  Published published;
  // Removal has walked every row of history before this one.
  RowRevision removal_cursor;
  int64_t logical_size_bytes = 0;

  friend bool operator==(const StateRow&, const StateRow&) = default;
};

std::string EncodeFormatRow(const FormatRow& row);
std::string EncodeStateRow(const StateRow& row);
// False unless `bytes` has exactly the right size. A format row of another version is decoded as
// far as its version, which comes first in all of them.
[[nodiscard]] bool DecodeFormatRow(std::string_view bytes, FormatRow& row);
// The same, and false for numbers that no state comes to: a watermark above the revision, a removal
// beyond the watermark, a size below 0, anything near the end of its range.
[[nodiscard]] bool DecodeStateRow(std::string_view bytes, StateRow& row);

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_SCHEMA_H_
